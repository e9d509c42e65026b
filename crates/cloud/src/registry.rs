//! The address blocks that are never a public service, as data.
//!
//! Both IANA special-purpose address registries (edition of 2025-10-09), every row (also the rows that IANA marks globally
//! reachable, as they are anycast or tunnel services and no destination of secrets), followed by
//! the blocks that other IANA registries set aside: multicast, site-local, IPv4-compatible.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// One row: an address block that is set aside, its registered name, and the document that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialBlock {
    /// The block in CIDR notation.
    pub net: IpNet,
    /// The name in the registry.
    pub name: &'static str,
    /// The document that sets the block aside.
    pub rfc: &'static str,
}

impl SpecialBlock {
    /// Whether the address lies in this block (never across address families).
    pub fn contains(&self, address: IpAddr) -> bool {
        self.net.contains(&address)
    }
}

/// Every IPv4 block that is refused by default.
pub static SPECIAL_IPV4: &[SpecialBlock] = &[
    v4([0, 0, 0, 0], 8, "This network", "RFC 791"),
    v4([0, 0, 0, 0], 32, "This host on this network", "RFC 1122"),
    v4([10, 0, 0, 0], 8, "Private-Use", "RFC 1918"),
    v4([100, 64, 0, 0], 10, "Shared Address Space", "RFC 6598"),
    v4([127, 0, 0, 0], 8, "Loopback", "RFC 1122"),
    v4([169, 254, 0, 0], 16, "Link Local", "RFC 3927"),
    v4([172, 16, 0, 0], 12, "Private-Use", "RFC 1918"),
    v4([192, 0, 0, 0], 24, "IETF Protocol Assignments", "RFC 6890"),
    v4([192, 0, 0, 0], 29, "IPv4 Service Continuity Prefix", "RFC 7335"),
    v4([192, 0, 0, 8], 32, "IPv4 dummy address", "RFC 7600"),
    v4([192, 0, 0, 9], 32, "Port Control Protocol Anycast", "RFC 7723"),
    v4([192, 0, 0, 10], 32, "Traversal Using Relays around NAT Anycast", "RFC 8155"),
    v4([192, 0, 0, 170], 32, "NAT64/DNS64 Discovery", "RFC 8880"),
    v4([192, 0, 0, 171], 32, "NAT64/DNS64 Discovery", "RFC 8880"),
    v4([192, 0, 2, 0], 24, "Documentation (TEST-NET-1)", "RFC 5737"),
    v4([192, 31, 196, 0], 24, "AS112-v4", "RFC 7535"),
    v4([192, 52, 193, 0], 24, "AMT", "RFC 7450"),
    v4([192, 88, 99, 0], 24, "Deprecated (6to4 Relay Anycast)", "RFC 7526"),
    v4([192, 88, 99, 2], 32, "6a44-relay anycast address", "RFC 6751"),
    v4([192, 168, 0, 0], 16, "Private-Use", "RFC 1918"),
    v4([192, 175, 48, 0], 24, "Direct Delegation AS112 Service", "RFC 7534"),
    v4([198, 18, 0, 0], 15, "Benchmarking", "RFC 2544"),
    v4([198, 51, 100, 0], 24, "Documentation (TEST-NET-2)", "RFC 5737"),
    v4([203, 0, 113, 0], 24, "Documentation (TEST-NET-3)", "RFC 5737"),
    v4([240, 0, 0, 0], 4, "Reserved", "RFC 1112"),
    v4([255, 255, 255, 255], 32, "Limited Broadcast", "RFC 919"),
    // Not in the special-purpose registry:
    v4([224, 0, 0, 0], 4, "Multicast", "RFC 5771"),
];

/// Every IPv6 block that is refused by default.
pub static SPECIAL_IPV6: &[SpecialBlock] = &[
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, "Loopback Address", "RFC 4291"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, "Unspecified Address", "RFC 4291"),
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, "IPv4-mapped Address", "RFC 4291"),
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "IPv4-IPv6 Translat.", "RFC 6052"),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "IPv4-IPv6 Translat.", "RFC 8215"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "Discard-Only Address Block", "RFC 6666"),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64, "Dummy IPv6 Prefix", "RFC 9780"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "IETF Protocol Assignments", "RFC 2928"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "TEREDO", "RFC 4380"),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 1], 128, "Port Control Protocol Anycast", "RFC 7723"),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 2], 128, "Traversal Using Relays around NAT Anycast", "RFC 8155"),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 3], 128, "DNS-SD Service Registration Anycast", "RFC 9665"),
    v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, "Benchmarking", "RFC 5180"),
    v6([0x2001, 3, 0, 0, 0, 0, 0, 0], 32, "AMT", "RFC 7450"),
    v6([0x2001, 4, 0x112, 0, 0, 0, 0, 0], 48, "AS112-v6", "RFC 7535"),
    v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28, "Deprecated (previously ORCHID)", "RFC 4843"),
    v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28, "ORCHIDv2", "RFC 7343"),
    v6([0x2001, 0x30, 0, 0, 0, 0, 0, 0], 28, "Drone Remote ID Protocol Entity Tags", "RFC 9374"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "Documentation", "RFC 3849"),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4", "RFC 3056"),
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, "Direct Delegation AS112 Service", "RFC 7534"),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "Documentation", "RFC 9637"),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "Segment Routing (SRv6) SIDs", "RFC 9602"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "Unique-Local", "RFC 4193"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "Link-Local Unicast", "RFC 4291"),
    // Not in the special-purpose registry:
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96, "IPv4-compatible Address (deprecated)", "RFC 4291"),
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, "IPv4-translated Address (obsolete)", "RFC 2765"),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "Site-Local Unicast (deprecated)", "RFC 3879"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "Multicast", "RFC 4291"),
];

