//! Where connections may go, as requests say it.

use super::given::Given;
use crate::registry::Network;
use bailee_sdk::{
    Error,
    field::{CommaList, Flag},
};

/// Most ranges or ports of one list.
const ENTRIES_MAX: usize = 128;

/// The rules of a request.
pub(in crate::paths) struct GivenNetwork {
    pub(in crate::paths) disable_strict_networking: Given<Flag>,
    pub(in crate::paths) allowed_ipv4_addresses: Given<CommaList>,
    pub(in crate::paths) allowed_ipv6_addresses: Given<CommaList>,
    pub(in crate::paths) allowed_ports: Given<CommaList>,
}

impl GivenNetwork {
    /// The rules afterwards; the error names the field.
    pub(in crate::paths) fn onto(self, mut network: Network) -> Result<Network, Error> {
        let strict = Flag(network.disable_strict_networking);
        network.disable_strict_networking =
            self.disable_strict_networking.or(strict, Flag::default).0;
        for (name, list, given) in [
            (
                "allowed_ipv4_addresses",
                &mut network.allowed_ipv4_addresses,
                self.allowed_ipv4_addresses,
            ),
            (
                "allowed_ipv6_addresses",
                &mut network.allowed_ipv6_addresses,
                self.allowed_ipv6_addresses,
            ),
            ("allowed_ports", &mut network.allowed_ports, self.allowed_ports),
        ] {
            *list = given.or(CommaList(std::mem::take(list)), CommaList::default).0;
            if list.len() > ENTRIES_MAX {
                return Err(Error::invalid(format!(
                    "{name} has {} entries: give at most {ENTRIES_MAX}",
                    list.len()
                )));
            }
        }
        network.rules().map_err(|error| Error::invalid(error.to_string()))?;
        Ok(network)
    }
}
