//! What roles and settings take, and what they say to the rest.

use super::World;
use bailee_sdk::Operation::Delete;
use serde_json::{Value, json};

const ARN: &str = "arn:aws:iam::123456789012:role/test";

#[tokio::test(start_paused = true)]
async fn roles_are_refused_in_the_words_that_clients_know() {
    let world = World::new().await;
    let cases = [
        (json!({ "policy_document": "{}" }), "did not supply credential_type"),
        (json!({ "credential_type": "nope" }), "unrecognized credential type: nope"),
        (
            json!({ "credential_type": "iam_user", "role_arns": ARN }),
            "cannot supply role_arns when credential_type isn't assumed_role",
        ),
        (
            json!({ "credential_type": "assumed_role", "user_path": "/x/" }),
            "user_path parameter only valid for iam_user credential type",
        ),
        (
            json!({ "credential_type": "iam_user", "default_sts_ttl": "1h" }),
            "default_sts_ttl parameter only valid for assumed_role, federation_token, and \
             session_token credential types",
        ),
        (
            json!({
                "credential_type": "assumed_role", "role_arns": ARN,
                "default_sts_ttl": "2h", "max_sts_ttl": "1h",
            }),
            "\\\"default_sts_ttl\\\" value must be less than or equal to \\\"max_sts_ttl\\\" value",
        ),
        (
            json!({ "credential_type": "session_token", "policy_document": "{}" }),
            "cannot supply a policy or policy ARNs when using credential_type session_token",
        ),
        (
            json!({ "credential_type": "iam_user", "user_path": "nope" }),
            "the specified value for user_path is invalid. It must match \
             \\\"^\\\\\\\\/([\\\\\\\\x21-\\\\\\\\x7F]{0,510}\\\\\\\\/)?$\\\" regexp",
        ),
    ];
    for (role, text) in cases {
        let expected = format!(
            "error(s) validating supplied role data: \"1 error occurred:\\n\\t* {text}\\n\\n\""
        );
        assert_eq!(world.refusal("roles/x", role.clone()).await, expected, "{role}");
    }
    let error = world.read("roles/x").await.unwrap_err();
    assert!(error.messages.is_empty(), "nothing was stored");
}

