//! Lines to a socket.

use super::outlet::{Line, Sink, all_failed, write_stream};
use std::{
    io::{self, Read},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket},
    os::unix::net::UnixStream,
    time::Duration,
};

/// How a device reaches its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// A stream over the network.
    Tcp,
    /// One datagram a line.
    Udp,
    /// A stream to a socket in the file system.
    Unix,
}

/// Sends lines to a socket, connected anew when it was lost.
pub(super) struct SocketSink {
    transport: Transport,
    address: String,
    /// Longest time for connecting, and for each write.
    timeout: Duration,
    connection: Option<Connection>,
}

enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
    Udp(UdpSocket),
}

impl SocketSink {
    pub(super) fn new(transport: Transport, address: &str, timeout: Duration) -> SocketSink {
        SocketSink { transport, address: address.to_owned(), timeout, connection: None }
    }

    fn connect(&self) -> io::Result<Connection> {
        match self.transport {
            Transport::Unix => {
                let stream = UnixStream::connect(&self.address)?;
                stream.set_write_timeout(Some(self.timeout))?;
                Ok(Connection::Unix(stream))
            }
            Transport::Tcp => {
                let stream =
                    self.first(|address| TcpStream::connect_timeout(&address, self.timeout))?;
                stream.set_write_timeout(Some(self.timeout))?;
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }
            Transport::Udp => self.first(udp).map(Connection::Udp),
        }
    }

    /// The first address of the name that can be reached.
    fn first<T>(&self, connect: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
        let mut failure = io::Error::other("the address has no IP address");
        for address in self.address.to_socket_addrs()? {
            match connect(address) {
                Ok(connected) => return Ok(connected),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn try_write(&mut self, lines: &[Line]) -> Vec<io::Result<()>> {
        let has_ended = match &mut self.connection {
            Some(Connection::Tcp(stream)) => has_ended(stream, TcpStream::set_nonblocking),
            Some(Connection::Unix(stream)) => has_ended(stream, UnixStream::set_nonblocking),
            Some(Connection::Udp(_)) => false,
            None => true,
        };
        if has_ended && let Err(error) = self.reopen() {
            return all_failed(lines, &error);
        }
        let outcomes = match &mut self.connection {
            Some(Connection::Tcp(stream)) => write_stream(stream, lines).0,
            Some(Connection::Unix(stream)) => write_stream(stream, lines).0,
            Some(Connection::Udp(socket)) => {
                lines.iter().map(|line| socket.send(&line.bytes).map(drop)).collect()
            }
            None => Vec::new(),
        };
        if outcomes.iter().any(Result::is_err) {
            self.connection = None;
        }
        outcomes
    }
}

impl Sink for SocketSink {
    /// A second try on a new connection: the other end may have been restarted.
    fn write(&mut self, lines: &[Line]) -> Vec<io::Result<()>> {
        let was_connected = self.connection.is_some();
        let mut outcomes = self.try_write(lines);
        let arrived = outcomes.iter().take_while(|outcome| outcome.is_ok()).count();
        let blocked = |outcome: &io::Result<()>| {
            outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        if was_connected && arrived < lines.len() && !outcomes.iter().any(blocked) {
            outcomes.truncate(arrived);
            let rest = lines.get(arrived..).unwrap_or_default();
            outcomes.extend(self.try_write(rest));
        }
        outcomes
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.connection = None;
        let connected = self.connect().map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("unable to connect to {:?}: {error}", self.address),
            )
        })?;
        self.connection = Some(connected);
        Ok(())
    }
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let local: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local)?;
    socket.connect(address)?;
    Ok(socket)
}

/// Whether the other end has hung up: a line written after that would be lost without a sign.
/// What it sends is nothing to us.
fn has_ended<S: Read>(stream: &mut S, set_nonblocking: fn(&S, bool) -> io::Result<()>) -> bool {
    if set_nonblocking(stream, true).is_err() {
        return true;
    }
    let ended = match stream.read(&mut [0; 256]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    };
    set_nonblocking(stream, false).is_err() || ended
}
