//! What roles and settings take, and what they say to the rest.

use super::World;
use serde_json::json;

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
