//! What runs do, and what is told of them.

use crate::world::{CONNECTION, World, counts};
use bailee_fake_clouds::aws::Fault;
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_planned_made_updated_and_left_alone() {
    let world = World::connected().await;
    world.write("first", json!({ "foo": "bar", "n": 1.5, "html": "<&>" })).await;
    world.write("team/blue/second", json!({ "foo2": "bar2" })).await;
    let other = json!({ "data": { "super": "secret" } });
    world.server.api().put("other/data/hidden", other).await.done();

    let planned = world.replicate(&["plan", "-config=replicate.hcl"]).await;
    assert_eq!(planned.code, 2, "{planned:?}");
    for part in ["create", "apps/first", "apps/team/blue/second", "2 to change, 0 unchanged"] {
        assert!(planned.out.contains(part), "{part}: {planned:?}");
    }
    assert_eq!(world.calls(), counts(&[("GetSecretValue", 1), ("ListSecrets", 1)]));

    let ran = world.replicate(&["run", "-config=replicate.hcl", "-output=sample"]).await;
    assert_eq!(
        serde_json::from_str::<Value>(&ran.out).unwrap(),
        json!({ "status": "OK", "results": "Secrets created: 2, Secrets updated: 0" })
    );
    let first = world.aws.secret("apps/first").unwrap();
    // Compact, and what the source holds.
    assert_eq!(first.value.as_deref(), Some(r#"{"foo":"bar","html":"<&>","n":1.5}"#));
    assert_eq!(world.tag("apps/first", "version").as_deref(), Some("1"));
    assert_eq!(world.value("apps/team/blue/second"), Some(json!({ "foo2": "bar2" })));
    assert!(!world.aws.secrets().iter().any(|secret| secret.name.contains("hidden")));
    world.calls();

    assert!(world.runs().await.contains("2 unchanged"));
    assert_eq!(world.calls(), counts(&[("GetSecretValue", 1), ("ListSecrets", 1)]));
    assert_eq!(world.replicate(&["plan", "-config=replicate.hcl"]).await.code, 0);
    world.calls();

    world.write("first", json!({ "foo": "changed" })).await;
    assert!(world.runs().await.contains("updated apps/first"));
    assert_eq!(world.value("apps/first"), Some(json!({ "foo": "changed" })));
    assert_eq!(world.tag("apps/first", "version").as_deref(), Some("2"));
    // The newest version goes: the newest that lives takes its place.
    world.server.api().delete("apps/data/first").await.done();
    world.runs().await;
    assert_eq!(world.tag("apps/first", "version").as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_removal_does_what_it_says() {
    let world = World::connected().await;
    for path in ["a", "b", "c", "d", "e"] {
        world.write(path, json!({ "n": 1 })).await;
    }
    world.runs().await;
    let remove = async |path: &str| {
        world.server.api().delete(&format!("apps/metadata/{path}")).await.done();
    };
    remove("a").await;
    assert!(world.runs().await.contains("4 unchanged"));
    assert!(world.value("apps/a").is_some() && world.tag("apps/a", "bailee:orphan").is_none());
    world.configure("deletion = \"orphan\"");
    assert!(world.runs().await.contains("tagged as orphan apps/a"));
    assert!(world.value("apps/a").is_some() && world.tag("apps/a", "bailee:orphan").is_some());
    world.configure("deletion = \"schedule\"\nrecovery_window_days = 7");
    assert!(world.runs().await.contains("scheduled for deletion apps/a"));
    assert!(world.aws.secret("apps/a").unwrap().deleted_at.is_some());
    world.write("a", json!({ "n": "again" })).await;
    world.runs().await;
    assert_eq!(world.value("apps/a"), Some(json!({ "n": "again" })));
    world.configure("deletion = \"delete\"");
    remove("a").await;
    assert!(world.runs().await.contains("deleted apps/a"));
    assert!(world.aws.secret("apps/a").is_none());
    for path in ["b", "c", "d"] {
        remove(path).await;
    }
    let stopped = world.run().await;
    assert_eq!(stopped.code, 2, "{stopped:?}");
    assert!(stopped.out.contains("guard: 3 of 4 secrets would be removed"), "{stopped:?}");
    assert!(world.value("apps/b").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_told_by_name_and_the_rest_arrives() {
    let world = World::connected().await;
    world.write("large", json!({ "x": "x".repeat(65_530) })).await;
    world.write("fits", json!({ "x": "x".repeat(65_528) })).await;
    world.write("vault-connection-secret", json!({ "vaultToken": "evil" })).await;
    world.aws.put_secret("apps/taken", "somebody's");
    world.write("taken", json!({ "n": 1 })).await;
    world.aws.inject(Fault::throttle("secretsmanager:CreateSecret").times(2));
    let ended = world.replicate(&["run", "-config=replicate.hcl", "-format=json"]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(report["account"], json!("123456789012"));
    let done = &report["outcome"]["done"];
    assert_eq!(done["created"], json!(["apps/fits"]));
    let failed: Vec<(&str, &str)> = done["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["failure"].as_str().unwrap()))
        .collect();
    assert_eq!(
        failed,
        [("apps/large", "too_large"), ("apps/taken", "not_ours"), (CONNECTION, "name_taken")]
    );
    assert_eq!(world.aws.secret("apps/taken").unwrap().value.as_deref(), Some("somebody's"));
    assert!(!world.aws.secret(CONNECTION).unwrap().value.unwrap().contains("evil"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_told_by_line_and_nothing_is_called() {
    let world = World::connected().await;
    for (more, line) in [
        ("colour = \"blue\"", "line 5: unknown key \"colour\""),
        ("schedule = \"cron(x * * * ? *)\"", "line 5: schedule"),
        ("deletion = 7", "line 5: deletion"),
    ] {
        world.configure(more);
        let ended = world.replicate(&["run", "-config=replicate.hcl"]).await;
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains(line), "{ended:?}");
    }
    for command in ["plan", "serve", "connect", "policy"] {
        assert_eq!(world.replicate(&[command, "-config=replicate.hcl"]).await.code, 1, "{command}");
    }
    let ended = world.replicate(&["run", "-config=absent.hcl"]).await;
    assert!(ended.code == 1 && ended.err.contains("cannot be read"), "{ended:?}");
    assert_eq!(world.calls(), BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_own_file_takes_over_what_the_sample_made() {
    let world = World::new().await;
    let key = world.aws.create_kms_key();
    let connection =
        json!({ "vaultAddress": world.server.api().base(), "vaultToken": world.token });
    world.aws.put_secret(CONNECTION, &connection.to_string());
    for (name, version) in [("apps/kept", "1"), ("apps/stale", "1"), ("apps/orphan", "3")] {
        world.aws.put_secret(name, "{\"by\":\"the sample\"}");
        world.aws.set_secret_tag(name, "version", Some(version));
    }
    world.write("kept", json!({ "n": 1 })).await;
    world.write("stale", json!({ "n": 1 })).await;
    world.write("stale", json!({ "n": 2 })).await;
    world.write("new", json!({ "n": 1 })).await;
    let cdk = json!({
        "app": "x",
        "context": { "configuration": {
            "secretsPrefix": "apps", "lambdaCronSchedule": "cron(0,30 * * * ? *)",
            "deployHCPVaultOnEC2": true, "notificationEmail": "",
            "hcpvaultInboundIPCidr": "", "optionalExternalVaultAddress": "",
        } },
    });
    world.file("cdk.json", &cdk.to_string());
    let without_key = world.replicate(&["run", "-config=cdk.json"]).await;
    assert!(without_key.code == 2 && without_key.out.contains("KMS key"), "{without_key:?}");
    // The key of its stack has this alias.
    world.aws.create_kms_alias("alias/apps-encryption-key", &key);
    let ran = world.replicate(&["run", "-config=cdk.json", "-output=sample"]).await;
    let expected = json!({ "status": "OK", "results": "Secrets created: 1, Secrets updated: 2" });
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), expected);
    assert_eq!(world.aws.secret("apps/new").unwrap().kms_key_arn.as_ref(), Some(&key));
    assert_eq!(world.value("apps/stale"), Some(json!({ "n": 2 })));
    assert_eq!(world.tag("apps/stale", "version").as_deref(), Some("2"));
    assert_eq!(world.value("apps/orphan"), Some(json!({ "by": "the sample" })));
    assert_eq!(world.value(CONNECTION), Some(connection));
    let again = world.replicate(&["run", "-config=cdk.json"]).await;
    assert!(again.out.contains("3 unchanged"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_alone_are_enough() {
    let world = World::connected().await;
    world.write("a", json!({ "n": 1 })).await;
    let arguments = ["run", "-mount=apps", "-prefix=by-flags", "-region=us-east-1"];
    let ran = world.replicate(&arguments).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.value("by-flags/a"), Some(json!({ "n": 1 })));
    let both = world.replicate(&["run", "-config=replicate.hcl", "-mount=apps"]).await;
    assert!(both.code == 1 && both.err.contains("exclude"), "{both:?}");
    assert!(Path::new(world.folder.path()).exists());
}
