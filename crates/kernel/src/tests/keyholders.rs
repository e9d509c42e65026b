//! New shares and new root tokens, wherever storage breaks.

use super::world::{World, call, data, refused};
use bailee_sdk::{Code, Error, Operation};
use bailee_storage::{
    memory::Memory,
    testing::{Faulty, LastCommit},
};
use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine as _};
use serde_json::{Value, json};
use std::sync::Arc;
use zeroize::Zeroizing;

type Keys = Vec<Zeroizing<Vec<u8>>>;

impl World {
    async fn open(&self, operation: Operation, path: &str, input: Value) -> Result<Value, Error> {
        let call = call(operation, path, &input.to_string(), None);
        self.core.handle(call).await.map(|answer| data(&answer))
    }

    async fn ask(&self, path: &str, input: Value) -> Result<Value, Error> {
        self.open(Operation::Update, path, input).await
    }

    async fn look(&self, path: &str) -> Value {
        self.open(Operation::Read, path, json!({})).await.unwrap()
    }

    /// Begins new shares and gives the old ones; what the last answers.
    async fn rekey(&self, wish: Value) -> Result<Value, Error> {
        let started = self.ask("sys/rekey/init", wish).await?;
        self.give("sys/rekey/update", &started, &self.keys[..2]).await
    }

    async fn give(
        &self,
        path: &str,
        started: &Value,
        keys: &[Zeroizing<Vec<u8>>],
    ) -> Result<Value, Error> {
        let mut last = Value::Null;
        for key in keys {
            let input = json!({ "key": hex::encode(key.as_slice()), "nonce": started["nonce"] });
            last = self.ask(path, input).await?;
        }
        Ok(last)
    }

