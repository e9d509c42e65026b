//! What is shown of a request instead of sending it: a curl command, or the policy it needs.

use bailee_client::{Method, Outgoing, Settings};

/// Paths that need the `sudo` right beside the others.
const SUDO: [&str; 24] = [
    "auth/token/accessors",
    "auth/token/revoke-orphan",
    "sys/audit",
    "sys/audit/*",
    "sys/auth/*",
    "sys/config/auditing/request-headers",
    "sys/config/auditing/request-headers/*",
    "sys/config/cors",
    "sys/config/ui/headers",
    "sys/config/ui/headers/*",
    "sys/internal/inspect/router/*",
    "sys/leases",
    "sys/leases/lookup/*",
    "sys/leases/revoke-force/*",
    "sys/leases/revoke-prefix/*",
    "sys/plugins/catalog/*",
    "sys/raw",
    "sys/raw/*",
    "sys/remount",
    "sys/revoke-force/*",
    "sys/revoke-prefix/*",
    "sys/rotate",
    "sys/seal",
    "sys/step-down",
];

/// The request for a shell. The token is looked up there by `program`, so that it is not shown.
pub(crate) fn curl(program: &str, outgoing: &Outgoing, settings: &Settings) -> String {
    let mut words = vec!["curl".to_owned()];
    match outgoing.method {
        Method::Get | Method::List | Method::Scan => {}
        other => words.push(format!("-X {}", other.verb())),
    }
    if settings.skip_verify {
        words.push("--insecure".to_owned());
    }
    if !settings.follow_redirects {
        words.push("--max-redirs 0".to_owned());
    }
    let mut header = |text: String| words.push(format!("-H \"{text}\""));
    header("X-Vault-Request: true".to_owned());
    if settings.token.is_some() {
        header(format!("X-Vault-Token: $({program} print token)"));
    }
    if !settings.namespace.is_empty() {
        header(format!("X-Vault-Namespace: {}", inside_quotes(&settings.namespace)));
    }
    if outgoing.method == Method::Patch {
        header("Content-Type: application/merge-patch+json".to_owned());
    }
    for (name, value) in &outgoing.headers {
        header(inside_quotes(&format!("{name}: {value}")));
    }
    if let Some(body) = &outgoing.body {
        words.push(format!("-d {}", single_quoted(&String::from_utf8_lossy(body))));
    }
    let url = outgoing.url(settings);
    // What a shell would read as something else.
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-._~:/%@+,=".contains(letter);
    words.push(if url.chars().all(plain) { url } else { single_quoted(&url) });
    words.join(" ")
}

fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The text as it stands inside double quotes of a shell.
fn inside_quotes(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted
}

/// The least policy under which the request is allowed.
pub(crate) fn policy(outgoing: &Outgoing) -> String {
    let mut capabilities = match outgoing.method {
        Method::Get => vec!["read"],
        Method::List => vec!["list"],
        Method::Scan => vec!["scan"],
        Method::Put | Method::Post => vec!["create", "update"],
        Method::Patch => vec!["patch"],
        Method::Delete => vec!["delete"],
    };
    let path = outgoing.path.trim_start_matches('/');
    if SUDO.iter().any(|pattern| matches(pattern, path)) {
        capabilities.push("sudo");
    }
    let capabilities: Vec<String> = capabilities.iter().map(|one| format!("{one:?}")).collect();
    format!("path {path:?} {{\n  capabilities = [{}]\n}}", capabilities.join(", "))
}

fn matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(front) => path.len() > front.len() && path.starts_with(front),
        None => path.trim_end_matches('/') == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailee_crypto::Sensitive;
    use serde_json::json;

    fn settings() -> Settings {
        let mut settings = Settings::new("http://127.0.0.1:8200".parse().unwrap());
        settings.token = Some(Sensitive::from("canary"));
        settings
    }

    #[test]
    fn a_request_can_be_pasted_into_a_shell_and_does_not_show_the_token() {
        let outgoing = Outgoing::new(Method::Put, "a").json(&json!({"k": "it's"}));
        let expected = "curl -X PUT -H \"X-Vault-Request: true\" \
            -H \"X-Vault-Token: $(vault print token)\" -d '{\"k\":\"it'\\''s\"}' \
            http://127.0.0.1:8200/v1/a";
        assert_eq!(curl("vault", &outgoing, &settings()), expected);
    }

    #[test]
    fn what_a_shell_would_expand_is_quoted() {
        let outgoing = Outgoing::new(Method::List, "a").header("X", "$(id)`\"\\");
        let text = curl("bailee", &outgoing, &settings());
        assert!(text.contains(r#"-H "X: \$(id)\`\"\\""#), "{text}");
        assert!(text.ends_with(" 'http://127.0.0.1:8200/v1/a?list=true'"), "{text}");
    }

    #[test]
    fn policies_name_the_path_and_the_rights() {
        let text = policy(&Outgoing::new(Method::List, "a"));
        assert_eq!(text, "path \"a\" {\n  capabilities = [\"list\"]\n}");
        for (method, path, rights) in [
            (Method::Put, "secret/data/a", r#"["create", "update"]"#),
            (Method::Put, "sys/seal", r#"["create", "update", "sudo"]"#),
            (Method::Get, "sys/auth", r#"["read"]"#),
            (Method::Post, "sys/auth/userpass", r#"["create", "update", "sudo"]"#),
            (Method::Patch, "a", r#"["patch"]"#),
            (Method::Delete, "sys/audit/file", r#"["delete", "sudo"]"#),
        ] {
            assert!(policy(&Outgoing::new(method, path)).contains(rights), "{path}");
        }
    }
}