/// The row for an address, the narrowest where blocks nest; `None` when it is in no block.
pub(crate) fn special_block(address: IpAddr) -> Option<&'static SpecialBlock> {
    let rows = match address {
        IpAddr::V4(_) => SPECIAL_IPV4,
        IpAddr::V6(_) => SPECIAL_IPV6,
    };
    rows.iter().filter(|row| row.contains(address)).max_by_key(|row| row.net.prefix_len())
}

const fn v4(octets: [u8; 4], prefix: u8, name: &'static str, rfc: &'static str) -> SpecialBlock {
    let [a, b, c, d] = octets;
    let net = Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix);
    SpecialBlock { net: IpNet::V4(net), name, rfc }
}

const fn v6(groups: [u16; 8], prefix: u8, name: &'static str, rfc: &'static str) -> SpecialBlock {
    let [a, b, c, d, e, f, g, h] = groups;
    let net = Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix);
    SpecialBlock { net: IpNet::V6(net), name, rfc }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EgressRules;
    use std::net::SocketAddr;

    /// The registries as IANA publishes them, written a second time as text so that a slip in the
    /// tables above is seen.
    const IANA_IPV4: &[&str] = &[
        "0.0.0.0/8",
        "0.0.0.0/32",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.0.0/29",
        "192.0.0.8/32",
        "192.0.0.9/32",
        "192.0.0.10/32",
        "192.0.0.170/32",
        "192.0.0.171/32",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.88.99.2/32",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "240.0.0.0/4",
        "255.255.255.255/32",
        "224.0.0.0/4",
    ];
    const IANA_IPV6: &[&str] = &[
        "::1/128",
        "::/128",
        "::ffff:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "100:0:0:1::/64",
        "2001::/23",
        "2001::/32",
        "2001:1::1/128",
        "2001:1::2/128",
        "2001:1::3/128",
        "2001:2::/48",
        "2001:3::/32",
        "2001:4:112::/48",
        "2001:10::/28",
        "2001:20::/28",
        "2001:30::/28",
        "2001:db8::/32",
        "2002::/16",
        "2620:4f:8000::/48",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "::/96",
        "::ffff:0:0:0/96",
        "fec0::/10",
        "ff00::/8",
    ];

    /// What one row must do; the row is named when it does not.
    fn check_row(row: &SpecialBlock) {
        let rules = EgressRules::default();
        for address in [first(row), last(row)] {
            assert!(row.contains(address), "{} must hold {address}", row.net);
            let refused = rules.check(SocketAddr::new(address, 443));
            assert!(refused.is_err(), "{} ({}): {address} passed", row.net, row.name);
        }
        for address in [before(row), after(row)].into_iter().flatten() {
            assert!(!row.contains(address), "{} must not hold {address}", row.net);
            let by = rules.check(SocketAddr::new(address, 443)).err().map(|e| e.to_string());
            let own = format!("denied by: {})", row.net);
            assert!(
                !by.as_deref().unwrap_or_default().ends_with(&own),
                "{} ({}) refuses its neighbour {address}: {by:?}",
                row.net,
                row.name
            );
        }
    }

    fn first(row: &SpecialBlock) -> IpAddr {
        row.net.network()
    }

    fn last(row: &SpecialBlock) -> IpAddr {
        match row.net {
            IpNet::V4(net) => net.broadcast().into(),
            IpNet::V6(net) => net.broadcast().into(),
        }
    }

    fn before(row: &SpecialBlock) -> Option<IpAddr> {
        match row.net {
            IpNet::V4(net) => net.network().to_bits().checked_sub(1).map(v4_bits),
            IpNet::V6(net) => net.network().to_bits().checked_sub(1).map(v6_bits),
        }
    }

    fn after(row: &SpecialBlock) -> Option<IpAddr> {
        match row.net {
            IpNet::V4(net) => net.broadcast().to_bits().checked_add(1).map(v4_bits),
            IpNet::V6(net) => net.broadcast().to_bits().checked_add(1).map(v6_bits),
        }
    }

    fn v4_bits(bits: u32) -> IpAddr {
        Ipv4Addr::from_bits(bits).into()
    }

    fn v6_bits(bits: u128) -> IpAddr {
        Ipv6Addr::from_bits(bits).into()
    }

    #[test]
    fn the_tables_hold_every_registered_block_and_no_other() {
        let written = |rows: &[SpecialBlock]| rows.iter().map(|row| row.net).collect::<Vec<_>>();
        let listed = |texts: &[&str]| -> Vec<IpNet> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        assert_eq!(written(SPECIAL_IPV4), listed(IANA_IPV4));
        assert_eq!(written(SPECIAL_IPV6), listed(IANA_IPV6));
    }

    #[test]
    fn every_ipv4_row_refuses_its_first_and_last_address_and_not_its_neighbours() {
        for row in SPECIAL_IPV4 {
            check_row(row);
        }
    }

    #[test]
    fn every_ipv6_row_refuses_its_first_and_last_address_and_not_its_neighbours() {
        for row in SPECIAL_IPV6 {
            check_row(row);
        }
    }

    #[test]
    fn the_narrowest_row_names_the_refusal() {
        let row = special_block("192.0.0.9".parse().unwrap()).unwrap();
        assert_eq!(row.name, "Port Control Protocol Anycast");
        let row = special_block("2001:1::2".parse().unwrap()).unwrap();
        assert_eq!(row.rfc, "RFC 8155");
    }

    #[test]
    fn a_public_address_is_in_no_row() {
        for public in ["8.8.8.8", "52.94.0.1", "2600:1f00::1", "2a05:d018::1", "2606:50c0:8000::1"]
        {
            assert_eq!(special_block(public.parse().unwrap()), None, "{public}");
        }
    }
}
