//! What AWS has to permit, proven by its evaluator.

use crate::world::{CONNECTION, Ended, World};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_policy_is_enough_and_a_permission_that_is_missing_is_named() {
    let mut world = World::connected().await;
    let kms = world.aws.create_kms_key();
    let configure = |world: &World, deletion: &str| {
        let text = format!(
            "prefix = \"apps\"\nsource \"bailee\" {{ mounts = [\"apps\"] }}\n\
             destination \"aws-sm\" {{\n  region = \"us-east-1\"\n  kms_key_id = {kms:?}\n}}\n\
             connection_secret = {CONNECTION:?}\ndeletion = {deletion:?}\n\
             deletion_share_max = \"1\"\n"
        );
        world.file("replicate.hcl", &text);
    };
    configure(&world, "delete");
    let printed = world.replicate(&["policy", "-config=replicate.hcl"]).await;
    assert_eq!(printed.code, 0, "{printed:?}");
    let policy = printed.out;
    world.key = world.aws.create_user("replicator", &[&policy]);
    world.write("a", json!({ "n": 1 })).await;
    world.write("b", json!({ "n": 1 })).await;
    world.runs().await;
    world.write("a", json!({ "n": 2 })).await;
    world.server.api().delete("apps/metadata/b").await.done();
    let told = world.runs().await;
    assert!(told.contains("updated apps/a") && told.contains("deleted apps/b"), "{told}");

    // It can write neither the connection nor what is not its own, whatever it is told to do.
    let connection = world.replicate(&["connect", "-config=replicate.hcl"]).await;
    assert!(connection.code == 2 && connection.err.contains("PutSecretValue"), "{connection:?}");
    world.aws.put_secret("apps/theirs", "theirs");
    world.write("theirs", json!({ "n": 1 })).await;
    let own = std::fs::read_to_string(world.folder.path().join("replicate.hcl")).unwrap();
    world.file("replicate.hcl", &format!("{own}ownership = \"overwrite\"\n"));
    let ended = world.run().await;
    assert!(ended.code == 2 && ended.out.contains("! apps/theirs: "), "{ended:?}");
    assert_eq!(world.aws.secret("apps/theirs").unwrap().value.as_deref(), Some("theirs"));
    world.file("replicate.hcl", &own);
    world.server.api().delete("apps/metadata/theirs").await.done();
    let whole: Value = serde_json::from_str(&policy).unwrap();
    for action in ["CreateSecret", "UpdateSecret", "TagResource", "DeleteSecret"] {
        let mut less = whole.clone();
        let actions =
            less.pointer_mut("/Statement/0/Action").and_then(Value::as_array_mut).unwrap();
        actions.retain(|one| one != &json!(format!("secretsmanager:{action}")));
        world.aws.set_user_policies("replicator", &[&policy]);
        world.write("a", json!({ "n": action })).await;
        world.write("gone", json!({ "n": 1 })).await;
        world.runs().await;
        world.write("a", json!({ "n": format!("{action} again") })).await;
        world.write(&format!("new-{action}"), json!({ "n": 1 })).await;
        world.server.api().delete("apps/metadata/gone").await.done();
        world.aws.set_user_policies("replicator", &[&less.to_string()]);
        let ended = world.run().await;
        assert_eq!(ended.code, 2, "{action}: {ended:?}");
        assert!(ended.out.contains(&format!("secretsmanager:{action}")), "{action}: {ended:?}");
        world.aws.set_user_policies("replicator", &[&policy]);
        world.runs().await;
        assert_eq!(world.value("apps/a"), Some(json!({ "n": format!("{action} again") })));
    }

    consumers_read_what_is_replicated_and_nothing_else(&mut world).await;
}

