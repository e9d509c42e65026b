//! Texts that users write: policies and configuration, durations, name templates, path patterns,
//! and the check that every request body passes before anything else looks at it.
//!
//! | module | reads | for example |
//! |---|---|---|
//! | [`hcl`] | HCL 1 and its JSON form | `path "kv/*" { capabilities = ["read"] }` |
//! | [`duration`] | durations | `90s`, `1h30m`, `2d`, `15` |
//! | [`schedule`] | times that come again | `cron(0/30 * * * ? *)`, `rate(1 hour)`, `0 2 * * SAT`, `30m` |
//! | [`template`] | name templates | `vault/{{ .MountAccessor }}/{{ .SecretPath }}` |
//! | [`template::document`] | templates of files | `{{ with secret "kv/app" }}{{ .Data.key }}{{ end }}` |
//! | [`glob`] | path patterns of policies, value globs | `kv/+/data/*`, `*-prod` |
//! | [`yaml`] | configuration, into the same tree | `ttl: 1h` |
//! | [`json`] | request bodies, within limits | `{"data": {"a": 1}}` |
//!
//! The crate is pure: no input or output, no clock, no randomness. Every reader is bounded in size
//! and depth, takes time linear in its input (a logarithm more where keys are compared), and
//! answers bad input with an error that says where it is. None of them panics.

pub mod duration;
mod escape;
pub mod glob;
pub mod hcl;
pub mod json;
pub mod schedule;
pub mod template;
pub mod yaml;
