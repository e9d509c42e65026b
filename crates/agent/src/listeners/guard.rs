//! Who may speak to a listener.

use super::{
    answer::{self, Refusal},
    settings::{Guard as Settings, Hosts, TokenHeaders},
    tokens::{TokenFileError, Tokens},
};
use crate::event::Refusals;
use http::{
    HeaderMap, StatusCode, Uri,
    header::{AUTHORIZATION, HOST},
};
use std::net::{IpAddr, SocketAddr};

/// Checks requests before anything is read of what they ask for.
pub(crate) struct Guard {
    tokens: Option<Tokens>,
    token_headers: TokenHeaders,
    hosts: Option<(Hosts, IpAddr)>,
    pub(crate) refusals: Refusals,
}

impl Guard {
    /// A guard of a listener at an address, or of a socket in the file system, which no web page reaches.
    ///
    /// # Errors
    /// The file of tokens cannot be used.
    pub(crate) fn new(
        settings: Settings,
        address: Option<SocketAddr>,
    ) -> Result<Guard, TokenFileError> {
        let tokens = settings.token_file.map(Tokens::open).transpose()?;
        let hosts = address.map(|address| (settings.hosts, address.ip()));
        let (token_headers, refusals) = (settings.token_headers, Refusals::default());
        Ok(Guard { tokens, token_headers, hosts, refusals })
    }

    /// Whether only those come through who show a token, or may write to a socket.
    pub(crate) fn is_closed(&self) -> bool {
        self.tokens.is_some() || self.hosts.is_none()
    }

    /// Refuses what was forwarded, what was meant for another host, and what shows no token: in this order.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        self.check_origin(uri, headers)?;
        self.check_token(headers)
    }

    /// The part of it that needs no token.
    pub(crate) fn check_origin(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        if headers.contains_key("x-forwarded-for") {
            self.refusals.tell("forwarded");
            return Err(Box::new(answer::bare(StatusCode::BAD_REQUEST, "Forwarded")));
        }
        if !self.is_meant_here(uri, headers) {
            self.refusals.tell("host");
            return Err(Box::new(answer::bare(StatusCode::FORBIDDEN, "Bad Host")));
        }
        Ok(())
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(tokens) = &self.tokens else { return Ok(()) };
        let shown = self.token_headers.0.iter().filter_map(|name| {
            let value = headers.get(name)?.as_bytes();
            let bearer = (*name == AUTHORIZATION).then(|| value.strip_prefix(b"Bearer ")).flatten();
            Some(bearer.unwrap_or(value))
        });
        if shown.fold(false, |admitted, shown| tokens.admit(shown) | admitted) {
            return Ok(());
        }
        self.refusals.tell("token");
        Err(Box::new(answer::bare(StatusCode::FORBIDDEN, "Bad Token")))
    }

    /// A page whose name was made to lead to this machine sends its own name: nobody here is called that.
    fn is_meant_here(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some((hosts, own)) = &self.hosts else { return true };
        let mut named = headers.get_all(HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else { return false };
        let Ok(host) = host.to_str() else { return false };
        // A target that names a host must name the same.
        let differs =
            uri.authority().is_some_and(|target| !target.as_str().eq_ignore_ascii_case(host));
        !differs && is_own(host, hosts, own)
    }
}

fn is_own(host: &str, hosts: &Hosts, own: &IpAddr) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => {
            let Some((name, port)) = rest.split_once(']') else { return false };
            if !(port.is_empty() || is_port(port.strip_prefix(':'))) {
                return false;
            }
            name
        }
        None => match host.split_once(':') {
            Some((name, port)) if is_port(Some(port)) => name,
            Some(_) => return false,
            None => host,
        },
    };
    if let Ok(address) = name.parse::<IpAddr>() {
        return address.is_loopback() || address == *own;
    }
    name.eq_ignore_ascii_case("localhost")
        || hosts.0.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn is_port(port: Option<&str>) -> bool {
    port.is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_and_addresses_of_this_listener_are_taken() {
        let hosts = Hosts::new(["agent.internal"]).unwrap();
        let own: IpAddr = "10.0.0.7".parse().unwrap();
        for host in [
            "localhost",
            "LOCALHOST:2773",
            "127.0.0.1:2773",
            "127.1.2.3",
            "[::1]:2773",
            "[::1]",
            "agent.internal",
            "Agent.Internal:1",
            "10.0.0.7:2773",
        ] {
            assert!(is_own(host, &hosts, &own), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:2773",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.8",
            "[::1",
            "[::1]x",
            "localhost:",
            "localhost:x",
            "localhost:99999",
            "a@localhost",
            "169.254.169.254",
        ] {
            assert!(!is_own(host, &hosts, &own), "{host}");
        }
    }
}
