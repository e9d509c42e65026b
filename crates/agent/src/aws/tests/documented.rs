//! The policies of docs/agent-aws.md: enough, and no more than needed.

use super::{Bed, Fields, Settings, get, identities::OTHER, text};
use crate::{
    aws::check::{Wishes, check},
    failure::Cause,
    manager::{SecretManager, Wanted},
};
use bailee_fake_clouds::aws::Key;
use serde_json::{Value, json};

/// The account and region of the page.
const ACCOUNT: &str = "111122223333";
const REGION: &str = "us-east-2";
const KEY: &str = "arn:aws:kms:us-east-2:111122223333:key/11111111-2222-3333-4444-555555555555";

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/agent-aws.md"))
        .unwrap()
}

/// The policies and statements of the page, in order.
fn blocks() -> Vec<Value> {
    let page = page();
    let blocks = page.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(|block| serde_json::from_str(block).unwrap()).collect()
}

/// The statements for reading by name.
fn reading() -> Vec<Value> {
    blocks()[0]["Statement"].as_array().unwrap().clone()
}

fn policy(statements: &[Value]) -> String {
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

fn fields(bed: &Bed, key: &Key) -> Fields {
    Fields {
        region: Some(REGION.to_owned()),
        sts_endpoint: Some(bed.aws.endpoint()),
        ..bed.keys(key)
    }
}

async fn bed() -> (Bed, Fields) {
    let bed = Bed::of(ACCOUNT).await;
    for name in ["prod/a", "prod/b"] {
        bed.aws.put_secret_in(REGION, name, name);
    }
    let key = bed.aws.create_user("app", &[]);
    let fields = fields(&bed, &key);
    (bed, fields)
}

#[tokio::test]
async fn the_documented_policy_reads_by_name_and_needs_both_its_statements() {
    let (bed, fields) = bed().await;
    bed.aws.put_secret_in(REGION, "test/a", "not permitted");
    let statements = reading();
    bed.aws.set_user_policies("app", &[&policy(&statements)]);
    let manager = bed.manager(&fields).await;
    let both = ["prod/a", "prod/b"].map(Wanted::current);
    let fetched = manager.fetch_many(&both).await;
    assert!(fetched.iter().all(|one| text(one.as_ref().unwrap()).starts_with("prod/")));
    assert_eq!(bed.aws.call_count("secretsmanager:GetSecretValue"), 0);
    assert_eq!(get(&manager, "test/a").await.unwrap_err().cause, Cause::Denied);
    // Without the first nothing is read …
    bed.aws.set_user_policies("app", &[&policy(&statements[1..])]);
    let fetched = bed.manager(&fields).await.fetch_many(&both).await;
    assert!(fetched.iter().all(|one| one.as_ref().unwrap_err().cause == Cause::Denied));
    // … and without the second one by one.
    bed.aws.set_user_policies("app", &[&policy(&statements[..1])]);
    bed.aws.clear_calls();
    let fetched = bed.manager(&fields).await.fetch_many(&both).await;
    assert!(fetched.iter().all(Result::is_ok));
    assert_eq!(bed.aws.call_count("secretsmanager:GetSecretValue"), 2);
}

#[tokio::test]
async fn the_documented_statements_for_tags_and_keys_are_enough_and_needed() {
    let (bed, fields) = bed().await;
    let arn = bed.aws.secret_in(REGION, "prod/a").unwrap().arn;
    let key = bed.aws.create_kms_key_of(ACCOUNT, REGION);
    bed.aws.set_secret_key(&arn, Some(&key));
    bed.aws.set_tag_of(&arn, "app", Some("orders"));
    let blocks = blocks();
    let decrypting = blocks[2].to_string().replace(KEY, &key);
    let (listing, decrypting) = (blocks[1].clone(), serde_json::from_str(&decrypting).unwrap());
    let mut statements = reading();
    let manager = bed.manager(&fields).await;
    let tags = [("app".to_owned(), "orders".to_owned())].into();
    bed.aws.set_user_policies("app", &[&policy(&statements)]);
    assert_eq!(get(&manager, "prod/a").await.unwrap_err().cause, Cause::Decryption);
    assert_eq!(manager.fetch_tagged(&tags).await.unwrap_err().cause, Cause::Denied);
    statements.extend([listing, decrypting]);
    bed.aws.set_user_policies("app", &[&policy(&statements)]);
    assert_eq!(get(&manager, "prod/a").await.unwrap(), "prod/a");
    assert_eq!(manager.fetch_tagged(&tags).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_documented_role_is_taken_on_across_accounts_with_both_statements() {
    let (bed, fields) = bed().await;
    bed.aws.put_secret_of(OTHER, REGION, "prod/a", "theirs");
    let blocks = blocks();
    let (taking, trusting) = (&blocks[3..4], &blocks[4..5]);
    let reading = policy(&reading()).replace(ACCOUNT, OTHER);
    let role = bed.aws.create_role_in(OTHER, "orders", &policy(trusting), &[&reading]);
    let fields = Fields {
        authentication: Some("role".to_owned()),
        role_arn: Some(role.clone()),
        external_id: Some("shared-word".to_owned()),
        ..fields
    };
    let manager = bed.manager(&fields).await;
    assert_eq!(get(&manager, "prod/a").await.unwrap_err().cause, Cause::Credentials);
    bed.aws.set_user_policies("app", &[&policy(taking)]);
    assert_eq!(get(&manager, "prod/a").await.unwrap(), "theirs");
    let nobody = json!({
        "Effect": "Allow", "Principal": { "Service": "ec2.amazonaws.com" }, "Action": "sts:AssumeRole",
    });
    bed.aws.set_role_trust(&role, &policy(&[nobody]));
    let manager = bed.manager(&fields).await;
    assert_eq!(get(&manager, "prod/a").await.unwrap_err().cause, Cause::Credentials);
}

#[tokio::test]
async fn the_documented_four_statements_read_a_secret_of_another_account() {
    let (bed, fields) = bed().await;
    let arn = bed.aws.put_secret_of(OTHER, REGION, "shared", "theirs");
    let key = bed.aws.create_kms_key_of(OTHER, REGION);
    bed.aws.set_secret_key(&arn, Some(&key));
    let blocks = blocks();
    let reads = json!({
        "Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": arn,
    });
    let decrypts: Value = serde_json::from_str(&blocks[2].to_string().replace(KEY, &key)).unwrap();
    bed.aws.set_user_policies("app", &[&policy(&[reads, decrypts])]);
    let manager = bed.manager(&fields).await;
    assert_eq!(get(&manager, &arn).await.unwrap_err().cause, Cause::Denied);
    bed.aws.set_secret_policy(&arn, Some(&policy(&blocks[5..6])));
    assert_eq!(get(&manager, &arn).await.unwrap_err().cause, Cause::Decryption);
    bed.aws.set_kms_key_policy(&key, &policy(&blocks[6..7]));
    assert_eq!(get(&manager, &arn).await.unwrap(), "theirs");
    assert_eq!(blocks.len(), 7, "a new policy on the page needs a case here");
}

#[tokio::test]
async fn the_documented_output_is_what_a_check_prints() {
    let (bed, fields) = bed().await;
    bed.aws.put_secret_in(REGION, "prod/orders-db", "1");
    let wishes = Wishes { secrets: vec![Wanted::current("prod/orders-db")], ..Wishes::default() };
    let settings = Settings::new(&fields).unwrap();
    let report = check(&settings, &bed.surroundings(), &wishes).await.unwrap().to_string();
    let page = page();
    let shown = page.split("```\n  FAILED").nth(1).unwrap().split("```").next().unwrap();
    assert!(report.contains(&format!("  FAILED{shown}")), "{report}");
}
