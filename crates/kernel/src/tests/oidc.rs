use super::world::{World, call, data, refused};
use crate::Workload;
use bailee_crypto::{
    Clock, SystemClock,
    signing::{Algorithm, VerifyingKey},
};
use bailee_sdk::{Code, Namespace, Operation};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::time::Duration;

/// A server with a door, and a token of someone who came in by it.
async fn world() -> (World, String, String) {
    let world = World::new().await;
    world.write("sys/auth/door", r#"{"type":"door"}"#).await.unwrap();
    write(&world, "identity/oidc/config", json!({"issuer": "https://us.test:8200"})).await;
    let rules = r#"path "identity/oidc/token/*" { capabilities = ["read"] }"#;
    write(&world, "sys/policies/acl/oidc", json!({ "policy": rules })).await;
    let input = r#"{"policy":"oidc","user":"ann"}"#;
    let answer = world.core.handle(call(Operation::Update, "auth/door/login", input, None)).await;
    let auth = answer.unwrap().auth.unwrap();
    (world, auth.client_token.expose().clone(), auth.entity_id.clone())
}

async fn write(world: &World, path: &str, input: Value) -> Value {
    data(&world.write(path, &input.to_string()).await.unwrap())
}

async fn refusal(world: &World, path: &str, input: Value) -> String {
    let (code, text) = refused(world.write(path, &input.to_string()).await);
    assert_eq!(code, Code::InvalidRequest, "{path} {text}");
    text
}

/// What is answered outside the envelope.
fn raw(shown: &Value) -> Value {
    serde_json::from_str(shown.as_str().unwrap()).unwrap()
}

async fn published(world: &World) -> Vec<Value> {
    let nobody = call(Operation::Read, "identity/oidc/.well-known/keys", "{}", None);
    let shown = raw(&data(&world.core.handle(nobody).await.unwrap()));
    shown["keys"].as_array().unwrap().clone()
}

async fn introspect(world: &World, input: Value) -> Value {
    raw(&write(world, "identity/oidc/introspect", input).await)
}

fn decoded(part: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()
}

/// Header and claims of a token, whose signature the published key verifies.
async fn verified(world: &World, token: &str) -> (Value, Value) {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&decoded(header)).unwrap();
    let keys = published(world).await;
    let key = keys.iter().find(|key| key["kid"] == header["kid"]).expect("the key is published");
    let algorithm = Algorithm::named(header["alg"].as_str().unwrap()).unwrap();
    assert_eq!((&key["alg"], &key["use"]), (&header["alg"], &json!("sig")));
    let number = |name: &str| decoded(key[name].as_str().unwrap());
    let bytes = match key["kty"].as_str().unwrap() {
        "RSA" => {
            let integer = |bytes: Vec<u8>| der(0x02, &[&[0], bytes.as_slice()].concat());
            let exponent = der(0x02, &number("e"));
            der(0x30, &[integer(number("n")), exponent].concat())
        }
        "EC" => [vec![4], number("x"), number("y")].concat(),
        "OKP" => number("x"),
        other => panic!("unknown type of key {other}"),
    };
    let key = VerifyingKey { algorithm, bytes };
    assert!(key.verifies(signed.as_bytes(), &decoded(signature)), "{header}");
    (header, serde_json::from_slice(&decoded(claims)).unwrap())
}

fn der(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    let head = if bytes.len() < 128 {
        vec![tag, length[1]]
    } else {
        vec![tag, 0x82, length[0], length[1]]
    };
    [head, bytes.to_vec()].concat()
}

