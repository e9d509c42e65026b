//! The operator's forward proxy.

use std::fmt;
use std::net::IpAddr;

use bailee_crypto::Sensitive;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;

/// A forward proxy that connections are tunnelled through with CONNECT.
///
/// The proxy's own address is the operator's word and not checked by the egress rules; where the
/// tunnel leads is. Hosts written as loopback or link-local addresses are reached directly.
#[derive(Clone, Debug)]
pub struct Proxy {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<Sensitive<String>>,
    bypass: Vec<Bypass>,
}

impl Proxy {
    /// Reads a URL as `HTTPS_PROXY` carries it (`http://` or `https://`, with or without user and
    /// password) and a list as `NO_PROXY` carries it (names, `.suffixes`, addresses, CIDR, `*`).
    pub fn parse(url: &str, no_proxy: &str) -> Result<Proxy, InvalidProxy> {
        let url = url.trim();
        let uri: http::Uri = if url.contains("://") {
            url.parse().map_err(|_| InvalidProxy("is not a URL"))?
        } else {
            format!("http://{url}").parse().map_err(|_| InvalidProxy("is not a URL"))?
        };
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(InvalidProxy("has a scheme other than http and https")),
        };
        let authority = uri.authority().ok_or(InvalidProxy("names no host"))?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(InvalidProxy("names no host"));
        }
        let authorization = match authority.as_str().rsplit_once('@') {
            Some((user_info, _)) => Some(basic(user_info)?),
            None => None,
        };
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let bypass = no_proxy.split(',').filter_map(Bypass::parse).collect();
        Ok(Proxy { host, port, tls, authorization, bypass })
    }

    /// Whether a connection to this host goes through the proxy.
    pub(crate) fn serves(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok();
        if host == "localhost" || address.is_some_and(is_local) {
            return false;
        }
        !self.bypass.iter().any(|entry| entry.matches(&host, address))
    }
}

fn basic(user_info: &str) -> Result<Sensitive<String>, InvalidProxy> {
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded
            .map(|text| text.into_owned())
            .map_err(|_| InvalidProxy("has a user that is no text"))
    };
    let pair = Sensitive::new(format!("{}:{}", decode(user)?, decode(password)?));
    Ok(Sensitive::new(format!("Basic {}", STANDARD.encode(pair.expose()))))
}

fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        // fd00:ec2::/32 is where AWS puts its instance endpoints.
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unicast_link_local()
                || matches!(v6.segments(), [0xfd00, 0xec2, ..])
        }
    }
}

#[derive(Clone, Debug)]
enum Bypass {
    Everything,
    Net(IpNet),
    Name { name: String, itself: bool },
}

impl Bypass {
    fn parse(entry: &str) -> Option<Bypass> {
        let entry = entry.trim().to_ascii_lowercase();
        if entry.is_empty() {
            return None;
        }
        if entry == "*" {
            return Some(Bypass::Everything);
        }
        if let Ok(net) = entry.parse::<IpNet>() {
            return Some(Bypass::Net(net));
        }
        if let Ok(address) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Some(Bypass::Net(address.into()));
        }
        let suffix = entry.strip_prefix("*.").or_else(|| entry.strip_prefix('.'));
        Some(match suffix {
            Some(suffix) => Bypass::Name { name: suffix.to_owned(), itself: false },
            None => Bypass::Name { name: entry, itself: true },
        })
    }

    fn matches(&self, host: &str, address: Option<IpAddr>) -> bool {
        match self {
            Bypass::Everything => true,
            Bypass::Net(net) => address.is_some_and(|address| net.contains(&address)),
            Bypass::Name { name, itself } => {
                (*itself && host == name)
                    || host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
        }
    }
}

/// A proxy setting that cannot be used. The text never repeats the setting: it can hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidProxy(&'static str);

impl fmt::Display for InvalidProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy setting {}: want http://host:port or https://host:port", self.0)
    }
}

impl std::error::Error for InvalidProxy {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_url_gives_host_port_and_credentials() {
        let proxy = Proxy::parse("http://us%40er:p%3Aw@proxy.example:3128", "").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port, proxy.tls), ("proxy.example", 3128, false));
        let sent = proxy.authorization.as_ref().unwrap().expose().clone();
        assert_eq!(sent, format!("Basic {}", STANDARD.encode("us@er:p:w")));
        assert!(!format!("{proxy:?}").contains("Basic"));

        let bare = Proxy::parse("proxy.example:3128", "").unwrap();
        assert_eq!((bare.port, bare.tls), (3128, false));
        let tls = Proxy::parse("https://[::1]", "").unwrap();
        assert_eq!((tls.host.as_str(), tls.port, tls.tls), ("::1", 443, true));
    }

    #[test]
    fn a_bad_proxy_url_is_refused_without_repeating_it() {
        for bad in ["socks5://user:hunter2@proxy", "http://", "http://user:hunter2@ proxy"] {
            let text = Proxy::parse(bad, "").unwrap_err().to_string();
            assert!(text.starts_with("the proxy setting "), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn hosts_of_the_no_proxy_list_and_local_ones_bypass_the_proxy() {
        let list = "internal.example, .corp.example,10.0.0.0/8,192.0.2.7";
        let proxy = Proxy::parse("http://proxy:3128", list).unwrap();
        for direct in [
            "internal.example",
            "a.internal.example",
            "a.corp.example",
            "10.9.8.7",
            "192.0.2.7",
            "localhost",
            "127.0.0.1",
            "169.254.169.254",
            "fd00:ec2::23",
        ] {
            assert!(!proxy.serves(direct), "{direct}");
        }
        for served in ["corp.example", "notinternal.example", "192.0.2.8", "example.com"] {
            assert!(proxy.serves(served), "{served}");
        }
        assert!(!Proxy::parse("http://proxy:3128", "*").unwrap().serves("example.com"));
    }
}
