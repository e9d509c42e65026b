//! Ports for servers that come back under the same address.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the range from which the system takes ports for outgoing connections: a server that
/// restarts must find its port free.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A free port on loopback that nobody is given by chance.
pub fn free_port() -> u16 {
    let start = u16::try_from(std::process::id().wrapping_mul(67) % u32::from(COUNT));
    let start = start.expect("a remainder of a u16 fits");
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start.wrapping_add(step)) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    0
}
