//! Users and roles of AWS log in, one sentence a test, against a fake that checks every signature.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics is a test that fails"
)]

mod sign;

use bailee_cloud::{EgressRules, HttpOptions};
use bailee_engines::{auth::aws, aws::Surroundings};
use bailee_fake_clouds::{
    FakeAws,
    aws::{Fault, Key},
};
use bailee_sdk::{
    Body, Clock, Code, Error, Login, Operation, Reply,
    testing::{EngineHarness, TestClock, data},
};
use futures_util::{TryStreamExt, future::join_all};
use serde_json::{Value, json};
use sign::{BODY, Signer};
use std::{sync::Arc, time::Duration};

const ACCOUNT: &str = "123456789012";
/// Whoever may look at users and roles.
const LOOK: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    "Action": ["iam:GetUser", "iam:GetRole"], "Resource": "*"}]}"#;
const TRUST: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}"#;

/// A mount in front of a fake whose signatures are checked at the mount's time.
struct World {
    aws: FakeAws,
    method: EngineHarness,
}

impl World {
    async fn new() -> World {
        let world = World::behind_rules(true).await;
        world.configure(json!({})).await;
        world
    }

    /// Nothing is configured; connections may go to the fake if the rules are `open`.
    async fn behind_rules(open: bool) -> World {
        let aws = FakeAws::start().await;
        let clock = Arc::new(TestClock::default());
        let ports = if open { vec![aws.port().to_string()] } else { Vec::new() };
        let loopback = ["127.0.0.1/32".to_owned()];
        let rules = EgressRules::parse(false, &loopback, &[], &ports).unwrap();
        let http = HttpOptions { rules, ..HttpOptions::default() };
        let surroundings = Surroundings::new(clock, http, false);
        let method = EngineHarness::mount(&aws::kind(&surroundings), &[]).await;
        let clock = bailee_crypto::SystemClock;
        let (ours, theirs) = (method.now(), clock.now());
        let behind = theirs.duration_since(ours).unwrap().as_millis();
        aws.set_clock_skew(-i64::try_from(behind).unwrap());
        World { aws, method }
    }

    /// STS and IAM are the fake; `more` goes on top.
    async fn configure(&self, more: Value) {
        let mut fields = json!({
            "sts_endpoint": self.aws.endpoint(),
            "iam_endpoint": self.aws.endpoint(),
        });
        for (name, value) in more.as_object().unwrap() {
            fields[name] = value.clone();
        }
        self.update("config/client", fields).await.unwrap();
    }

    /// Keys that may look at users and roles.
    async fn may_look(&self) {
        let key = self.aws.create_user("looker", &[LOOK]);
        let keys = json!({"access_key": key.access_key_id, "secret_key": key.secret_access_key});
        self.configure(keys).await;
    }

    async fn update(&self, path: &str, input: Value) -> Result<Reply, Error> {
        self.method.call(Operation::Update, path, input).await
    }

    async fn read(&self, path: &str) -> Result<Value, Error> {
        self.method.call(Operation::Read, path, json!({})).await.map(|reply| data(&reply))
    }

    /// A role that lets these in by their names.
    async fn role(&self, name: &str, arns: &[&str]) {
        let fields = json!({
            "bound_iam_principal_arn": arns,
            "resolve_aws_unique_ids": false,
            "token_policies": ["p"],
        });
        self.update(&format!("role/{name}"), fields).await.unwrap();
    }

    fn signer(&self, key: &Key) -> Signer {
        Signer {
            id: key.access_key_id.clone(),
            secret: key.secret_access_key.clone(),
            token: key.session_token.clone(),
            host: self.aws.endpoint().trim_start_matches("http://").to_owned(),
            at: self.method.now(),
            body: BODY.to_owned(),
            headers: Vec::new(),
        }
    }

    async fn send(&self, fields: Value) -> Result<Login, Error> {
        let reply = self.update("login", fields).await?;
        let Body::Login(login) = reply.body else { panic!("{reply:?}") };
        Ok(*login)
    }