#[tokio::test(start_paused = true)]
async fn what_aws_would_refuse_later_is_refused_when_the_role_is_written() {
    let world = World::new().await;
    let long = format!("{{\"Id\":\"{}\"}}", "x".repeat(3000));
    let tags: Vec<String> = (0..60).map(|number| format!("k{number}=v")).collect();
    for role in [
        json!({ "credential_type": "iam_user", "policy_document": "{not json" }),
        json!({ "credential_type": "iam_user", "policy_document": long }),
        json!({ "credential_type": "iam_user", "policy_arns": "nope" }),
        json!({ "credential_type": "iam_user", "iam_groups": "a b" }),
        json!({ "credential_type": "iam_user", "iam_tags": tags }),
        json!({ "credential_type": "iam_user", "iam_tags": "aws:x=1" }),
        json!({ "credential_type": "iam_user", "permissions_boundary_arn": "b" }),
        json!({ "credential_type": "assumed_role", "role_arns": ARN, "external_id": "1" }),
    ] {
        let error = world.refusal("roles/x", role.clone()).await;
        assert!(!error.is_empty(), "{role}");
        assert!(world.read("roles/x").await.is_err(), "{role}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_old_form_of_roles_is_taken_with_a_warning() {
    let world = World::new().await;
    let reply = world.write("roles/old", json!({ "policy": "{ }" })).await.unwrap();
    assert!(reply.warnings[0].starts_with("Detected use of legacy role or policy parameter"));
    let role = world.read("roles/old").await.unwrap();
    assert_eq!(role["credential_type"], "iam_user,federation_token");
    world.write("roles/old", json!({ "arn": ARN })).await.unwrap();
    assert_eq!(world.read("roles/old").await.unwrap()["credential_type"], "assumed_role");
}

#[tokio::test(start_paused = true)]
async fn settings_that_lead_nowhere_are_refused_and_nothing_changes() {
    let world = World::new().await;
    let before = world.read("config/root").await.unwrap();
    for wrong in [
        json!({ "access_key": "" }),
        json!({ "access_key": "AKIAOTHER" }),
        json!({ "iam_endpoint": "https://iam.example" }),
        json!({ "sts_endpoint": "https://sts.example" }),
        json!({ "sts_fallback_endpoints": "https://sts.example", "sts_fallback_regions": "x" }),
        json!({ "max_retries": "x" }),
        json!({ "max_retries": 1000 }),
        json!({ "region": "eu.evil.example" }),
        json!({ "sts_endpoint": "https://user:pass@x/" }),
        json!({ "username_template": "{{ .Nope" }),
        json!({ "username_template": "{{ random 200 }}" }),
        json!({ "sts_fallback_endpoints": "https://a" }),
        json!({ "identity_token_audience": "x" }),
        json!({ "rotation_period": "9s" }),
        json!({ "rotation_schedule": "every day" }),
        json!({ "rotation_period": "1h", "rotation_schedule": "0 0 * * *" }),
    ] {
        let error = world.refusal("config/root", wrong.clone()).await;
        assert!(!error.is_empty(), "{wrong}");
        assert_eq!(world.read("config/root").await.unwrap(), before, "{wrong}");
    }
    assert!(before.get("secret_key").is_none(), "it is never shown");
}

#[tokio::test(start_paused = true)]
async fn a_stored_secret_goes_with_the_id_and_the_addresses_that_it_was_given_for() {
    let world = World::new().await;
    let there = json!({
        "access_key": "AKIAOTHER", "secret_key": "t", "iam_endpoint": "https://iam.example",
        "sts_endpoint": "https://sts.example",
    });
    world.write("config/root", there).await.unwrap();
    // What stays as it is needs nothing, and what is no way needs nothing either.
    let same = json!({
        "access_key": "AKIAOTHER", "iam_endpoint": "https://iam.example", "region": "us-west-2",
    });
    world.write("config/root", same).await.unwrap();
    let back = json!({ "sts_endpoint": "" });
    let error = world.refusal("config/root", back).await;
    assert!(error.ends_with("change only together with secret_key: give it again"), "{error}");
    // A mount without a secret has none to give away.
    let none = json!({ "access_key": "", "secret_key": "", "sts_endpoint": "" });
    world.write("config/root", none).await.unwrap();
    world.write("config/root", json!({ "sts_endpoint": "https://sts.example" })).await.unwrap();
}

/// A type of role, fields of which at least one is wrong, and a part of what is said.
fn wrong_fields() -> Vec<(&'static str, Value, &'static str)> {
    let long = |length: usize| "x".repeat(length);
    let document = format!("{{\"Id\":\"{}\"}}", long(2048));
    let tags = json!((0..60).map(|number| format!("k{number}=v")).collect::<Vec<_>>());
    let (user, assumed) = ("iam_user", "assumed_role");
    let (federated, own) = ("federation_token", "session_token");
    let only_assumed = "when credential_type isn't assumed_role";
    let sts = "parameter only valid for assumed_role, federation_token, and session_token";
    vec![
        (user, json!({ "credential_type": "nope" }), "unrecognized credential type: nope"),
        (user, json!({ "policy_document": "{not json" }), "cannot parse policy document: \"{not"),
        (user, json!({ "policy_document": "[]" }), "cannot parse policy document: \"[]\""),
        (user, json!({ "policy_document": "\"text\"" }), "cannot parse policy document"),
        (user, json!({ "policy_document": { "Version": "2012-10-17" } }), "policy_document"),
        (user, json!({ "policy_document": document }), "policy_document is too long"),
        (federated, json!({ "policy_document": document }), "policy_document is too long"),
        (own, json!({ "policy_document": "{}" }), "cannot supply a policy or policy ARNs"),
        (own, json!({ "policy_arns": "arn:aws:iam::aws:policy/X" }), "cannot supply a policy or"),
        (user, json!({ "policy_arns": "nope" }), "policy_arns: \\\"nope\\\" is not an ARN"),
        (user, json!({ "policy_arns": format!("arn:aws:iam::aws:policy/{}", long(2048)) }), "ARN"),
        (user, json!({ "role_arns": ARN }), only_assumed),
        (assumed, json!({ "role_arns": "nope" }), "role_arns: \\\"nope\\\" is not an ARN"),
        (user, json!({ "iam_groups": "a b" }), "is not a name of a group"),
        (user, json!({ "iam_groups": [long(129)] }), "is not a name of a group"),
        (user, json!({ "iam_tags": tags }), "iam_tags: at most 48 tags"),
        (user, json!({ "iam_tags": { long(129): "v" } }), "iam_tags: "),
        (user, json!({ "iam_tags": { "k": long(257) } }), "iam_tags: \\\"k\\\" is not valid"),
        (user, json!({ "iam_tags": { "aws:k": "v" } }), "begin neither with aws:"),
        (user, json!({ "iam_tags": 7 }), "iam_tags"),
        (user, json!({ "session_tags": "k=v" }), only_assumed),
        (assumed, json!({ "session_tags": { "": "v" } }), "session_tags: "),
        (assumed, json!({ "session_tags": tags }), "session_tags: at most 48 tags"),
        (user, json!({ "external_id": "id-1" }), only_assumed),
        (assumed, json!({ "external_id": "1" }), "external_id must have 2 to 1224 characters"),
        (assumed, json!({ "external_id": long(1225) }), "external_id must have 2 to 1224"),
        (assumed, json!({ "external_id": "a b" }), "external_id must have 2 to 1224"),
        (user, json!({ "mfa_serial_number": "m" }), "credential_type isn't session_token"),
        (user, json!({ "default_sts_ttl": "1h" }), sts),
        (user, json!({ "max_sts_ttl": "1h" }), sts),
        (assumed, json!({ "default_sts_ttl": "abc" }), "default_sts_ttl"),
        (assumed, json!({ "max_sts_ttl": -1 }), "max_sts_ttl"),
        (assumed, json!({ "max_sts_ttl": "37h" }), "max_sts_ttl must be at most 129600 seconds"),
        (
            own,
            json!({ "default_sts_ttl": "2h", "max_sts_ttl": "1h" }),
            "\\\"default_sts_ttl\\\" value must be less than or equal to \\\"max_sts_ttl\\\" value",
        ),
        (user, json!({ "user_path": "nope" }), "the specified value for user_path is invalid"),
        (user, json!({ "user_path": format!("/{}/", long(511)) }), "value for user_path is"),
        (assumed, json!({ "user_path": "/x/" }), "only valid for iam_user credential type"),
        (user, json!({ "permissions_boundary_arn": "b" }), "permissions_boundary_arn: "),
        (
            assumed,
            json!({ "permissions_boundary_arn": "arn:aws:iam::123456789012:policy/b" }),
            "cannot supply permissions_boundary_arn when credential_type isn't iam_user",
        ),
        (user, json!({ "policy": "{}", "policy_arns": "x" }), "policy and arn are the old form"),
        (user, json!({ "arn": "nope" }), "is neither of a policy nor of a role"),
    ]
}

#[tokio::test(start_paused = true)]
async fn no_field_of_a_role_takes_what_is_wrong_when_it_is_made_or_changed() {
    let world = World::new().await;
    for (number, (kind, fields, text)) in wrong_fields().into_iter().enumerate() {
        let mut whole = json!({ "credential_type": kind });
        if fields.get("policy").or(fields.get("arn")).is_some() {
            whole = json!({});
        }
        for (name, value) in fields.as_object().unwrap() {
            whole[name] = value.clone();
        }
        let error = world.refusal("roles/made", whole).await;
        assert!(error.contains(text), "{fields}: {error}");
        assert!(world.read("roles/made").await.is_err(), "{fields} is stored");

        let path = format!("roles/changed-{number}");
        world.write(&path, json!({ "credential_type": kind })).await.unwrap();
        let before = world.read(&path).await.unwrap();
        let error = world.refusal(&path, fields.clone()).await;
        assert!(error.contains(text), "{fields}: {error}");
        assert_eq!(world.read(&path).await.unwrap(), before, "{fields}");
    }
    assert!(world.iam.state.lock().calls.is_empty(), "and nothing is asked of AWS");
}

#[tokio::test(start_paused = true)]
async fn sessions_that_sts_would_not_give_are_refused_without_asking_it() {
    let world = World::new().await;
    let too_short = "Value '899' at 'durationSeconds' failed to satisfy constraint: Member must have \
                     value greater than or equal to 900";
    for (kind, prefix) in [
        ("assumed_role", "Error assuming role: "),
        ("federation_token", "Error generating STS keys: "),
        ("session_token", "Error generating STS keys: "),
    ] {
        let mut role = json!({ "credential_type": kind });
        match kind {
            "assumed_role" => role["role_arns"] = json!(ARN),
            "federation_token" => role["policy_document"] = json!("{}"),
            _ => {}
        }
        world.write("roles/x", role).await.unwrap();
        let asked = world.refusal("sts/x", json!({ "ttl": 899 })).await;
        assert!(asked.starts_with(prefix) && asked.ends_with(too_short), "{kind}: {asked}");
        // The role's own term counts as well.
        world.write("roles/x", json!({ "default_sts_ttl": 899 })).await.unwrap();
        assert_eq!(world.refusal("creds/x", json!({})).await, asked);
        world.mount.call(Delete, "roles/x", Value::Null).await.unwrap();
    }
    world.write("roles/x", json!({ "credential_type": "federation_token" })).await.unwrap();
    let error = world.refusal("creds/x", json!({})).await;
    assert!(error.starts_with("must specify at least one of policy_arns or policy"), "{error}");
    world.write("roles/y", json!({ "credential_type": "assumed_role" })).await.unwrap();
    let error = world.refusal("creds/y", json!({})).await;
    assert!(error.starts_with("did not supply a role_arn parameter"), "{error}");
    assert!(world.iam.state.lock().calls.is_empty());
}