#[tokio::test]
async fn a_token_says_who_the_caller_is_and_anyone_can_verify_it() {
    let (world, user, entity) = world().await;
    let input = json!({"metadata": {"team": "red"}});
    write(&world, &format!("identity/entity/id/{entity}"), input).await;
    for algorithm in ["RS256", "ES256", "ES384", "ES512", "EdDSA"] {
        let key = format!("identity/oidc/key/{algorithm}");
        let input = json!({"algorithm": algorithm, "allowed_client_ids": "*"});
        write(&world, &key, input).await;
        let role = format!("identity/oidc/role/{algorithm}");
        let template = r#"{"team": {{identity.entity.metadata.team}}}"#;
        write(&world, &role, json!({"key": algorithm, "template": template, "ttl": "1h"})).await;
        let client = world.read(&role).await.unwrap()["client_id"].clone();
        assert_eq!(client.as_str().unwrap().len(), 26);
        let path = format!("identity/oidc/token/{algorithm}");
        let made = world.read_by(&user, &path).await.unwrap();
        assert_eq!((&made["client_id"], &made["ttl"]), (&client, &json!(3600)));
        let token = made["token"].as_str().unwrap();
        let (header, claims) = verified(&world, token).await;
        assert_eq!(header["alg"], algorithm);
        assert_eq!(claims["sub"], json!(entity));
        assert_eq!(claims["aud"], client);
        assert_eq!(claims["iss"], "https://us.test:8200/v1/identity/oidc");
        assert_eq!((&claims["team"], &claims["namespace"]), (&json!("red"), &json!("root")));
        let (issued, expires) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
        assert_eq!(expires - issued, 3600);
        assert_eq!(introspect(&world, json!({"token": token})).await, json!({"active": true}));
        let input = json!({"token": token, "client_id": client});
        assert_eq!(introspect(&world, input).await["active"], true);
    }
}

#[tokio::test]
async fn what_does_not_hold_is_told_so() {
    let (world, user, entity) = world().await;
    let input = json!({"algorithm": "EdDSA", "allowed_client_ids": "*"});
    write(&world, "identity/oidc/key/k", input).await;
    write(&world, "identity/oidc/role/r", json!({"key": "k"})).await;
    let made = world.read_by(&user, "identity/oidc/token/r").await.unwrap();
    let token = made["token"].as_str().unwrap().to_owned();
    let (head, signature) = token.rsplit_once('.').unwrap();
    let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    for bad in ["", "x", "a.b.c", &format!("{head}.AAAA"), &format!("{none}.e30.{signature}")] {
        let answer = introspect(&world, json!({"token": bad})).await;
        assert_eq!(answer["active"], false, "{bad}");
        assert!(answer["error"].is_string());
    }
    let answer = introspect(&world, json!({"token": token, "client_id": "other"})).await;
    assert_eq!(answer["active"], false);
    write(&world, &format!("identity/entity/id/{entity}"), json!({"disabled": true})).await;
    let answer = introspect(&world, json!({"token": token})).await;
    assert_eq!(answer, json!({"active": false, "error": "entity is disabled"}));
    write(&world, &format!("identity/entity/id/{entity}"), json!({"disabled": false})).await;
    write(&world, "identity/oidc/config", json!({"issuer": "https://other.test"})).await;
    assert_eq!(introspect(&world, json!({"token": token})).await["active"], false);
}