    async fn log_in(&self, key: &Key, role: &str) -> Result<Login, Error> {
        self.send(self.signer(key).fields(Some(role))).await
    }

    async fn marks(&self) -> usize {
        let entries: Vec<_> = self.method.backend().scan("", "").try_collect().await.unwrap();
        entries.iter().filter(|(key, _)| key.contains("/seen/")).count()
    }
}

fn user(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:user/{name}")
}

fn role_arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

fn failure<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    outcome.unwrap_err().to_string()
}

#[tokio::test]
async fn a_user_logs_in_with_what_only_it_can_sign() {
    let world = World::new().await;
    let bob = world.aws.create_user("bob", &[]);
    world.role("Dev", &[&user("bob")]).await;
    let login = world.log_in(&bob, "dEV").await.unwrap();
    assert_eq!((login.display_name.as_str(), login.policies), ("bob", vec!["p".to_owned()]));
    assert_eq!(login.metadata["account_id"], ACCOUNT);
    assert_eq!(login.metadata["auth_type"], "iam");
    let role_id = world.read("role/dev").await.unwrap()["role_id"].clone();
    assert_eq!(login.metadata["role_id"], role_id.as_str().unwrap());
    let alias = login.alias.unwrap();
    assert_eq!(alias.name, role_id.as_str().unwrap());
    assert_eq!(alias.metadata.keys().collect::<Vec<_>>(), ["account_id", "auth_type"]);
    assert_eq!(world.aws.call_count("sts:GetCallerIdentity"), 1);
}

#[tokio::test]
async fn the_session_of_a_role_logs_in_as_the_role() {
    let world = World::new().await;
    let arn = world.aws.create_role("ci", TRUST, &[]);
    let key = world.aws.role_session("ci", "i-0123", Duration::from_secs(3600), None);
    world.role("deploy", &[&arn]).await;
    let identity =
        json!({"iam_alias": "canonical_arn", "iam_metadata": ["client_arn", "canonical_arn"]});
    world.update("config/identity", identity).await.unwrap();
    let login = world.log_in(&key, "deploy").await.unwrap();
    assert_eq!(login.display_name, "ci/i-0123");
    assert_eq!(login.alias.unwrap().name, role_arn("ci"));
    assert_eq!(
        login.metadata["client_arn"],
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/ci/i-0123")
    );
    assert_eq!(login.metadata["canonical_arn"], role_arn("ci"));
}

#[tokio::test]
async fn without_a_role_the_name_in_aws_is_the_role() {
    let world = World::new().await;
    let bob = world.aws.create_user("bob", &[]);
    world.role("bob", &[&user("bob")]).await;
    world.send(world.signer(&bob).fields(None)).await.unwrap();
    let eve = world.aws.create_user("eve", &[]);
    let text = failure(world.send(world.signer(&eve).fields(None)).await);
    assert_eq!(text, "entry for role \"eve\" not found");
    let nameless = world.aws.root_key();
    let text = failure(world.log_in(&nameless, "bob").await);
    assert!(text.contains("fewer than 2 slash-separated parts"), "{text}");
}

#[tokio::test]
async fn whoever_is_not_bound_stays_outside() {
    let world = World::new().await;
    world.role("dev", &[&user("bob"), &role_arn("eve")]).await;
    let eve = world.aws.create_user("eve", &[]);
    let text = failure(world.log_in(&eve, "dev").await);
    assert_eq!(
        text,
        format!("IAM Principal \"{}\" does not belong to the role \"dev\"", user("eve"))
    );
    let stranger = world.aws.create_user_in("210987654321", "bob", &[]);
    let text = failure(world.log_in(&stranger, "dev").await);
    assert!(text.contains("210987654321") && text.contains("does not belong"), "{text}");
    assert_eq!(world.marks().await, 0, "whoever stays outside leaves nothing behind");
}

