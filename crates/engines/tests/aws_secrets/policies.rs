//! What is printed of permissions is enough, and each of them is needed. The page says the same.

use super::{ACCOUNT, OTHER_ACCOUNT, World, trusting};
use bailee_sdk::{Operation, Reply};
use futures_util::future::join_all;
use serde_json::{Value, json};

/// The policy that the page prints for a type of credentials, as a reader copies it.
fn documented(kind: &str) -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/aws-credentials.md");
    let page = std::fs::read_to_string(path).unwrap();
    let section = page.split(&format!("### `{kind}`")).nth(1).expect("a section of its own");
    let block = section.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
    serde_json::from_str(block.unwrap()).unwrap()
}

async fn printed(kind: &str) -> Value {
    let asked = json!({ "credential_type": kind, "account_id": ACCOUNT });
    World::new().await.policy(asked).await
}

/// The policy without one action of one statement, and the action.
fn with_one_less(policy: &Value) -> Vec<(Value, String)> {
    let mut all = Vec::new();
    for (at, statement) in policy["Statement"].as_array().unwrap().iter().enumerate() {
        for action in statement["Action"].as_array().unwrap() {
            let mut less = policy.clone();
            let kept = less["Statement"][at]["Action"].as_array_mut().unwrap();
            kept.retain(|kept| kept != action);
            // A statement must name something.
            kept.push(json!("none:None"));
            all.push((less, action.as_str().unwrap().to_owned()));
        }
    }
    all
}

/// The policy is enough for what `live` does, and without any of its actions `live` tells that one.
async fn is_exact(policy: &Value, live: impl AsyncFn(Value) -> Result<(), String>) {
    live(policy.clone()).await.unwrap();
    let fewer = with_one_less(policy);
    assert!(!fewer.is_empty());
    join_all(fewer.into_iter().map(async |(less, action)| {
        let told = live(less).await.expect_err(&action);
        assert!(told.contains(&action), "without {action}: {told}");
    }))
    .await;
}

/// A success without a warning.
fn clean(outcome: Result<Reply, bailee_sdk::Error>) -> Result<Reply, String> {
    let reply = outcome.map_err(|error| error.to_string())?;
    if reply.warnings.is_empty() { Ok(reply) } else { Err(reply.warnings.join("; ")) }
}