#[tokio::test]
async fn a_key_rotates_and_what_it_signed_stays_verifiable_for_a_while() {
    let (world, user, _) = world().await;
    let input = json!({"algorithm": "ES256", "allowed_client_ids": "*", "rotation_period": "1h",
        "verification_ttl": "2h"});
    write(&world, "identity/oidc/key/k", input).await;
    write(&world, "identity/oidc/role/r", json!({"key": "k", "ttl": "30m"})).await;
    let token = async || {
        let made = world.read_by(&user, "identity/oidc/token/r").await.unwrap();
        made["token"].as_str().unwrap().to_owned()
    };
    let ids = async || {
        let keys = published(&world).await;
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = ids().await;
    assert_eq!(before.len(), 2);
    let old = token().await;
    write(&world, "identity/oidc/key/k/rotate", json!({})).await;
    let (header, _) = verified(&world, &token().await).await;
    assert_eq!(header["kid"], json!(before[1]), "what was published in time signs now");
    verified(&world, &old).await;
    assert_eq!(ids().await.len(), 3);
    // A passing hour rotates as well, once.
    let session = world.core.sessions().borrow().clone().unwrap();
    let store = crate::identity::IdentityStore::new(session.barrier());
    let root = bailee_sdk::Namespace::root();
    let later = SystemClock.now() + Duration::from_secs(3700);
    for _ in 0..2 {
        crate::identity::rotation_pass(&store, &root, later).await.unwrap();
    }
    assert_eq!(ids().await.len(), 4);
    // By hand with no time left for the old one: it is not published any more.
    let kid = verified(&world, &token().await).await.0["kid"].clone();
    write(&world, "identity/oidc/key/k/rotate", json!({"verification_ttl": 0})).await;
    assert!(!ids().await.iter().any(|id| kid == json!(id)));
    // Another algorithm does not undo what was signed.
    let last = token().await;
    write(&world, "identity/oidc/key/k", json!({"algorithm": "EdDSA"})).await;
    assert_eq!(verified(&world, &last).await.0["alg"], "ES256");
    assert_eq!(verified(&world, &token().await).await.0["alg"], "EdDSA");
}

#[tokio::test]
async fn keys_and_roles_are_refused_with_the_reason() {
    let (world, user, _) = world().await;
    let key = "identity/oidc/key/k";
    for (input, text) in [
        (json!({"algorithm": "none"}), "unknown signing algorithm \"none\""),
        (json!({"rotation_period": "59s"}), "rotation_period must be at least one minute"),
        (
            json!({"rotation_period": "1m", "verification_ttl": "11m"}),
            "verification_ttl cannot be longer than 10x rotation_period",
        ),
    ] {
        assert_eq!(refusal(&world, key, input).await, text);
    }
    assert_eq!(refused(world.list("identity/oidc/key/").await).0, Code::NotFound);
    let role = "identity/oidc/role/r";
    assert_eq!(refusal(&world, role, json!({})).await, "the key parameter is required");
    let text = refusal(&world, role, json!({"key": "k", "template": "{\"iat\": 1}"})).await;
    assert!(text.contains("not allowed"), "{text}");
    write(&world, role, json!({"key": "k"})).await;
    let text = async |token: &str| refused(world.read_by(token, "identity/oidc/token/r").await).1;
    assert_eq!(text(&user).await, "key \"k\" not found");
    write(&world, key, json!({"algorithm": "EdDSA"})).await;
    assert!(text(&user).await.contains("allowed client ID"));
    write(&world, key, json!({"allowed_client_ids": ["*"]})).await;
    assert_eq!(text(&world.root).await, "no entity associated with the request's token");
    assert!(world.read_by(&user, "identity/oidc/token/r").await.is_ok());
    let (_, reason) = refused(world.delete(key).await);
    assert!(reason.contains("referenced by these roles: r"), "{reason}");
    let reason = refusal(&world, key, json!({"verification_ttl": "1h"})).await;
    assert!(reason.contains("token ttl greater"), "{reason}");
    let reason = refusal(&world, role, json!({"ttl": "25h"})).await;
    assert!(reason.contains("cannot be longer than the verification_ttl"), "{reason}");
    // Some clients repeat the name in the body: that is no reason for a warning.
    let repeated = world.write(key, r#"{"name":"k"}"#).await.unwrap();
    assert!(repeated.warnings.is_empty());
    assert!(!world.write(key, r#"{"name":"other"}"#).await.unwrap().warnings.is_empty());
    let shown = world.read(key).await.unwrap();
    assert_eq!(
        shown,
        json!({"algorithm": "EdDSA", "allowed_client_ids": ["*"], "rotation_period": 86400,
            "verification_ttl": 86400})
    );
    world.delete(role).await.unwrap();
    world.delete(key).await.unwrap();
    assert_eq!(refused(world.read(key).await).0, Code::NotFound);
    for issuer in ["ftp://x", "https://a/b"] {
        let text = refusal(&world, "identity/oidc/config", json!({"issuer": issuer})).await;
        assert!(text.starts_with("invalid issuer"), "{text}");
    }
    let nobody =
        call(Operation::Read, "identity/oidc/.well-known/openid-configuration", "{}", None);
    let shown = raw(&data(&world.core.handle(nobody).await.unwrap()));
    assert_eq!(shown["jwks_uri"], "https://us.test:8200/v1/identity/oidc/.well-known/keys");
}

/// A token of a destination in the root namespace.
async fn workload(world: &World, key: Option<&str>, ttl: u64) -> Result<String, String> {
    let session = world.core.sessions().borrow().clone().unwrap();
    let workload = Workload {
        subject: "secrets-sync:root:aws-sm:prod",
        audience: "sts.amazonaws.com",
        key,
        ttl: Duration::from_secs(ttl),
    };
    match session.identity_token(&Namespace::root(), &workload).await {
        Ok(token) => Ok(token.expose().clone()),
        Err(error) => {
            assert_eq!(error.code, Code::InvalidRequest);
            Err(error.to_string())
        }
    }
}

async fn workload_issuer(world: &World) -> Value {
    let path = "identity/oidc/secrets-sync/.well-known/openid-configuration";
    let nobody = call(Operation::Read, path, "{}", None);
    raw(&data(&world.core.handle(nobody).await.unwrap()))
}

#[tokio::test]
async fn a_token_of_a_destination_names_an_issuer_of_its_own() {
    let (world, _, _) = world().await;
    let shown = workload_issuer(&world).await;
    let issuer = "https://us.test:8200/v1/identity/oidc/secrets-sync";
    assert_eq!(shown["issuer"], issuer);
    assert_eq!(shown["jwks_uri"], format!("{issuer}/.well-known/keys"));
    let keys = call(Operation::Read, "identity/oidc/secrets-sync/.well-known/keys", "{}", None);
    let token = workload(&world, None, 900).await.unwrap();
    let (header, claims) = verified(&world, &token).await;
    let keys = raw(&data(&world.core.handle(keys).await.unwrap()));
    let listed = keys["keys"].as_array().unwrap().iter().any(|key| key["kid"] == header["kid"]);
    assert!(listed, "{keys}");
    let now = bailee_crypto::clock::to_millis(SystemClock.now()) / 1000;
    let issued = claims["iat"].as_u64().unwrap();
    assert!(issued <= now && now - issued < 60, "{claims}");
    assert_eq!(
        claims,
        json!({
            "iss": issuer,
            "sub": "secrets-sync:root:aws-sm:prod",
            "aud": "sts.amazonaws.com",
            "iat": issued,
            "exp": issued + 900,
        })
    );
    // The default key was made with the first token, and signs the next.
    assert_eq!(header["alg"], "RS256");
    let key = world.read("identity/oidc/key/default").await.unwrap();
    assert_eq!(key["allowed_client_ids"], json!(["*"]));
    let (second, _) = verified(&world, &workload(&world, None, 900).await.unwrap()).await;
    assert_eq!(second["kid"], header["kid"]);
}

#[tokio::test]
async fn a_named_key_signs_for_the_audiences_it_lists() {
    let (world, _, _) = world().await;
    let told = workload(&world, Some("cloud"), 900).await.unwrap_err();
    assert!(told.contains("there is no key \"cloud\""), "{told}");
    let path = "identity/oidc/key/cloud";
    let key =
        json!({"allowed_client_ids": ["else"], "algorithm": "ES256", "verification_ttl": 1800});
    write(&world, path, key).await;
    let told = workload(&world, Some("cloud"), 900).await.unwrap_err();
    assert!(told.contains("allowed_client_ids"), "{told}");
    write(&world, path, json!({"allowed_client_ids": "else,sts.amazonaws.com"})).await;
    let (header, _) = verified(&world, &workload(&world, Some("cloud"), 900).await.unwrap()).await;
    assert_eq!(header["alg"], "ES256");
    let told = workload(&world, Some("cloud"), 3600).await.unwrap_err();
    assert!(told.contains("verification_ttl"), "{told}");
    write(&world, "identity/oidc/config", json!({"issuer": ""})).await;
    let told = workload(&world, Some("cloud"), 900).await.unwrap_err();
    assert!(told.contains("api_addr"), "{told}");
}

#[tokio::test]
async fn a_token_of_a_mount_says_which_mount_it_is_whatever_its_engine_asks_for() {
    let (world, _, _) = world().await;
    write(&world, "sys/namespaces/team", json!({})).await;
    write(&world, "team/sys/mounts/chest", json!({"type": "boxes"})).await;
    write(&world, "team/identity/oidc/config", json!({"issuer": "https://us.test:8200"})).await;
    let accessor = world.read("team/sys/mounts/chest").await.unwrap()["accessor"].clone();
    let id = world.read("sys/namespaces/team").await.unwrap()["id"].clone();
    let token = write(&world, "team/chest/token", json!({"audience": "sts.amazonaws.com"})).await;
    let claims = token["token"].as_str().unwrap().split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&decoded(claims)).unwrap();
    let (about, namespace) = (claims["vaultproject.io"].clone(), id.as_str().unwrap());
    assert_eq!(about["namespace_id"], namespace);
    assert_eq!(claims["iss"], "https://us.test:8200/v1/team/identity/oidc/plugins");
    let accessor = accessor.as_str().unwrap();
    assert_eq!(claims["sub"], format!("plugin-identity:{namespace}:secret:{accessor}"));
    assert_eq!(about["path"], "chest/");
    assert_eq!(about["namespace_path"], "team/");
}