#[tokio::test]
async fn a_signature_that_sts_does_not_know_lets_nobody_in() {
    let world = World::new().await;
    let bob = world.aws.create_user("bob", &[]);
    world.role("dev", &[&user("bob")]).await;
    let wrong = Signer { secret: "wrong".to_owned(), ..world.signer(&bob) };
    let error = world.send(wrong.fields(Some("dev"))).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidRequest);
    let text = error.to_string();
    assert!(text.starts_with("error making upstream request: received error code 403 from STS: "));
    assert!(text.contains("SignatureDoesNotMatch"), "{text}");
    world.aws.delete_access_key(&bob.access_key_id);
    let text = failure(world.log_in(&bob, "dev").await);
    assert!(text.contains("InvalidClientTokenId"), "{text}");
}

#[tokio::test]
async fn a_token_of_temporary_keys_is_part_of_the_signature() {
    let world = World::new().await;
    let arn = world.aws.create_role("ci", TRUST, &[]);
    world.role("ci", &[&arn]).await;
    let session = |name: &str| world.aws.role_session("ci", name, Duration::from_secs(3600), None);
    let (one, other) = (session("one"), session("other"));
    let swapped = Signer { token: other.session_token.clone(), ..world.signer(&one) };
    world.send(swapped.fields(Some("ci"))).await.unwrap_err();
    let without = Signer { token: None, ..world.signer(&one) };
    world.send(without.fields(Some("ci"))).await.unwrap_err();
    world.log_in(&one, "ci").await.unwrap();
}

#[tokio::test]
async fn a_signed_request_lets_in_once() {
    let world = World::new().await;
    let bob = world.aws.create_user("bob", &[]);
    world.role("dev", &[&user("bob")]).await;
    let fields = world.signer(&bob).fields(Some("dev"));
    let racers = (0..6).map(|_| world.send(fields.clone()));
    let outcomes = join_all(racers).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for outcome in outcomes.into_iter().filter(Result::is_err) {
        assert!(failure(outcome).starts_with("this signed request was used already"));
    }
    // Also in a new process, under another role, and with other letters of the same headers.
    world.role("other", &[&user("bob")]).await;
    let mut again = fields.clone();
    again["role"] = "other".into();
    assert!(failure(world.send(again).await).contains("used already"));
    let restarted = world.method.restarted().await;
    let again = restarted.call(Operation::Update, "login", fields).await;
    assert!(failure(again).contains("used already"));
    let earlier = Signer { at: world.method.now() - Duration::from_secs(9), ..world.signer(&bob) };
    world.send(earlier.fields(Some("dev"))).await.unwrap();
    assert_eq!(world.marks().await, 2);
}

#[tokio::test]
async fn marks_go_when_their_signatures_are_too_old() {
    let world = World::new().await;
    let bob = world.aws.create_user("bob", &[]);
    world.role("dev", &[&user("bob")]).await;
    let fields = world.signer(&bob).fields(Some("dev"));
    world.send(fields.clone()).await.unwrap();
    world.method.tick().await.unwrap();
    assert_eq!(world.marks().await, 1, "it is needed still");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(8 * 60)).await;
    world.method.tick().await.unwrap();
    assert_eq!(world.marks().await, 0);
    let text = failure(world.send(fields).await);
    assert!(text.contains("more than 5 minutes"), "{text}");
}

#[tokio::test]
async fn the_servers_own_header_ties_a_signature_to_it() {
    let world = World::new().await;
    world.configure(json!({"iam_server_id_header_value": "vault.example"})).await;
    let bob = world.aws.create_user("bob", &[]);
    world.role("dev", &[&user("bob")]).await;
    assert!(failure(world.log_in(&bob, "dev").await).contains("X-Vault-AWS-IAM-Server-ID"));
    let with = |value: &str| Signer {
        headers: vec![("X-Vault-AWS-IAM-Server-ID".to_owned(), value.to_owned())],
        ..world.signer(&bob)
    };
    let text = failure(world.send(with("other.example").fields(Some("dev"))).await);
    assert!(text.contains("not the value"), "{text}");
    assert_eq!(world.aws.call_count("sts:GetCallerIdentity"), 0, "STS is not asked for nothing");
    world.send(with("vault.example").fields(Some("dev"))).await.unwrap();
}

