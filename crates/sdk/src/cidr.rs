//! Blocks of addresses from which something may be used, in the notation `10.0.0.0/8`.

use std::{fmt, net::IpAddr, str::FromStr};

/// A block of addresses, or one address. An IPv4 address in the clothes of IPv6
/// (`::ffff:10.0.0.1`) counts as what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// A text that is no block of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unable to convert {0:?} to an IPv4 or IPv6 address, or a UNIX Socket")]
pub struct NotCidr(String);

impl Cidr {
    /// Whether the address is in the block.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Whether every address of the other block is in this one.
    pub fn covers(&self, other: &Cidr) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }
}

/// Whether the blocks allow this address: none at all allow every one, some allow no unknown one.
pub fn allow(blocks: &[Cidr], address: Option<IpAddr>) -> bool {
    let within = |address| blocks.iter().any(|block| block.contains(address));
    blocks.is_empty() || address.is_some_and(within)
}

/// The blocks that these texts name; the first that names none is the error.
pub fn parse_all<T: AsRef<str>>(texts: &[T]) -> Result<Vec<Cidr>, NotCidr> {
    texts.iter().map(|text| text.as_ref().parse()).collect()
}

impl FromStr for Cidr {
    type Err = NotCidr;

    fn from_str(text: &str) -> Result<Cidr, NotCidr> {
        let bad = || NotCidr(text.to_owned());
        let text = text.trim();
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let given: IpAddr = address.parse().map_err(|_| bad())?;
        let bits = if given.is_ipv4() { 32 } else { 128 };
        let prefix: u8 = match prefix {
            None => bits,
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().ok().filter(|prefix| *prefix <= bits).ok_or_else(bad)?
            }
            Some(_) => return Err(bad()),
        };
        match given.to_canonical() {
            address @ IpAddr::V4(_) if given.is_ipv6() => {
                // A block that holds more than addresses of IPv4 is none of them.
                let prefix = prefix.checked_sub(96).ok_or_else(bad)?;
                Ok(Cidr { address, prefix })
            }
            address => Ok(Cidr { address, prefix }),
        }
    }
}

/// As it was written; one address without its length.
impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.address.is_ipv4() { 32 } else { 128 };
        if self.prefix == bits {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.prefix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(block: &str, address: &str) -> bool {
        block.parse::<Cidr>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_block_holds_its_addresses_and_no_others() {
        for (block, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("0.0.0.0/0", "203.0.113.7", true),
            ("0.0.0.0/0", "::1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1/32", "::ffff:127.0.0.1", true),
            ("::ffff:10.0.0.0/104", "10.1.1.1", true),
            ("::ffff:10.0.0.1", "::ffff:10.0.0.1", true),
            ("::/0", "2001:db8::1", true),
            ("::/0", "127.0.0.1", false),
            ("2001:db8::/33", "2001:db8:8000::", false),
            ("2001:db8::/32", "2001:db8:8000::", true),
            ("::1", "::1", true),
        ] {
            assert_eq!(holds(block, address), expected, "{block} {address}");
        }
    }

    #[test]
    fn what_is_no_block_is_refused_with_its_text() {
        for text in [
            "",
            "nonsense",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0/8",
            "::/129",
            "::ffff:10.0.0.0/95",
            "/8",
            "10.0.0.0/8/8",
            "10.0.0.0/999",
        ] {
            let error = text.parse::<Cidr>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn an_unknown_address_is_allowed_only_where_all_are() {
        let blocks = parse_all(&["10.0.0.0/8", "::1"]).unwrap();
        assert!(allow(&[], None));
        assert!(!allow(&blocks, None));
        assert!(allow(&blocks, Some("::1".parse().unwrap())));
        assert!(!allow(&blocks, Some("192.0.2.1".parse().unwrap())));
    }

    #[test]
    fn a_block_covers_what_is_within_it() {
        let covers = |outer: &str, inner: &str| {
            outer.parse::<Cidr>().unwrap().covers(&inner.parse().unwrap())
        };
        assert!(covers("10.0.0.0/8", "10.1.0.0/16"));
        assert!(covers("10.0.0.0/8", "10.0.0.0/8"));
        assert!(!covers("10.1.0.0/16", "10.0.0.0/8"));
        assert!(!covers("10.0.0.0/8", "::1"));
    }

    #[test]
    fn a_block_is_shown_as_it_was_written() {
        for text in ["10.0.0.0/8", "10.1.2.3", "::1", "2001:db8::/32"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
        assert_eq!("10.1.2.3/32".parse::<Cidr>().unwrap().to_string(), "10.1.2.3");
    }
}
