//! Which addresses and ports a connection may go to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::registry::special_block;

/// The ports that are permitted when a destination names none.
const DEFAULT_PORTS: &[u16] = &[80, 443];

/// IPv6 addresses outside of it are not assigned to anybody's host.
const GLOBAL_UNICAST: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What a destination may connect to. The default permits public addresses on ports 80 and 443.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressRules {
    /// Lifts the address and the port rules.
    pub disable_strict_networking: bool,
    /// IPv4 ranges that are permitted although they are special.
    pub allowed_ipv4: Vec<Ipv4Net>,
    /// IPv6 ranges that are permitted although they are special.
    pub allowed_ipv6: Vec<Ipv6Net>,
    /// The permitted ports; 80 and 443 when empty.
    pub allowed_ports: Vec<u16>,
}

impl EgressRules {
    /// Reads the rules as a destination's fields carry them; an error names the field.
    pub fn parse(
        disable_strict_networking: bool,
        allowed_ipv4_addresses: &[String],
        allowed_ipv6_addresses: &[String],
        allowed_ports: &[String],
    ) -> Result<EgressRules, InvalidRule> {
        Ok(EgressRules {
            disable_strict_networking,
            allowed_ipv4: parse_all(
                "allowed_ipv4_addresses",
                allowed_ipv4_addresses,
                parse_ipv4_net,
            )?,
            allowed_ipv6: parse_all(
                "allowed_ipv6_addresses",
                allowed_ipv6_addresses,
                parse_ipv6_net,
            )?,
            allowed_ports: parse_all("allowed_ports", allowed_ports, parse_port)?,
        })
    }

    /// Whether a connection may go there; the refusal says which rule forbids it.
    pub fn check(&self, address: SocketAddr) -> Result<(), Refused> {
        if self.disable_strict_networking {
            return Ok(());
        }
        self.check_port(address.port())?;
        self.check_ip(address.ip())
    }

    fn check_port(&self, port: u16) -> Result<(), Refused> {
        let permitted: &[u16] =
            if self.allowed_ports.is_empty() { DEFAULT_PORTS } else { &self.allowed_ports };
        if permitted.contains(&port) {
            return Ok(());
        }
        Err(Refused::Port { port, permitted: permitted.to_vec() })
    }

    fn check_ip(&self, address: IpAddr) -> Result<(), Refused> {
        let denied_by = match address {
            IpAddr::V4(v4) => self.ipv4_denied_by(v4),
            IpAddr::V6(v6) => self.ipv6_denied_by(v6),
        };
        match denied_by {
            None => Ok(()),
            Some(denied_by) => Err(Refused::Address { address, denied_by }),
        }
    }

    fn ipv4_denied_by(&self, address: Ipv4Addr) -> Option<String> {
        if self.allowed_ipv4.iter().any(|net| net.contains(&address)) {
            return None;
        }
        special_block(address.into()).map(|row| row.net.to_string())
    }

    fn ipv6_denied_by(&self, address: Ipv6Addr) -> Option<String> {
        let allowed = self.allowed_ipv6.iter().any(|net| net.contains(&address));
        if !allowed {
            if let Some(row) = special_block(address.into()) {
                return Some(row.net.to_string());
            }
            if !GLOBAL_UNICAST.contains(&address) {
                return Some(format!("not in {GLOBAL_UNICAST}"));
            }
        }
        // A translator or tunnel would carry the packet to the IPv4 address inside.
        embedded_ipv4(address).into_iter().find_map(|inner| {
            self.ipv4_denied_by(inner).map(|net| format!("{net}, embedded address {inner}"))
        })
    }
}