#[tokio::test]
async fn a_request_for_something_else_is_never_sent() {
    let world = World::new().await;
    let bob = world.aws.create_user("bob", &[]);
    world.role("dev", &[&user("bob")]).await;
    for body in [
        "Action=GetSessionToken&Version=2011-06-15".to_owned(),
        format!("{BODY}&DurationSeconds=900"),
        BODY.to_lowercase(),
    ] {
        let signer = Signer { body, ..world.signer(&bob) };
        let text = failure(world.send(signer.fields(Some("dev"))).await);
        assert!(text.contains("iam_request_body"), "{text}");
    }
    let evil = Signer { host: "evil.example".to_owned(), ..world.signer(&bob) };
    let text = failure(world.send(evil.fields(Some("dev"))).await);
    assert!(text.contains("is signed for \"evil.example\""), "{text}");
    let smuggled = Signer {
        headers: vec![("X-Amz-Target".to_owned(), "secretsmanager.GetSecretValue".to_owned())],
        ..world.signer(&bob)
    };
    let text = failure(world.send(smuggled.fields(Some("dev"))).await);
    assert_eq!(text, "invalid request header: \"x-amz-target\"");
    assert!(world.aws.calls().is_empty());
}

#[tokio::test]
async fn what_is_signed_for_aws_reaches_an_endpoint_of_our_own() {
    let world = World::new().await;
    let bob = world.aws.create_user("bob", &[]);
    world.role("dev", &[&user("bob")]).await;
    // As clients do that know no other STS; the fake checks the Host that it gets.
    let signer = Signer { host: "sts.amazonaws.com".to_owned(), ..world.signer(&bob) };
    world.send(signer.fields(Some("dev"))).await.unwrap();
}

#[tokio::test]
async fn a_user_who_comes_again_under_an_old_name_is_somebody_else() {
    let world = World::new().await;
    world.may_look().await;
    let bob = world.aws.create_user("bob", &[]);
    let fields = json!({"bound_iam_principal_arn": user("bob")});
    world.update("role/dev", fields.clone()).await.unwrap();
    let shown = world.read("role/dev").await.unwrap();
    assert_eq!(shown["resolve_aws_unique_ids"], true);
    assert!(shown["bound_iam_principal_id"][0].as_str().unwrap().starts_with("AIDA"));
    world.log_in(&bob, "dev").await.unwrap();
    let again = world.aws.create_user("bob", &[]);
    let text = failure(world.log_in(&again, "dev").await);
    assert!(text.contains("a later one of that name"), "{text}");
    world.update("role/dev", fields).await.unwrap();
    world.log_in(&again, "dev").await.unwrap();
    let back = json!({"resolve_aws_unique_ids": false});
    let text = failure(world.update("role/dev", back).await);
    assert_eq!(text, "changing resolve_aws_unique_ids from true to false is not allowed");
}

#[tokio::test]
async fn who_cannot_be_looked_up_is_not_bound() {
    let world = World::new().await;
    let fields = |name: &str| json!({"bound_iam_principal_arn": user(name)});
    let text = failure(world.update("role/dev", fields("bob")).await);
    assert!(
        text.contains("unable to resolve ARN") && text.contains("no AWS credentials"),
        "{text}"
    );
    world.may_look().await;
    let text = failure(world.update("role/dev", fields("bob")).await);
    assert!(text.contains("NoSuchEntity"), "{text}");
    world.aws.set_user_policies("looker", &[]);
    world.aws.create_user("bob", &[]);
    let text = failure(world.update("role/dev", fields("bob")).await);
    assert!(text.contains("iam:GetUser"), "{text}");
    assert_eq!(world.read("role/dev").await.unwrap_err().code, Code::NotFound);
}