    /// Whether these shares open what is stored.
    async fn opens_with(&self, keys: &[Zeroizing<Vec<u8>>]) -> bool {
        let core = super::world::core(&self.backend, Vec::new());
        for key in keys {
            match core.unseal(key).await {
                Ok(status) if !status.sealed => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        false
    }
}

fn keys(answer: &Value) -> Keys {
    let keys = answer["keys"].as_array().unwrap().iter();
    keys.map(|key| Zeroizing::new(hex::decode(key.as_str().unwrap()).unwrap())).collect()
}

fn wish(shares: u64, threshold: u64) -> Value {
    json!({ "secret_shares": shares, "secret_threshold": threshold })
}

#[tokio::test]
async fn new_shares_take_the_place_of_the_old_ones() {
    let world = World::new().await;
    let idle = world.look("sys/rekey/init").await;
    assert_eq!((&idle["started"], &idle["required"]), (&json!(false), &json!(2)));
    let started = world.ask("sys/rekey/init", wish(5, 3)).await.unwrap();
    assert_eq!((&started["t"], &started["n"]), (&json!(3), &json!(5)));
    let text = "rekey already in progress".to_owned();
    let again = world.ask("sys/rekey/init", wish(5, 3)).await;
    assert_eq!(refused(again), (Code::InvalidRequest, text));
    let first = world.give("sys/rekey/update", &started, &world.keys[..1]).await.unwrap();
    assert_eq!(first["progress"], 1);
    let twice = world.give("sys/rekey/update", &started, &world.keys[..1]).await;
    assert!(refused(twice).1.contains("already been provided"));
    let other = json!({ "nonce": "other" });
    let outcome = world.give("sys/rekey/update", &other, &world.keys[1..2]).await;
    assert!(refused(outcome).1.starts_with("incorrect nonce supplied"));
    let done = world.give("sys/rekey/update", &started, &world.keys[1..2]).await.unwrap();
    assert_eq!(done["complete"], true);
    let new = keys(&done);
    assert_eq!(new.len(), 5);
    let status = world.core.seal_status().await.unwrap();
    assert_eq!((status.threshold, status.shares), (3, 5));
    assert_eq!(world.look("sys/rekey/init").await["started"], false);
    assert!(world.opens_with(&new[1..4]).await);
    assert!(!world.opens_with(&world.keys).await);
    // The server that runs goes on, also with the keys below.
    world.write("boxes/box/a", r#"{"value":1}"#).await.unwrap();
    world.write("sys/rotate", "{}").await.unwrap();
    world.core.shut_down().await;
    let status = world.core.seal_status().await.unwrap();
    assert_eq!((status.threshold, status.shares), (3, 5));
    for key in &new[2..] {
        world.core.unseal(key).await.unwrap();
    }
    assert_eq!(world.read("boxes/box/a").await.unwrap(), json!({ "value": 1 }));
}

#[tokio::test]
async fn shares_that_must_be_verified_take_over_when_they_were_given_back() {
    let world = World::new().await;
    let mut wish = wish(3, 2);
    wish["require_verification"] = true.into();
    let made = world.rekey(wish).await.unwrap();
    let new = keys(&made);
    assert_eq!(made["verification_required"], true);
    assert!(world.opens_with(&world.keys[..2]).await, "the old ones are good until then");
    assert!(!world.opens_with(&new[..2]).await);
    let verify = json!({ "nonce": made["verification_nonce"] });
    let status = world.look("sys/rekey/verify").await;
    assert_eq!((&status["nonce"], &status["t"]), (&verify["nonce"], &json!(2)));
    // One old share among them: the attempt begins anew, with another nonce.
    let mixed = [new[0].clone(), world.keys[0].clone()];
    let outcome = world.give("sys/rekey/verify", &verify, &mixed).await;
    assert!(refused(outcome).1.starts_with("rekey verification failed"));
    let status = world.look("sys/rekey/verify").await;
    assert_ne!(status["nonce"], verify["nonce"]);
    assert_eq!(status["progress"], 0);
    let restarted = world.open(Operation::Delete, "sys/rekey/verify", json!({})).await.unwrap();
    let done = world.give("sys/rekey/verify", &restarted, &new[1..]).await.unwrap();
    assert_eq!(done, json!({ "nonce": restarted["nonce"], "complete": true }));
    assert!(world.opens_with(&new[..2]).await);
    assert!(!world.opens_with(&world.keys[..2]).await);
    let none = world.open(Operation::Read, "sys/rekey/verify", json!({})).await;
    assert_eq!(refused(none).1, "no rekey configuration found");
}

#[tokio::test]
async fn wrong_shares_change_nothing_and_a_cancelled_change_is_gone() {
    let world = World::new().await;
    let started = world.ask("sys/rekey/init", wish(1, 1)).await.unwrap();
    let wrong = [Zeroizing::new(vec![1; 33]), Zeroizing::new(vec![2; 33])];
    let outcome = world.give("sys/rekey/update", &started, &wrong).await;
    assert!(refused(outcome).1.starts_with("unseal key verification failed"));
    assert_eq!(world.look("sys/rekey/init").await["progress"], 0);
    let other = json!({ "nonce": "other" });
    let outcome = world.open(Operation::Delete, "sys/rekey/init", other).await;
    assert_eq!(refused(outcome).0, Code::InvalidRequest);
    let named = json!({ "nonce": started["nonce"] });
    world.open(Operation::Delete, "sys/rekey/init", named).await.unwrap();
    assert_eq!(world.look("sys/rekey/init").await["started"], false);
    assert!(world.opens_with(&world.keys[..2]).await);
    for (bad, text) in [
        (wish(1, 2), "provided threshold greater than the total shares"),
        (wish(0, 0), "invalid rekey seal configuration: shares must be at least one"),
        (wish(256, 2), "invalid rekey seal configuration: shares must be less than 256"),
        (json!({ "secret_shares": 1, "secret_threshold": 1, "backup": true }), "cannot request"),
    ] {
        assert!(refused(world.ask("sys/rekey/init", bad).await).1.starts_with(text), "{text}");
    }
}

#[tokio::test]
async fn wherever_storage_breaks_the_old_or_the_new_shares_open_it() {
    for last in [LastCommit::Lost, LastCommit::Landed] {
        let faulty = Arc::new(Faulty::new(Arc::new(Memory::default())));
        let world = World::with(faulty.clone(), Vec::new()).await;
        let started = world.ask("sys/rekey/init", wish(3, 3)).await.unwrap();
        world.give("sys/rekey/update", &started, &world.keys[..1]).await.unwrap();
        faulty.go_down_after(0, last);
        faulty.fail_reads_after(1);
        assert!(world.give("sys/rekey/update", &started, &world.keys[1..2]).await.is_err());
        faulty.heal();
        assert_eq!(world.opens_with(&world.keys[..2]).await, last == LastCommit::Lost);
        // Who gave a share may try again, and is shown the shares that are good.
        let stranger = world.give("sys/rekey/update", &started, &world.keys[2..]).await;
        assert!(stranger.is_err());
        let done = world.give("sys/rekey/update", &started, &world.keys[1..2]).await.unwrap();
        assert!(world.opens_with(&keys(&done)).await, "{last:?}");
        assert!(!world.opens_with(&world.keys[..2]).await);
    }
}

#[tokio::test]
async fn after_a_change_of_unknown_end_a_sealed_server_asks_its_storage_how_it_is_sealed() {
    let faulty = Arc::new(Faulty::new(Arc::new(Memory::default())));
    let world = World::with(faulty.clone(), Vec::new()).await;
    let started = world.ask("sys/rekey/init", wish(5, 4)).await.unwrap();
    world.give("sys/rekey/update", &started, &world.keys[..1]).await.unwrap();
    faulty.go_down_after(0, LastCommit::Landed);
    assert!(world.give("sys/rekey/update", &started, &world.keys[1..2]).await.is_err());
    faulty.heal();
    world.core.shut_down().await;
    let status = world.core.seal_status().await.unwrap();
    assert_eq!((status.threshold, status.shares), (4, 5));
    assert_eq!(refused(world.ask("sys/rekey/init", wish(1, 1)).await).0, Code::Sealed);
}

#[tokio::test]
async fn shares_make_a_root_token_that_only_the_pad_unveils() {
    let world = World::new().await;
    let started = world.ask("sys/generate-root/attempt", json!({})).await.unwrap();
    assert_eq!(started["otp_length"], 28);
    let pad = started["otp"].as_str().unwrap().to_owned();
    assert_eq!(pad.len(), 28);
    assert_eq!(world.look("sys/generate-root/attempt").await["otp"], "");
    let first = world.give("sys/generate-root/update", &started, &world.keys[1..2]).await.unwrap();
    assert_eq!((&first["progress"], &first["complete"]), (&json!(1), &json!(false)));
    let done = world.give("sys/generate-root/update", &started, &world.keys[2..]).await.unwrap();
    assert_eq!(done["complete"], true);
    let encoded = done["encoded_token"].as_str().unwrap();
    let veiled = BASE64_STANDARD_NO_PAD.decode(encoded).unwrap();
    let plain = veiled.iter().zip(pad.bytes()).map(|(byte, pad)| byte ^ pad).collect();
    let token = String::from_utf8(plain).unwrap();
    assert_eq!((token.len(), &token[..4]), (28, "hvs."));
    let read = world.read_by(&token, "auth/token/lookup-self").await.unwrap();
    assert_eq!((&read["policies"], &read["ttl"]), (&json!(["root"]), &json!(0)));
    let input = json!({ "encoded_token": encoded, "otp": pad });
    assert_eq!(world.ask("sys/decode-token", input).await.unwrap()["token"], token.as_str());
    // It is over; the next one needs all shares again.
    let over = world.give("sys/generate-root/update", &started, &world.keys[..1]).await;
    assert_eq!(refused(over).1, "no root generation in progress");
    let bad = world.ask("sys/generate-root/attempt", json!({ "otp": "short" })).await;
    assert_eq!(refused(bad).1, "OTP string is wrong length");
}

#[tokio::test]
async fn wrong_shares_make_no_root_token() {
    let world = World::new().await;
    let started = world.ask("sys/generate-root/attempt", json!({})).await.unwrap();
    let wrong = [world.keys[0].clone(), Zeroizing::new(vec![2; 33])];
    let outcome = world.give("sys/generate-root/update", &started, &wrong).await;
    assert_eq!(refused(outcome).0, Code::InvalidRequest);
    assert_eq!(world.look("sys/generate-root/attempt").await["progress"], 0);
    world.open(Operation::Delete, "sys/generate-root/attempt", json!({})).await.unwrap();
    assert_eq!(world.look("sys/generate-root/attempt").await["started"], false);
    for input in [json!({}), json!({ "encoded_token": "AAAA" }), json!({ "otp": "a" })] {
        assert_eq!(refused(world.ask("sys/decode-token", input).await).0, Code::InvalidRequest);
    }
}
