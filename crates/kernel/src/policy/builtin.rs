//! Policies that every namespace has.

/// What `default` grants until an operator writes it anew: to see, prolong and end one's own token,
/// to see one's own rights and entity, one's cubbyhole, and the tools of response wrapping.
pub(crate) const DEFAULT_POLICY: &str = r#"# Given to every token that does not ask to go without it.
# This text may be changed; the policy itself cannot be deleted.

# The caller's own token: look at it, prolong it, end it.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}

# What the caller may do.
path "sys/capabilities-self" {
  capabilities = ["update"]
}
path "sys/internal/ui/resultant-acl" {
  capabilities = ["read"]
}

# The caller's own entity.
path "identity/entity/id/{{identity.entity.id}}" {
  capabilities = ["read"]
}
path "identity/entity/name/{{identity.entity.name}}" {
  capabilities = ["read"]
}

# Leases whose id the caller knows.
path "sys/renew" {
  capabilities = ["update"]
}
path "sys/leases/renew" {
  capabilities = ["update"]
}
path "sys/leases/lookup" {
  capabilities = ["update"]
}

# A private place of each token.
path "cubbyhole/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

# Response wrapping.
path "sys/wrapping/wrap" {
  capabilities = ["update"]
}
path "sys/wrapping/lookup" {
  capabilities = ["update"]
}
path "sys/wrapping/unwrap" {
  capabilities = ["update"]
}

# Hashes and approval requests, which reveal nothing.
path "sys/tools/hash" {
  capabilities = ["update"]
}
path "sys/tools/hash/*" {
  capabilities = ["update"]
}
path "sys/control-group/request" {
  capabilities = ["update"]
}

# Signing in to other services with one's own identity.
path "identity/oidc/provider/+/authorize" {
  capabilities = ["read", "update"]
}
"#;

/// What a wrapping token may do: fetch what was wrapped for it.
pub(crate) const RESPONSE_WRAPPING_POLICY: &str = r#"
path "cubbyhole/response" {
    capabilities = ["create", "read"]
}

path "sys/wrapping/unwrap" {
    capabilities = ["update"]
}
"#;

/// Policies that nobody can write.
pub(crate) const IMMUTABLE: [&str; 3] = ["root", "response-wrapping", "control-group"];

/// The text of a policy that is not stored.
pub(crate) fn text_of(name: &str) -> Option<&'static str> {
    match name {
        "root" | "control-group" => Some(""),
        "default" => Some(DEFAULT_POLICY),
        "response-wrapping" => Some(RESPONSE_WRAPPING_POLICY),
        _ => None,
    }
}