#[tokio::test]
async fn a_namesake_in_our_own_account_is_not_taken_for_the_other() {
    let world = World::new().await;
    world.may_look().await;
    world.aws.create_user("bob", &[]);
    let other = "arn:aws:iam::210987654321:user/bob";
    let fields = json!({"bound_iam_principal_arn": other});
    let text = failure(world.update("role/dev", fields.clone()).await);
    assert!(text.contains("for another account set config/sts/210987654321"), "{text}");
    // With a role of that account they are found.
    world.aws.create_user_in("210987654321", "bob", &[]);
    let look = world.aws.create_role_in("210987654321", "look", TRUST, &[LOOK]);
    world.aws.set_user_policies(
        "looker",
        &[r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
            "Resource": "*"}]}"#],
    );
    let account = json!({"sts_role": look});
    world.update("config/sts/210987654321", account).await.unwrap();
    world.update("role/dev", fields).await.unwrap();
    assert_eq!(world.aws.call_count("sts:AssumeRole"), 1);
}

#[tokio::test]
async fn a_wildcard_below_a_path_asks_iam_where_the_role_is() {
    let world = World::new().await;
    world.may_look().await;
    let arn = world.aws.create_role("ci", TRUST, &[]);
    let key = world.aws.role_session("ci", "s", Duration::from_secs(3600), None);
    world.role("team", &[&role_arn("team/*")]).await;
    world.role("all", &[&role_arn("c*")]).await;
    world.role("account", &[&format!("arn:aws:iam::{ACCOUNT}:*")]).await;
    assert!(failure(world.log_in(&key, "team").await).contains("does not belong"));
    assert_eq!(world.aws.call_count("iam:GetRole"), 1);
    world.log_in(&key, "all").await.unwrap();
    assert_eq!(world.aws.call_count("iam:GetRole"), 1, "the path of a role never changes: {arn}");
    let later = Signer { at: world.method.now() - Duration::from_secs(5), ..world.signer(&key) };
    world.send(later.fields(Some("account"))).await.unwrap();
    // Users tell their path themselves.
    let bob = world.aws.create_user("bob", &[]);
    world.role("users", &[&user("b*")]).await;
    world.log_in(&bob, "users").await.unwrap();
    assert_eq!(world.aws.call_count("iam:GetUser"), 0);
}

#[tokio::test]
async fn without_leave_to_look_a_wildcard_below_a_path_admits_nobody() {
    let world = World::new().await;
    world.aws.create_role("ci", TRUST, &[]);
    let key = world.aws.role_session("ci", "s", Duration::from_secs(3600), None);
    world.role("all", &[&role_arn("c*")]).await;
    let text = failure(world.log_in(&key, "all").await);
    assert!(text.contains("cannot be looked up") && !text.contains("credentials"), "{text}");
}

#[tokio::test]
async fn an_account_is_a_binding_of_its_own() {
    let world = World::new().await;
    let fields = json!({"bound_account_id": ACCOUNT, "token_ttl": "10m"});
    world.update("role/dev", fields).await.unwrap();
    let bob = world.aws.create_user("bob", &[]);
    assert_eq!(world.log_in(&bob, "dev").await.unwrap().ttl, Duration::from_secs(600));
    let stranger = world.aws.create_user_in("210987654321", "bob", &[]);
    assert!(failure(world.log_in(&stranger, "dev").await).contains("does not belong"));
}

#[tokio::test]
async fn a_token_is_renewed_while_its_owner_is_bound() {
    let world = World::new().await;
    let bob = world.aws.create_user("bob", &[]);
    world.role("dev", &[&user("bob")]).await;
    let login = world.log_in(&bob, "dev").await.unwrap();
    world.update("role/dev", json!({"token_ttl": 60})).await.unwrap();
    let renewed = world.method.renew_login(&login).await.unwrap().unwrap();
    assert_eq!(renewed.ttl, Duration::from_secs(60));
    world.role("dev", &[&user("eve")]).await;
    let text = failure(world.method.renew_login(&login).await);
    assert_eq!(text, format!("role no longer bound to ARN \"{}\"", user("bob")));
    world.method.call(Operation::Delete, "role/dev", json!({})).await.unwrap();
    world.role("dev", &[&user("bob")]).await;
    assert_eq!(failure(world.method.renew_login(&login).await), "role entry not found");
}

