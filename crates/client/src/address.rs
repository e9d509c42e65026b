//! Where a server is.

use std::{fmt, net::IpAddr, str::FromStr};

/// The base of all requests: scheme, host and port, without a final `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

/// An address that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("address {text:?}: {reason}")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let failed = |reason| AddressError { text: text.to_owned(), reason };
        let uri: http::Uri = text.parse().map_err(|_| failed("is not a URL"))?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            Some(_) => return Err(failed("must start with https:// or http://")),
            None => return Err(failed("lacks https:// or http:// at the start")),
        }
        let authority = uri.authority().ok_or_else(|| failed("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(failed("must not carry a user or password"));
        }
        Ok(Address(text.trim_end_matches('/').to_owned()))
    }
}

impl Address {
    /// Host and port, the port of the scheme where none is given.
    pub fn host_and_port(&self) -> (String, u16) {
        let uri = self.0.parse::<http::Uri>().unwrap_or_default();
        let of_scheme = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        (host, uri.port_u16().unwrap_or(of_scheme))
    }

    /// The same with another host.
    pub(crate) fn with_host(&self, host: &str) -> Result<Address, AddressError> {
        let uri = self.0.parse::<http::Uri>().unwrap_or_default();
        let (scheme, path) =
            (uri.scheme_str().unwrap_or("https"), uri.path().trim_end_matches('/'));
        format!("{scheme}://{host}:{}{path}", self.host_and_port().1).parse()
    }

    /// Whether it is this machine, which no proxy can reach.
    pub(crate) fn is_loopback(&self) -> bool {
        let uri = self.0.parse::<http::Uri>().unwrap_or_default();
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let address = host.parse::<IpAddr>().ok();
        host.eq_ignore_ascii_case("localhost") || address.is_some_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_all_its_names() {
        for (text, loopback) in [
            ("http://127.0.0.1:8200", true),
            ("http://127.9.0.1", true),
            ("https://[::1]:8200", true),
            ("http://LocalHost:8200", true),
            ("https://vault.example:8200", false),
            ("https://10.0.0.1", false),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().is_loopback(), loopback, "{text}");
        }
    }

    #[test]
    fn a_host_can_take_another_name_on_the_same_port() {
        let address: Address = "https://10.0.0.1/base".parse().unwrap();
        assert_eq!(address.host_and_port(), ("10.0.0.1".to_owned(), 443));
        let named = address.with_host("vault.example").unwrap();
        assert_eq!(named.to_string(), "https://vault.example:443/base");
        assert!(address.with_host("a b").is_err());
    }

    #[test]
    fn addresses_need_a_scheme_and_carry_no_password() {
        assert_eq!("https://a:8200/".parse::<Address>().unwrap().to_string(), "https://a:8200");
        for bad in ["a:8200", "ftp://a", "https://", "http://u:p@a", "127.0.0.1:8200"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
