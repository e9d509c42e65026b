use std::time::{Duration, SystemTime};

use bailee_fake_clouds::FakeAws;
use bailee_fake_clouds::aws::Key;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::client::{Client, Reply};

const ALLOW_ALL: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
const ASSUME: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}"#;
const ROLE: &str = "arn:aws:iam::123456789012:role/sync";

fn trust(principal: &str, condition: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{principal},
            "Action":"sts:AssumeRole","Condition":{condition}}}]}}"#
    )
}

fn trusting_account() -> String {
    trust(r#"{"AWS":"123456789012"}"#, "{}")
}

fn credentials(reply: &Reply) -> Key {
    assert_eq!(reply.status, 200, "{}", reply.text);
    Key {
        access_key_id: reply.element("AccessKeyId").into(),
        secret_access_key: reply.element("SecretAccessKey").into(),
        session_token: Some(reply.element("SessionToken").into()),
    }
}

async fn assume(client: &Client, more: &[(&str, &str)]) -> Reply {
    let mut parameters = vec![("RoleArn", ROLE), ("RoleSessionName", "s1")];
    parameters.extend(more);
    client.sts("AssumeRole", &parameters).await
}

#[tokio::test]
async fn callers_learn_who_they_are() {
    let aws = FakeAws::start().await;
    let reply = Client::new(&aws).sts("GetCallerIdentity", &[]).await;
    assert_eq!(reply.element("Arn"), "arn:aws:iam::123456789012:user/admin");
    assert_eq!(reply.element("Account"), "123456789012");
    assert!(reply.element("UserId").starts_with("AIDA"));
    let root = Client::with_key(&aws, aws.root_key());
    let reply = root.sts("GetCallerIdentity", &[]).await;
    assert_eq!(reply.element("Arn"), "arn:aws:iam::123456789012:root");
    // Even a user who may do nothing may ask.
    let nobody = Client::with_key(&aws, aws.create_user("nobody", &[]));
    assert_eq!(nobody.sts("GetCallerIdentity", &[]).await.status, 200);
}

#[tokio::test]
async fn an_assumed_role_has_the_roles_permissions() {
    let aws = FakeAws::start().await;
    aws.create_role("sync", &trusting_account(), &[ALLOW_ALL]);
    let user = Client::with_key(&aws, aws.create_user("bob", &[ASSUME]));
    user.secrets("ListSecrets", json!({})).await.refused("AccessDeniedException");
    let session = Client::with_key(&aws, credentials(&assume(&user, &[]).await));
    session.secrets("ListSecrets", json!({})).await.ok();
    let reply = session.sts("GetCallerIdentity", &[]).await;
    assert_eq!(reply.element("Arn"), "arn:aws:sts::123456789012:assumed-role/sync/s1");
    assert!(reply.element("UserId").ends_with(":s1"));
}

#[tokio::test]
async fn session_tokens_are_checked_and_expire() {
    let aws = FakeAws::start().await;
    aws.create_role("sync", &trusting_account(), &[ALLOW_ALL]);
    let key = credentials(&assume(&Client::new(&aws), &[("DurationSeconds", "900")]).await);
    let session = Client::with_key(&aws, key);
    let wrong = session.clone().key(|key| key.session_token = Some("wrong".into()));
    wrong.secrets("ListSecrets", json!({})).await.refused("UnrecognizedClientException");
    let without = session.clone().key(|key| key.session_token = None);
    without.sts("GetCallerIdentity", &[]).await.refused_with(403, "InvalidClientTokenId");
    aws.advance(Duration::from_secs(800));
    session.secrets("ListSecrets", json!({})).await.ok();
    aws.advance(Duration::from_secs(200));
    session.secrets("ListSecrets", json!({})).await.refused("ExpiredTokenException");
    session.sts("GetCallerIdentity", &[]).await.refused_with(403, "ExpiredToken");
}

#[tokio::test]
async fn a_role_must_trust_the_caller_and_the_caller_be_permitted() {
    let aws = FakeAws::start().await;
    aws.create_role("sync", &trusting_account(), &[]);
    let bob = Client::with_key(&aws, aws.create_user("bob", &[]));
    // Trusting the account leaves it to the account's policies.
    let reply = assume(&bob, &[]).await;
    assert!(reply.refused_with(403, "AccessDenied").contains("sts:AssumeRole"));
    aws.create_role("sync", &trust(r#"{"AWS":"arn:aws:iam::123456789012:user/bob"}"#, "{}"), &[]);
    assert_eq!(assume(&bob, &[]).await.status, 200);
    assume(&Client::new(&aws), &[]).await.refused_with(403, "AccessDenied");
    let missing = [("RoleArn", "arn:aws:iam::123456789012:role/none"), ("RoleSessionName", "s1")];
    bob.sts("AssumeRole", &missing).await.refused_with(403, "AccessDenied");
    let root = Client::with_key(&aws, aws.root_key());
    let reply = assume(&root, &[]).await;
    assert_eq!(
        reply.refused_with(403, "AccessDenied"),
        "Roles may not be assumed by root accounts."
    );
}

#[tokio::test]
async fn an_external_id_is_compared() {
    let aws = FakeAws::start().await;
    let trust = trust(r#"{"AWS":"*"}"#, r#"{"StringEquals":{"sts:ExternalId":"ours"}}"#);
    aws.create_role("sync", &trust, &[]);
    let client = Client::new(&aws);
    assume(&client, &[]).await.refused_with(403, "AccessDenied");
    assume(&client, &[("ExternalId", "theirs")]).await.refused_with(403, "AccessDenied");
    assert_eq!(assume(&client, &[("ExternalId", "ours")]).await.status, 200);
}

#[tokio::test]
async fn another_accounts_role_needs_both_sides() {
    let aws = FakeAws::start().await;
    let theirs = trust(r#"{"AWS":"arn:aws:iam::123456789012:root"}"#, "{}");
    let role = aws.create_role_in("210987654321", "far", &theirs, &[]);
    let parameters = [("RoleArn", role.as_str()), ("RoleSessionName", "s1")];
    let bob = Client::with_key(&aws, aws.create_user("bob", &[]));
    bob.sts("AssumeRole", &parameters).await.refused_with(403, "AccessDenied");
    aws.set_user_policies("bob", &[ASSUME]);
    let reply = bob.sts("AssumeRole", &parameters).await;
    assert_eq!(reply.element("Arn"), "arn:aws:sts::210987654321:assumed-role/far/s1");
    aws.create_role_in("210987654321", "far", &trust(r#"{"AWS":"111111111111"}"#, "{}"), &[]);
    bob.sts("AssumeRole", &parameters).await.refused_with(403, "AccessDenied");
}

#[tokio::test]
async fn durations_and_names_have_bounds() {
    let aws = FakeAws::start().await;
    aws.create_role("sync", &trusting_account(), &[ALLOW_ALL]);
    let client = Client::new(&aws);
    for seconds in ["899", "43201", "3601"] {
        assume(&client, &[("DurationSeconds", seconds)]).await.refused("ValidationError");
    }
    let name = [("RoleArn", ROLE), ("RoleSessionName", "no spaces")];
    client.sts("AssumeRole", &name).await.refused("ValidationError");
    assume(&client, &[("ExternalId", "x")]).await.refused("ValidationError");
    assume(&client, &[("Policy", "{bad")]).await.refused("MalformedPolicyDocument");
    let long = format!(r#"{{"Statement":[]{}}}"#, " ".repeat(2048));
    assume(&client, &[("Policy", &long)]).await.refused("PackedPolicyTooLarge");
    // Chained roles end after an hour whatever the role allows.
    client.iam("UpdateRole", &[("RoleName", "sync"), ("MaxSessionDuration", "7200")]).await;
    assert_eq!(assume(&client, &[("DurationSeconds", "7200")]).await.status, 200);
    let chained = Client::with_key(&aws, credentials(&assume(&client, &[]).await));
    assume(&chained, &[("DurationSeconds", "7200")]).await.refused("ValidationError");
    assert_eq!(assume(&chained, &[]).await.status, 200);
}

#[tokio::test]
async fn a_session_policy_limits_the_session() {
    let aws = FakeAws::start().await;
    aws.create_role("sync", &trusting_account(), &[ALLOW_ALL]);
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"secretsmanager:List*","Resource":"*"}]}"#;
    let client = Client::new(&aws);
    let session =
        Client::with_key(&aws, credentials(&assume(&client, &[("Policy", policy)]).await));
    session.secrets("ListSecrets", json!({})).await.ok();
    let reply = session.secrets("GetSecretValue", json!({ "SecretId": "a" })).await;
    assert!(reply.refused("AccessDeniedException").contains("because no session policy allows"));
    let arn = [("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/ReadOnlyAccess")];
    let session = Client::with_key(&aws, credentials(&assume(&client, &arn).await));
    session
        .secrets("GetSecretValue", json!({ "SecretId": "a" }))
        .await
        .refused("AccessDeniedException");
}

#[tokio::test]
async fn session_tags_need_trust_and_are_seen_by_policies() {
    let aws = FakeAws::start().await;
    let tagged = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"secretsmanager:ListSecrets","Resource":"*",
        "Condition":{"StringEquals":{"aws:PrincipalTag/team":"a"}}}]}"#;
    aws.create_role("sync", &trusting_account(), &[tagged]);
    let client = Client::new(&aws);
    let tags = [("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "a")];
    let reply = assume(&client, &tags).await;
    assert!(reply.refused_with(403, "AccessDenied").contains("sts:TagSession"));
    let trust =
        trusting_account().replace(r#""sts:AssumeRole""#, r#"["sts:AssumeRole","sts:TagSession"]"#);
    aws.create_role("sync", &trust, &[tagged]);
    let session = Client::with_key(&aws, credentials(&assume(&client, &tags).await));
    session.secrets("ListSecrets", json!({})).await.ok();
    let untagged = Client::with_key(&aws, credentials(&assume(&client, &[]).await));
    untagged.secrets("ListSecrets", json!({})).await.refused("AccessDeniedException");
}

#[tokio::test]
async fn federation_tokens_do_what_their_policy_and_user_allow() {
    let aws = FakeAws::start().await;
    let client = Client::new(&aws);
    let name = ("Name", "bob");
    let reply = client.sts("GetFederationToken", &[name]).await;
    assert_eq!(reply.element("Arn"), "arn:aws:sts::123456789012:federated-user/bob");
    let bare = Client::with_key(&aws, credentials(&reply));
    bare.secrets("ListSecrets", json!({})).await.refused("AccessDeniedException");
    let reply = client.sts("GetFederationToken", &[name, ("Policy", ALLOW_ALL)]).await;
    let full = Client::with_key(&aws, credentials(&reply));
    full.secrets("ListSecrets", json!({})).await.ok();
    full.sts("GetFederationToken", &[name]).await.refused_with(403, "AccessDenied");
    full.iam("ListUsers", &[]).await.refused_with(403, "InvalidClientTokenId");
    client.sts("GetFederationToken", &[("Name", "x")]).await.refused("ValidationError");
}

#[tokio::test]
async fn session_tokens_are_the_user_for_a_while() {
    let aws = FakeAws::start().await;
    let client = Client::new(&aws);
    let reply = client.sts("GetSessionToken", &[("DurationSeconds", "900")]).await;
    let session = Client::with_key(&aws, credentials(&reply));
    session.secrets("ListSecrets", json!({})).await.ok();
    session.sts("GetSessionToken", &[]).await.refused_with(403, "AccessDenied");
    session.iam("GetUser", &[]).await.refused_with(403, "InvalidClientTokenId");
}

#[tokio::test]
async fn a_web_identity_is_matched_with_the_trust_policy() {
    let aws = FakeAws::start().await;
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
        "Principal":{"Federated":"arn:aws:iam::123456789012:oidc-provider/issuer.example"},
        "Action":"sts:AssumeRoleWithWebIdentity",
        "Condition":{"StringEquals":{"issuer.example:sub":"system:serviceaccount:a:b"}}}]}"#;
    aws.create_role("sync", trust, &[ALLOW_ALL]);
    let signer = Signer::new("k1");
    aws.create_oidc_provider("https://issuer.example", &["sts.amazonaws.com"], signer.keys());
    let now = i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let claims = json!({
        "iss": "https://issuer.example",
        "sub": "system:serviceaccount:a:b",
        "aud": "sts.amazonaws.com",
        "iat": now,
        "exp": now + 60,
    });
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let unsigned = Client::new(&aws);
    let ask = async |token: &str| {
        let parameters =
            [("RoleArn", ROLE), ("RoleSessionName", "s1"), ("WebIdentityToken", token)];
        unsigned.sts("AssumeRoleWithWebIdentity", &parameters).await
    };
    let good = signer.sign(&claims);
    let reply = ask(&good).await;
    assert_eq!(reply.element("SubjectFromWebIdentityToken"), "system:serviceaccount:a:b");
    Client::with_key(&aws, credentials(&reply)).secrets("ListSecrets", json!({})).await.ok();
    let other = signer.sign(&with("sub", json!("system:serviceaccount:a:other")));
    ask(&other).await.refused_with(403, "AccessDenied");
    for (claims, code) in [
        (with("aud", json!("else")), "InvalidIdentityToken"),
        (with("iss", json!("https://else.example")), "InvalidIdentityToken"),
        (with("iss", json!("http://issuer.example")), "InvalidIdentityToken"),
        (with("iat", json!(now + 3600)), "InvalidIdentityToken"),
        (with("exp", json!(null)), "InvalidIdentityToken"),
        (with("exp", json!(now - 1)), "ExpiredTokenException"),
    ] {
        ask(&signer.sign(&claims)).await.refused(code);
    }
    // Another key under the same name, a changed claim, no signature.
    let forged = Signer::new("k1").sign(&claims);
    let (head, tail) = (good.split('.').next().unwrap(), good.rsplit('.').next().unwrap());
    let claimed = URL_SAFE_NO_PAD.encode(with("sub", json!("root")).to_string());
    let changed = format!("{head}.{claimed}.{tail}");
    let none = format!("{}.{claimed}.", URL_SAFE_NO_PAD.encode("{\"alg\":\"none\"}"));
    for token in ["not a token", &forged, &changed, &none] {
        ask(token).await.refused("InvalidIdentityToken");
    }
    let shown = format!("{:?}", aws.calls());
    assert!(!shown.contains(good.split('.').nth(1).unwrap()));
}

/// Somebody who signs tokens.
struct Signer(&'static str, aws_lc_rs::signature::EcdsaKeyPair);

impl Signer {
    fn new(name: &'static str) -> Signer {
        let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        Signer(name, aws_lc_rs::signature::EcdsaKeyPair::generate(algorithm).unwrap())
    }

    fn keys(&self) -> Value {
        use aws_lc_rs::signature::KeyPair as _;
        let point = self.1.public_key().as_ref();
        let (x, y) = (&point[1..33], &point[33..]);
        let [x, y] = [x, y].map(|number| URL_SAFE_NO_PAD.encode(number));
        json!({ "keys": [
            { "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": self.0, "x": x, "y": y },
        ] })
    }

    fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "kid": self.0 });
        let parts =
            [header.to_string(), claims.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part));
        let signed = parts.join(".");
        let random = aws_lc_rs::rand::SystemRandom::new();
        let signature = self.1.sign(&random, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[tokio::test]
async fn sessions_can_be_made_past_the_api() {
    let aws = FakeAws::start().await;
    aws.create_role("sync", &trusting_account(), &[ALLOW_ALL]);
    let key = aws.role_session("sync", "direct", Duration::from_secs(60), None);
    let session = Client::with_key(&aws, key.clone());
    session.secrets("ListSecrets", json!({})).await.ok();
    assert!(aws.delete_access_key(&key.access_key_id));
    session.secrets("ListSecrets", json!({})).await.refused("UnrecognizedClientException");
}