#[tokio::test]
async fn an_sts_that_fails_is_asked_again_and_then_named() {
    let world = World::new().await;
    let bob = world.aws.create_user("bob", &[]);
    world.role("dev", &[&user("bob")]).await;
    let call = "sts:GetCallerIdentity";
    world.aws.inject(Fault::error(call, 503, "ServiceUnavailable", "busy").times(1));
    world.log_in(&bob, "dev").await.unwrap();
    assert_eq!(world.aws.call_count(call), 2);
    world.configure(json!({"max_retries": 0})).await;
    world.aws.inject(Fault::lose_reply(call).times(1));
    let later = Signer { at: world.method.now() - Duration::from_secs(5), ..world.signer(&bob) };
    let error = world.send(later.fields(Some("dev"))).await.unwrap_err();
    assert_eq!(error.code, Code::Upstream);
    // Nothing was given for it, so it is good still.
    world.send(later.fields(Some("dev"))).await.unwrap();
}

#[tokio::test]
async fn connections_keep_to_the_rules() {
    let world = World::behind_rules(false).await;
    let fields = json!({"sts_endpoint": world.aws.endpoint()});
    world.update("config/client", fields).await.unwrap();
    let bob = world.aws.create_user("bob", &[]);
    world.role("dev", &[&user("bob")]).await;
    let error = world.log_in(&bob, "dev").await.unwrap_err();
    assert_eq!(error.code, Code::InvalidRequest);
    assert!(error.to_string().contains("prohibited port"), "{error}");
    assert!(world.aws.calls().is_empty());
}

#[tokio::test]
async fn what_belongs_to_ec2_is_refused_by_name() {
    let world = World::new().await;
    for (field, value) in [
        ("bound_ami_id", json!(["ami-1"])),
        ("inferred_entity_type", json!("ec2_instance")),
        ("role_tag", json!("t")),
        ("auth_type", json!("ec2")),
        ("disallow_reauthentication", json!(true)),
    ] {
        let mut fields = json!({"bound_account_id": ACCOUNT});
        fields[field] = value;
        let text = failure(world.update("role/dev", fields).await);
        assert!(text.contains(field) && text.contains("auth_type iam"), "{text}");
    }
    // Clients that know all fields send those they do not use empty.
    let empty = json!({"bound_account_id": ACCOUNT, "auth_type": "iam", "bound_ami_id": [],
        "inferred_entity_type": "", "role_tag": null, "allow_instance_migration": false});
    world.update("role/dev", empty).await.unwrap();
    assert!(failure(world.update("login", json!({"pkcs7": "x"})).await).contains("pkcs7"));
    for path in
        ["roletag-denylist/a", "identity-accesslist/i-1", "config/certificate/c", "role/dev/tag"]
    {
        let text = failure(world.update(path, json!({})).await);
        assert!(text.contains("auth_type ec2"), "{path}: {text}");
    }
    let text = failure(world.update("login", json!({})).await);
    assert_eq!(text, "didn't supply required authentication values");
}

#[tokio::test]
async fn secrets_of_the_configuration_are_never_shown() {
    let world = World::new().await;
    assert_eq!(
        failure(world.update("config/client", json!({"access_key": "AKIA"})).await),
        "access_key and secret_key must be set together"
    );
    let keys = json!({"access_key": "AKIA", "secret_key": "canary"});
    world.configure(keys).await;
    let shown = world.read("config/client").await.unwrap();
    assert_eq!(shown["access_key"], "AKIA");
    assert!(!shown.to_string().contains("canary"), "{shown}");
    world.update("config/client", json!({"max_retries": 1})).await.unwrap();
    assert_eq!(world.read("config/client").await.unwrap()["access_key"], "AKIA", "the rest stays");
    world.method.call(Operation::Delete, "config/client", json!({})).await.unwrap();
    assert_eq!(world.read("config/client").await.unwrap_err().code, Code::NotFound);
}

