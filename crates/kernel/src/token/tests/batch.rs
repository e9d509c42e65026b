//! Batch tokens: what is sealed into a text, and what is not believed.

use super::{
    super::{Kind, NewToken},
    World,
    world::DAY,
};
use bailee_sdk::{Cidr, Namespace, Sensitive};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

fn batch(world: &World) -> NewToken {
    NewToken { kind: Kind::Batch, renewable: false, ..world.plain(DAY) }
}

#[tokio::test]
async fn a_batch_token_is_what_it_was_made_as_and_nothing_is_stored() {
    let mut world = World::new().await;
    let before = world.backend.all().await.len();
    let new = NewToken {
        role: Some("r".to_owned()),
        bound_cidrs: vec!["10.0.0.0/8".parse::<Cidr>().unwrap()],
        meta: [("team".to_owned(), "a".to_owned())].into(),
        ..batch(&world)
    };
    let made = world.made(new).await;
    assert_eq!(world.backend.all().await.len(), before);
    world.restart().await;
    let found = world.tokens.authenticate(&made.secret).await.unwrap().unwrap();
    assert_eq!(format!("{found:?}"), format!("{:?}", made.token));
    world.clock.advance(DAY);
    assert!(!world.is_alive(&made.secret).await);
}

#[tokio::test]
async fn a_batch_token_with_any_byte_changed_is_refused() {
    let mut world = World::new().await;
    let secret = world.made(batch(&world)).await.secret;
    world.restart().await;
    let code = secret.expose().strip_prefix("hvb.").unwrap();
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(code).unwrap();
    for place in 0..bytes.len() {
        let mut broken = bytes.clone();
        broken[place] ^= 1;
        let text = format!("hvb.{}", BASE64_URL_SAFE_NO_PAD.encode(broken));
        assert!(!world.is_alive(&Sensitive::new(text)).await, "byte {place}");
    }
    for text in [
        format!("hvb.{}", &code[..code.len() - 1]),
        format!("hvb.{code}A"),
        format!("hvb.{code}="),
        format!("hvb.{code}.other"),
        format!("hvs.{code}"),
        code.to_owned(),
        format!("hvb.{}", "A".repeat(100_000)),
        "hvb.".to_owned(),
    ] {
        assert!(!world.is_alive(&Sensitive::new(text.clone())).await, "{text:.40}");
    }
    assert!(world.is_alive(&secret).await);
}

#[tokio::test]
async fn a_batch_token_outlives_the_key_that_sealed_it() {
    let world = World::new().await;
    let secret = world.made(batch(&world)).await.secret;
    world.barrier.rotate().await.unwrap();
    assert!(world.is_alive(&secret).await);
}

#[tokio::test]
async fn a_batch_token_belongs_to_one_namespace() {
    let world = World::new().await;
    let namespace = Namespace { id: "abc".to_owned(), path: "a/".to_owned() };
    let secret = world.made(NewToken { namespace, ..batch(&world) }).await.secret;
    assert!(secret.expose().ends_with(".abc"));
    assert!(world.is_alive(&secret).await);
    let elsewhere = secret.expose().replace(".abc", ".abd");
    assert!(!world.is_alive(&Sensitive::new(elsewhere)).await);
    let root = secret.expose().replace(".abc", "");
    assert!(!world.is_alive(&Sensitive::new(root)).await);
}

#[tokio::test]
async fn a_batch_token_dies_with_its_parent_unless_it_is_an_orphan() {
    let world = World::new().await;
    let parent = world.made(world.plain(DAY)).await;
    let child = NewToken { parent: Some(parent.token.id.clone()), ..batch(&world) };
    let child = world.made(child).await.secret;
    let orphan = world.made(batch(&world)).await.secret;
    assert!(world.is_alive(&child).await);
    world.tokens.revoke_tree(&parent.token.id).await.unwrap();
    assert!(!world.is_alive(&child).await);
    assert!(world.is_alive(&orphan).await);
}

#[tokio::test]
async fn a_batch_token_that_fits_no_header_is_refused() {
    let world = World::new().await;
    let meta = [("note".to_owned(), "x".repeat(10_000))].into();
    let error = world.try_made(NewToken { meta, ..batch(&world) }).await.unwrap_err();
    assert!(error.to_string().contains("fit into a header"), "{error}");
    let error = world.try_made(NewToken { num_uses: 1, ..batch(&world) }).await.unwrap_err();
    assert_eq!(error.to_string(), "batch tokens cannot have \"num_uses\" set");
}
