//! The only way out: every outbound connection of the server passes the guarded connector here.
//!
//! *Invariant:* nothing in this crate knows what a secret is or who asked; no environment variable
//! is read here, except by the AWS credential chain when the caller allows ambient credentials.

pub mod aws;
mod classify;
mod connector;
mod credentials;
mod found;
mod guard;
mod http;
mod instance;
mod proxy;
pub mod query;
mod registry;
mod tls;
mod web_identity;
mod xml;

#[cfg(test)]
mod testing;

pub use self::http::{HttpClient, HttpError, HttpLimits, HttpOptions};
pub use classify::{CloudError, Kind, classify};
pub use connector::{Resolve, SystemResolver};
pub use guard::{EgressRules, InvalidRule, Refused, parse_ipv4_net, parse_ipv6_net, parse_port};
pub use proxy::{InvalidProxy, Proxy};
pub use registry::{SPECIAL_IPV4, SPECIAL_IPV6, SpecialBlock};
pub use tls::{InvalidRoots, Roots};
pub use xml::Xml;