/// The IPv4 addresses that an IPv6 address stands for; more than one where the form is ambiguous.
fn embedded_ipv4(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let octets = address.octets();
    let at = |places: [usize; 4]| {
        let [a, b, c, d] = places.map(|place| octets.get(place).copied().unwrap_or_default());
        Ipv4Addr::new(a, b, c, d)
    };
    let last = at([12, 13, 14, 15]);
    match address.segments() {
        // The unspecified and the loopback address have their own rows.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Vec::new(),
        // compatible, mapped, translated, NAT64 well-known
        [0, 0, 0, 0, 0, 0, ..]
        | [0, 0, 0, 0, 0, 0xffff, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [0x64, 0xff9b, 0, 0, 0, 0, ..] => vec![last],
        // NAT64 local-use: the operator picks one of four prefix lengths, which the zero suffix
        // tells; where it could also be the longest, that reading is checked as well.
        [0x64, 0xff9b, 1, _, _, g5, g6, g7] => {
            let [_, low] = g5.to_be_bytes();
            let [high, rest] = g6.to_be_bytes();
            match (low, high, rest, g7) {
                (0, 0, 0, 0) => vec![at([6, 7, 9, 10])],
                (_, 0, 0, 0) => vec![at([7, 9, 10, 11])],
                (_, _, 0, 0) => vec![at([9, 10, 11, 12]), last],
                _ => vec![last],
            }
        }
        // 6to4
        [0x2002, ..] => vec![at([2, 3, 4, 5])],
        // Teredo: the server, and the client with its bits inverted
        [0x2001, 0, ..] => vec![at([4, 5, 6, 7]), Ipv4Addr::from_bits(!last.to_bits())],
        // ISATAP
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => vec![last],
        _ => Vec::new(),
    }
}

/// A connection that the rules forbid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The address lies in a block that is not permitted.
    Address {
        /// Where the connection would have gone.
        address: IpAddr,
        /// The block, in CIDR notation.
        denied_by: String,
    },
    /// The port is not permitted.
    Port {
        /// The port asked for.
        port: u16,
        /// The ports that would be permitted.
        permitted: Vec<u16>,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Address { address, denied_by } => write!(
                f,
                "prohibited IP address: {address} is not a permitted destination \
                 (denied by: {denied_by})"
            ),
            Refused::Port { port, permitted } => {
                let permitted: Vec<String> = permitted.iter().map(u16::to_string).collect();
                write!(
                    f,
                    "prohibited port: {port} is not a permitted port (permitted: {})",
                    permitted.join(", ")
                )
            }
        }
    }
}

impl std::error::Error for Refused {}

/// A value of an allow-list that is no range or port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRule(String);

impl fmt::Display for InvalidRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidRule {}

/// Reads an IPv4 range; host bits are allowed and dropped (`10.0.100.1/24` is `10.0.100.0/24`).
pub fn parse_ipv4_net(text: &str) -> Result<Ipv4Net, InvalidRule> {
    text.trim().parse::<Ipv4Net>().map(|net| net.trunc()).map_err(|_| {
        InvalidRule(format!("invalid CIDR address: {text}: want an IPv4 range such as 10.0.0.0/8"))
    })
}

/// Reads an IPv6 range; host bits are allowed and dropped.
pub fn parse_ipv6_net(text: &str) -> Result<Ipv6Net, InvalidRule> {
    text.trim().parse::<Ipv6Net>().map(|net| net.trunc()).map_err(|_| {
        InvalidRule(format!("invalid CIDR address: {text}: want an IPv6 range such as fd00::/8"))
    })
}

/// Reads a port, 1 to 65535.
pub fn parse_port(text: &str) -> Result<u16, InvalidRule> {
    match text.trim().parse::<u16>() {
        Ok(port) if port > 0 && !text.trim().starts_with('+') => Ok(port),
        _ => Err(InvalidRule(format!("invalid port: {text}: want a number from 1 to 65535"))),
    }
}