#[tokio::test]
async fn identity_knows_callers_as_it_is_told() {
    let world = World::new().await;
    let default = world.read("config/identity").await.unwrap();
    assert_eq!(default["iam_alias"], "role_id");
    assert_eq!(default["iam_metadata"], json!(["account_id", "auth_type"]));
    for (fields, text) in [
        (json!({"iam_alias": "x"}), "iam_alias of \"x\" not in set of allowed values"),
        (json!({"ec2_alias": "x"}), "ec2_alias of \"x\""),
        (json!({"iam_metadata": "x"}), "contains an unavailable field, please select from"),
        (json!({"ec2_metadata": ["x"]}), "contains an unavailable field, please select from"),
    ] {
        let refused = failure(world.update("config/identity", fields).await);
        assert!(refused.contains(text), "{refused}");
    }
    world
        .update("config/identity", json!({"iam_metadata": "", "iam_alias": "full_arn"}))
        .await
        .unwrap();
    let bob = world.aws.create_user("bob", &[]);
    world.role("dev", &[&user("bob")]).await;
    let login = world.log_in(&bob, "dev").await.unwrap();
    let alias = login.alias.unwrap();
    assert_eq!((alias.name, alias.metadata.len()), (user("bob"), 0));
    assert_eq!(login.metadata.keys().collect::<Vec<_>>(), ["role_id"]);
}

#[tokio::test]
async fn roles_are_listed_and_bad_bindings_refused() {
    let world = World::new().await;
    for (fields, text) in [
        (json!({}), "at least one bound parameter"),
        (json!({"bound_account_id": "12"}), "twelve digits"),
        (json!({"bound_iam_principal_arn": "arn:aws:iam::*"}), "a * can stand at the end only"),
        (json!({"bound_iam_principal_arn": "bob"}), "unrecognized arn"),
        (json!({"bound_account_id": ACCOUNT, "auth_type": "x"}), "unrecognized auth_type: \"x\""),
        (json!({"bound_account_id": ACCOUNT, "token_ttl": 2, "token_max_ttl": 1}), "token_ttl"),
    ] {
        let refused = failure(world.update("role/dev", fields).await);
        assert!(refused.contains(text), "{refused}");
    }
    world.role("b", &[&user("bob")]).await;
    world.role("a", &[&user("bob")]).await;
    for path in ["role", "roles"] {
        let listed = world.method.call(Operation::List, path, json!({})).await.unwrap();
        assert_eq!(data(&listed), json!({"keys": ["a", "b"]}));
    }
    let pathed =
        json!({"bound_iam_principal_arn": role_arn("p/r"), "resolve_aws_unique_ids": false});
    let reply = world.update("role/c", pathed).await.unwrap();
    assert!(reply.warnings[0].contains("has a path"), "{:?}", reply.warnings);
    for bad in ["12", "12345678901x"] {
        let fields = json!({"sts_role": role_arn("look")});
        assert!(world.update(&format!("config/sts/{bad}"), fields).await.is_err());
    }
    let fields = json!({"sts_role": "arn:aws:iam::210987654321:role/look"});
    assert!(
        failure(world.update(&format!("config/sts/{ACCOUNT}"), fields).await).contains("sts_role")
    );
    let fields = json!({"sts_role": role_arn("look"), "external_id": "word"});
    world.update(&format!("config/sts/{ACCOUNT}"), fields).await.unwrap();
    let listed = world.method.call(Operation::List, "config/sts", json!({})).await.unwrap();
    assert_eq!(data(&listed), json!({"keys": [ACCOUNT]}));
}