async fn consumers_read_what_is_replicated_and_nothing_else(world: &mut World) {
    let arn = "arn:aws:iam::123456789012:user/consumer";
    let printed =
        world.replicate(&["policy", "-config=replicate.hcl", &format!("-consumer={arn}")]).await;
    let policies: Value = serde_json::from_str(&printed.out).unwrap();
    assert_eq!(policies["key_policy_statement"]["Principal"]["AWS"], json!(arn));
    let identity = policies["identity_policy"].to_string();
    world.key = world.aws.create_user("consumer", &[&identity]);
    let ended = copied_by_a_reader(world).await;
    assert!(ended.code == 2 && ended.out.contains("ListSecrets"), "{ended:?}");
    let lists = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Action": ["secretsmanager:ListSecrets", "secretsmanager:CreateSecret", "secretsmanager:TagResource"],
        "Resource": "*",
    }] });
    world.aws.set_user_policies("consumer", &[&identity, &lists.to_string()]);
    let ended = copied_by_a_reader(world).await;
    let copied = |name: &str| world.aws.secret_in("eu-west-1", &format!("copy/{name}"));
    assert_eq!(
        copied("apps/a").and_then(|copy| copy.value),
        world.aws.secret("apps/a").unwrap().value
    );
    assert!(copied(CONNECTION).is_none());
    assert!(ended.code == 2 && ended.out.contains(CONNECTION), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keys_keep_what_is_replicated_apart_from_the_rest() {
    let mut world = World::connected().await;
    let (material, rest) = (world.aws.create_kms_key(), world.aws.create_kms_key());
    let topic = world.aws.create_topic("failures");
    world.file(
        "replicate.hcl",
        &format!(
            "prefix = \"apps\"\nsource \"bailee\" {{ mounts = [\"apps\"] }}\n\
             destination \"aws-sm\" {{\n  region = \"us-east-1\"\n  kms_key_id = {material:?}\n}}\n\
             connection_secret = {CONNECTION:?}\nconfiguration_kms_key_id = {rest:?}\n\
             notify \"sns\" {{ topic_arn = {topic:?} }}\n"
        ),
    );
    // The one that is there moves to its key.
    let connected = world.replicate(&["connect", "-config=replicate.hcl"]).await;
    assert_eq!(connected.code, 0, "{connected:?}");
    assert_eq!(world.aws.secret(CONNECTION).unwrap().kms_key_arn.as_ref(), Some(&rest));
    let printed = world.replicate(&["policy", "-config=replicate.hcl"]).await;
    world.key = world.aws.create_user("replicator", &[&printed.out]);
    world.write("a", json!({ "n": 1 })).await;
    world.runs().await;
    assert_eq!(world.aws.secret("apps/a").unwrap().kms_key_arn.as_ref(), Some(&material));
    // Each statement is needed.
    for (sid, part) in [("OpenConfiguration", CONNECTION), ("Encrypt", "apps/b")] {
        let mut less: Value = serde_json::from_str(&printed.out).unwrap();
        let statements = less["Statement"].as_array_mut().unwrap();
        statements.retain(|statement| statement["Sid"] != sid);
        world.aws.set_user_policies("replicator", &[&less.to_string()]);
        world.write("b", json!({ "n": sid })).await;
        let ended = world.run().await;
        assert!(ended.code == 2 && ended.out.contains(part), "{sid}: {ended:?}");
    }
    world.aws.set_user_policies("replicator", &[&printed.out]);
    world.runs().await;

    // Who may read whatever is there, and has the one key, cannot open the rest.
    let all = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "secretsmanager:*", "Resource": "*" },
        { "Effect": "Allow", "Action": "kms:Decrypt", "Resource": material },
    ] });
    world.key = world.aws.create_user("curious", &[&all.to_string()]);
    let copied = copied_by_a_reader(&world).await;
    assert!(copied.out.contains("created copy/apps/a"), "{copied:?}");
    assert!(copied.out.contains(&format!("! copy/{CONNECTION}: ")), "{copied:?}");
    assert!(world.aws.secret_in("eu-west-1", &format!("copy/{CONNECTION}")).is_none());
}

/// Who reads is played by a replication with AWS as its source.
async fn copied_by_a_reader(world: &World) -> Ended {
    world.file(
        "consumer.hcl",
        "names = \"copy/{{ .SecretPath }}\"\n\
         source \"aws-sm\" {\n  region = \"us-east-1\"\n  prefix = \"apps/\"\n}\n\
         destination \"aws-sm\" { region = \"eu-west-1\" }\n",
    );
    world.replicate(&["run", "-config=consumer.hcl"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_reads_with_the_printed_statement_of_the_key_and_not_without() {
    let mut world = World::connected().await;
    let key = world.aws.create_kms_key();
    world.file(
        "replicate.hcl",
        &format!(
            "prefix = \"apps\"\nsource \"bailee\" {{ mounts = [\"apps\"] }}\n\
             destination \"aws-sm\" {{\n  region = \"us-east-1\"\n  kms_key_id = {key:?}\n}}\n\
             connection_secret = {CONNECTION:?}\n"
        ),
    );
    world.write("a", json!({ "n": 1 })).await;
    world.runs().await;
    let arn = "arn:aws:iam::123456789012:user/consumer";
    let printed =
        world.replicate(&["policy", "-config=replicate.hcl", &format!("-consumer={arn}")]).await;
    let printed: Value = serde_json::from_str(&printed.out).unwrap();
    // A key whose own policy alone decides, as one of another account.
    let decides = |more: &[&Value]| {
        let mut statements = vec![json!({
            "Effect": "Allow", "Action": "kms:*", "Resource": "*",
            "Principal": { "AWS": "arn:aws:iam::123456789012:user/admin" },
        })];
        statements.extend(more.iter().map(|&statement| statement.clone()));
        json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
    };
    let writes = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Action": ["secretsmanager:ListSecrets", "secretsmanager:CreateSecret", "secretsmanager:TagResource"],
        "Resource": "*",
    }] });
    let identity = printed["identity_policy"].to_string();
    world.key = world.aws.create_user("consumer", &[&identity, &writes.to_string()]);
    world.aws.set_kms_key_policy(&key, &decides(&[]));
    let denied = copied_by_a_reader(&world).await;
    assert!(denied.code == 2 && denied.out.contains("! copy/apps/a: "), "{denied:?}");
    world.aws.set_kms_key_policy(&key, &decides(&[&printed["key_policy_statement"]]));
    // The statement is for this one alone.
    let consumer = std::mem::replace(
        &mut world.key,
        world.aws.create_user("other", &[&identity, &writes.to_string()]),
    );
    let denied = copied_by_a_reader(&world).await;
    assert!(denied.code == 2 && denied.out.contains("! copy/apps/a: "), "{denied:?}");
    world.key = consumer;
    let copied = copied_by_a_reader(&world).await;
    assert!(copied.out.contains("created copy/apps/a"), "{copied:?}");
}