fn parse_all<T>(
    field: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, InvalidRule>,
) -> Result<Vec<T>, InvalidRule> {
    texts
        .iter()
        .map(|text| parse(text).map_err(|InvalidRule(why)| InvalidRule(format!("{field}: {why}"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(ipv4: &[&str], ipv6: &[&str], ports: &[u16]) -> EgressRules {
        EgressRules {
            disable_strict_networking: false,
            allowed_ipv4: ipv4.iter().map(|net| parse_ipv4_net(net).unwrap()).collect(),
            allowed_ipv6: ipv6.iter().map(|net| parse_ipv6_net(net).unwrap()).collect(),
            allowed_ports: ports.to_vec(),
        }
    }

    fn refusal(rules: &EgressRules, ip: &str, port: u16) -> Option<String> {
        rules.check(SocketAddr::new(ip.parse().unwrap(), port)).err().map(|e| e.to_string())
    }

    #[test]
    fn a_refusal_names_the_address_and_the_block() {
        assert_eq!(
            refusal(&EgressRules::default(), "10.1.2.3", 443).unwrap(),
            "prohibited IP address: 10.1.2.3 is not a permitted destination \
             (denied by: 10.0.0.0/8)"
        );
    }

    #[test]
    fn only_ports_80_and_443_are_open_by_default() {
        let rules = EgressRules::default();
        assert_eq!(refusal(&rules, "8.8.8.8", 80), None);
        assert_eq!(refusal(&rules, "8.8.8.8", 443), None);
        assert_eq!(
            refusal(&rules, "8.8.8.8", 8443).unwrap(),
            "prohibited port: 8443 is not a permitted port (permitted: 80, 443)"
        );
    }

    #[test]
    fn named_ports_replace_the_default_ones() {
        let rules = rules(&[], &[], &[8443]);
        assert_eq!(refusal(&rules, "8.8.8.8", 8443), None);
        assert!(refusal(&rules, "8.8.8.8", 443).unwrap().contains("prohibited port: 443"));
    }

    #[test]
    fn an_allow_list_opens_exactly_what_it_names() {
        let rules = rules(&["10.0.100.1/24"], &["fd00:1::/32"], &[]);
        assert_eq!(refusal(&rules, "10.0.100.0", 443), None);
        assert_eq!(refusal(&rules, "10.0.100.255", 443), None);
        assert!(refusal(&rules, "10.0.101.0", 443).is_some());
        assert!(refusal(&rules, "127.0.0.1", 443).is_some());
        assert_eq!(refusal(&rules, "fd00:1::5", 443), None);
        assert!(refusal(&rules, "fd00:2::5", 443).is_some());
        assert_eq!(refusal(&rules, "8.8.8.8", 443), None, "public addresses stay permitted");
        assert!(refusal(&rules, "10.0.100.7", 8443).is_some(), "the port rule still holds");
    }

    #[test]
    fn an_allow_list_of_one_family_says_nothing_about_the_other() {
        let everything_4 = rules(&["0.0.0.0/0"], &[], &[]);
        assert_eq!(refusal(&everything_4, "127.0.0.1", 443), None);
        assert!(refusal(&everything_4, "::1", 443).is_some());
        assert!(refusal(&everything_4, "::ffff:127.0.0.1", 443).is_some());
        let everything_6 = rules(&[], &["::/0"], &[]);
        assert_eq!(refusal(&everything_6, "::1", 443), None);
        assert!(refusal(&everything_6, "127.0.0.1", 443).is_some());
        assert!(refusal(&everything_6, "::ffff:127.0.0.1", 443).is_some());
    }

    #[test]
    fn disabling_strict_networking_lifts_both_rules() {
        let rules = EgressRules { disable_strict_networking: true, ..EgressRules::default() };
        assert_eq!(refusal(&rules, "127.0.0.1", 1), None);
        assert_eq!(refusal(&rules, "::ffff:127.0.0.1", 1), None);
    }

    #[test]
    fn every_embedding_of_a_private_ipv4_address_is_refused_even_where_ipv6_is_opened() {
        let rules = rules(&[], &["::/0"], &[]);
        for (form, address, inner) in [
            ("mapped", "::ffff:10.1.2.3", "10.1.2.3"),
            ("compatible", "::10.1.2.3", "10.1.2.3"),
            ("translated", "::ffff:0:10.1.2.3", "10.1.2.3"),
            ("NAT64", "64:ff9b::10.1.2.3", "10.1.2.3"),
            ("NAT64 local /96", "64:ff9b:1::10.1.2.3", "10.1.2.3"),
            ("NAT64 local /96 in a subnet", "64:ff9b:1:fffe::10.1.2.3", "10.1.2.3"),
            ("NAT64 local /48", "64:ff9b:1:a01:2:300::", "10.1.2.3"),
            ("NAT64 local /56", "64:ff9b:1:a:1:203::", "10.1.2.3"),
            ("NAT64 local /64", "64:ff9b:1::a:102:300:0", "10.1.2.3"),
            ("6to4", "2002:a01:203::1", "10.1.2.3"),
            ("Teredo server", "2001:0:a01:203::f7f7:f7f7", "10.1.2.3"),
            ("Teredo client", "2001:0:808:808::f5fe:fdfc", "10.1.2.3"),
            ("ISATAP", "2600::5efe:10.1.2.3", "10.1.2.3"),
            ("ISATAP, global bit", "2600::200:5efe:10.1.2.3", "10.1.2.3"),
        ] {
            let text = refusal(&rules, address, 443).unwrap_or_else(|| panic!("{form}: passed"));
            assert!(text.contains("10.0.0.0/8"), "{form}: {text}");
            assert!(text.ends_with(&format!("embedded address {inner})")), "{form}: {text}");
        }
    }

    #[test]
    fn an_embedded_public_address_passes_where_its_form_is_opened() {
        let rules = rules(&[], &["64:ff9b::/96", "64:ff9b:1::/48", "2002::/16"], &[]);
        for address in [
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::8.8.8.8",
            "64:ff9b:1:808:8:800::",
            "64:ff9b:1:8:8:808::",
            "2002:808:808::1",
        ] {
            assert_eq!(refusal(&rules, address, 443), None, "{address}");
        }
        assert!(refusal(&EgressRules::default(), "64:ff9b::8.8.8.8", 443).is_some());
    }

    #[test]
    fn an_embedded_private_address_passes_when_both_families_open_it() {
        let rules = rules(&["10.1.0.0/16"], &["64:ff9b::/96"], &[]);
        assert_eq!(refusal(&rules, "64:ff9b::10.1.2.3", 443), None);
        assert!(refusal(&rules, "64:ff9b::10.2.2.3", 443).is_some());
    }

    #[test]
    fn ipv6_space_that_is_not_assigned_is_refused() {
        let text = refusal(&EgressRules::default(), "4000::1", 443).unwrap();
        assert!(text.ends_with("(denied by: not in 2000::/3)"), "{text}");
        assert_eq!(refusal(&rules(&[], &["4000::/16"], &[]), "4000::1", 443), None);
    }

    #[test]
    fn rules_are_read_with_host_bits_and_refused_by_field() {
        let list = |texts: &[&str]| texts.iter().map(|t| t.to_string()).collect::<Vec<_>>();
        let read = EgressRules::parse(
            false,
            &list(&["10.0.100.1/24", " 192.168.0.0/16 "]),
            &list(&["fd00::1/8"]),
            &list(&["443", " 8200"]),
        )
        .unwrap();
        assert_eq!(read, rules(&["10.0.100.0/24", "192.168.0.0/16"], &["fd00::/8"], &[443, 8200]));

        let refused = |v4: &[&str], v6: &[&str], ports: &[&str]| {
            EgressRules::parse(false, &list(v4), &list(v6), &list(ports)).unwrap_err().to_string()
        };
        for bad in ["10.0.0.1", "10.0.0.0/33", "fd00::/8", "", "x"] {
            let text = refused(&[bad], &[], &[]);
            let want = format!("allowed_ipv4_addresses: invalid CIDR address: {bad}");
            assert!(text.starts_with(&want), "{text}");
        }
        assert!(refused(&[], &["10.0.0.0/8"], &[]).contains("invalid CIDR address: 10.0.0.0/8"));
        for bad in ["0", "65536", "-1", "+80", "http", ""] {
            let text = refused(&[], &[], &[bad]);
            assert!(text.starts_with(&format!("allowed_ports: invalid port: {bad}")), "{text}");
        }
    }
}