async fn rotated(world: &World) -> Result<(), String> {
    clean(world.write("config/rotate-root", json!({})).await).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_what_the_engine_prints() {
    for kind in ["iam_user", "assumed_role", "federation_token", "session_token", "static_role"] {
        let printed = printed(kind).await;
        assert_eq!(documented(kind), printed, "{kind}: {printed:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_made_and_removed_with_what_is_printed_and_no_less() {
    is_exact(&documented("iam_user"), async |policy| {
        let world = World::as_user(&policy.to_string(), json!({})).await;
        let role = json!({
            "credential_type": "iam_user",
            "policy_document": super::ALL,
            "policy_arns": "arn:aws:iam::aws:policy/ReadOnlyAccess",
            "iam_tags": "team=core",
        });
        world.write("roles/full", role).await.unwrap();
        let given = clean(world.mount.call(Operation::Read, "creds/full", json!({})).await)?;
        let made = world.aws.users().into_iter().find(|name| name.starts_with("vault-")).unwrap();
        // All that others can hang on a user; and the engine has to look whose user it is.
        assert!(world.aws.hang_everything_on(&made));
        let key = bailee_sdk::testing::data(&given)["access_key"].as_str().unwrap().to_owned();
        world.aws.delete_access_key(&key);
        for (lease, _) in world.mount.leases().await {
            world.mount.revoke(&lease).await.map_err(|error| error.to_string())?;
        }
        assert!(!world.aws.users().contains(&made));
        rotated(&world).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_paths_of_roles_add_what_they_need() {
    let role = json!({
        "credential_type": "iam_user", "policy_document": super::ALL, "iam_groups": "staff",
        "user_path": "/ci/",
    });
    let of_role = World::new().await;
    of_role.write("roles/full", role.clone()).await.unwrap();
    let policy = of_role.policy(json!({ "account_id": ACCOUNT })).await;
    let join = json!({
        "Sid": "JoinGroups", "Effect": "Allow", "Action": ["iam:AddUserToGroup"],
        "Resource": [format!("arn:aws:iam::{ACCOUNT}:group/staff")],
    });
    assert_eq!(policy["Statement"][1], join);
    let joins = |policy: &Value| {
        let role = role.clone();
        let policy = policy.to_string();
        async move {
            let world = World::as_user(&policy, json!({})).await;
            world.aws.create_group("staff");
            world.write("roles/full", role).await.unwrap();
            clean(world.mount.call(Operation::Read, "creds/full", json!({})).await)?;
            for (lease, _) in world.mount.leases().await {
                world.mount.revoke(&lease).await.map_err(|error| error.to_string())?;
            }
            Ok::<(), String>(())
        }
    };
    joins(&policy).await.unwrap();
    for (less, action) in with_one_less(&policy) {
        if ["iam:AddUserToGroup", "iam:RemoveUserFromGroup"].contains(&action.as_str()) {
            let told = joins(&less).await.unwrap_err();
            assert!(told.contains(&action), "without {action}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_assumed_with_what_is_printed_and_no_less() {
    is_exact(&documented("assumed_role"), async |policy| {
        let world = World::as_user(&policy.to_string(), json!({})).await;
        let arn = world.aws.create_role("deploy", &trusting(ACCOUNT), &[]);
        let role = json!({ "credential_type": "assumed_role", "role_arns": arn });
        world.write("roles/deploy", role).await.unwrap();
        clean(world.write("sts/deploy", json!({})).await)?;
        rotated(&world).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn session_tags_and_groups_add_what_they_need() {
    let tagged = |arn: &str| {
        json!({
            "credential_type": "assumed_role", "role_arns": arn, "session_tags": "team=core",
            "iam_groups": "staff",
        })
    };
    let of_role = World::new().await;
    let arn = format!("arn:aws:iam::{ACCOUNT}:role/deploy");
    of_role.write("roles/deploy", tagged(&arn)).await.unwrap();
    let policy = of_role.policy(json!({ "account_id": ACCOUNT })).await;
    is_exact(&policy, async |policy| {
        let world = World::as_user(&policy.to_string(), json!({})).await;
        let tag = json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") },
        }] });
        let arn = world.aws.create_role("deploy", &tag.to_string(), &[]);
        world.aws.create_group("staff");
        assert!(world.aws.set_group_policy("staff", "inline", super::ALL));
        world.write("roles/deploy", tagged(&arn)).await.unwrap();
        clean(world.write("sts/deploy", json!({})).await)?;
        rotated(&world).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_federated_with_what_is_printed_and_no_less() {
    is_exact(&documented("federation_token"), async |policy| {
        let world = World::as_user(&policy.to_string(), json!({})).await;
        let role = json!({ "credential_type": "federation_token", "policy_document": super::ALL });
        world.write("roles/fed", role).await.unwrap();
        clean(world.write("sts/fed", json!({})).await)?;
        rotated(&world).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn session_tokens_need_nothing_but_what_replaces_the_own_key() {
    is_exact(&documented("session_token"), async |policy| {
        let world = World::as_user(&policy.to_string(), json!({})).await;
        world.write("roles/own", json!({ "credential_type": "session_token" })).await.unwrap();
        clean(world.write("sts/own", json!({})).await)?;
        rotated(&world).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_static_roles_are_replaced_with_what_is_printed_and_no_less() {
    is_exact(&documented("static_role"), async |policy| {
        let world = World::as_user(&policy.to_string(), json!({})).await;
        world.aws.create_user("app", &[]);
        let role = json!({ "username": "app", "rotation_period": "1h" });
        clean(world.write("static-roles/app", role).await)?;
        clean(world.delete("static-roles/app").await)?;
        rotated(&world).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_role_of_another_account_needs_its_role_there_and_that_role_the_rest() {
    let of_role = World::as_user(super::ALL, json!({})).await;
    let arn = of_role.aws.create_role_in(OTHER_ACCOUNT, "keys", &trusting(ACCOUNT), &[super::ALL]);
    of_role.aws.create_user_in(OTHER_ACCOUNT, "app", &[]);
    let role = json!({ "username": "app", "rotation_period": "1h", "assume_role_arn": arn });
    of_role.write("static-roles/app", role.clone()).await.unwrap();
    let policy = of_role.policy(json!({ "account_id": ACCOUNT })).await;
    let reach = json!({
        "Sid": "ReachOtherAccounts", "Effect": "Allow", "Action": ["sts:AssumeRole"],
        "Resource": [arn],
    });
    assert_eq!(policy["Statement"][0], reach, "{policy:#}");
    let there = documented("static_role").to_string().replace(ACCOUNT, OTHER_ACCOUNT);
    let there: Value = serde_json::from_str(&there).unwrap();
    let live = async |here: &Value, there: &Value| {
        let world = World::as_user(&here.to_string(), json!({})).await;
        let there = there.to_string();
        world.aws.create_role_in(OTHER_ACCOUNT, "keys", &trusting(ACCOUNT), &[&there]);
        world.aws.create_user_in(OTHER_ACCOUNT, "app", &[]);
        clean(world.write("static-roles/app", role.clone()).await)?;
        clean(world.delete("static-roles/app").await)?;
        rotated(&world).await
    };
    is_exact(&policy, async |here| live(&here, &there).await).await;
    is_exact(&there, async |there| live(&policy, &there).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_engine_takes_on_a_role_the_keys_user_needs_that_and_its_own_key() {
    let before = World::new().await;
    let role = format!("arn:aws:iam::{ACCOUNT}:role/engine");
    let root = json!({ "access_key": "AKIAX", "secret_key": "s", "role_arn": role });
    before.write("config/root", root).await.unwrap();
    let asked = json!({ "credential_type": "iam_user", "account_id": ACCOUNT });
    let answer = before.mount.call(Operation::Read, "root-policy", asked).await.unwrap();
    let answer = bailee_sdk::testing::data(&answer);
    let statements = answer["policy"]["Statement"].as_array().unwrap();
    assert!(statements.iter().all(|statement| statement["Sid"] != "RotateOwnKey"), "{answer:#}");
    is_exact(&answer["user_policy"], async |policy| {
        let world = World::as_user(&policy.to_string(), json!({ "role_arn": role })).await;
        let policy = answer["policy"].to_string();
        world.aws.create_role("engine", &trusting(ACCOUNT), &[&policy]);
        let ci = json!({ "credential_type": "iam_user", "policy_document": super::ALL });
        world.write("roles/ci", ci).await.unwrap();
        clean(world.mount.call(Operation::Read, "creds/ci", json!({})).await)?;
        rotated(&world).await
    })
    .await;
}
