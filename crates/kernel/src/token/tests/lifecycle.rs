//! Life and death of tokens.

use super::{
    super::{NewToken, TokenStore, TtlLimits},
    World,
    world::{DAY, Fault},
};
use bailee_barrier::{Barrier, RootKey};
use bailee_crypto::Clock;
use bailee_sdk::{Namespace, Sensitive, testing::TestClock};
use bailee_storage::memory::Memory;
use std::{collections::VecDeque, sync::Arc, time::Duration};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_token_works_until_its_end_even_if_no_pass_runs() {
    let world = World::new().await;
    let made = world.made(world.plain(HOUR)).await;
    assert!(made.secret.expose().starts_with("hvs."));
    assert!(made.secret.expose().len() > 90);
    assert!(world.is_alive(&made.secret).await);
    world.clock.advance(HOUR - Duration::from_millis(1));
    assert!(world.is_alive(&made.secret).await);
    world.clock.advance(Duration::from_millis(1));
    assert!(!world.is_alive(&made.secret).await);
    assert!(!world.is_alive(&Sensitive::from("hvs.unknown")).await);
    assert!(!world.is_alive(&Sensitive::from("a.b.c")).await);
    assert!(!world.is_alive(&Sensitive::from("")).await);
}

#[tokio::test]
async fn a_new_token_has_its_whole_ttl() {
    let world = World::new().await;
    let now = world.clock.now() + Duration::from_nanos(123_456);
    let made = world.made(NewToken { now, ..world.plain(HOUR) }).await;
    assert_eq!(made.token.remaining(now).unwrap().as_secs(), 3600);
}

#[tokio::test]
async fn a_clock_that_goes_back_revives_nothing() {
    let mut world = World::new().await;
    let made = world.made(world.plain(HOUR)).await;
    world.clock.advance(HOUR * 2);
    assert!(!world.is_alive(&made.secret).await);
    world.clock.go_back(HOUR * 2);
    assert!(!world.is_alive(&made.secret).await);
    world.restart().await;
    assert!(!world.is_alive(&made.secret).await);
    world.pass().await.unwrap();
    assert_eq!(world.backend.keys_under("n/root/token/due/").await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_by_the_clock_of_the_runtime() {
    let clock = Arc::new(TestClock::default());
    let root = RootKey::generate();
    let barrier = Barrier::create(Arc::new(Memory::default()), &root, Vec::new()).await.unwrap();
    let limits = TtlLimits { default: HOUR, max: HOUR };
    let tokens = TokenStore::new(barrier.clone(), clock.clone(), limits);
    let world = World::new().await;
    let view = barrier.view("");
    let new = NewToken { now: clock.now(), ..world.plain(Duration::ZERO) };
    let made = tokens.create(&view, new).await.unwrap();
    view.commit().await.unwrap();
    let next = tokens.expire_pass(clock.now()).await.unwrap().unwrap();
    assert_eq!(Some(next), made.token.expires);
    tokio::time::advance(HOUR - Duration::from_secs(1)).await;
    assert!(tokens.authenticate(&made.secret).await.unwrap().is_some());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(tokens.authenticate(&made.secret).await.unwrap().is_none());
    assert_eq!(tokens.expire_pass(clock.now()).await.unwrap(), None);
}

#[tokio::test]
async fn tokens_and_their_ends_outlast_a_restart() {
    let mut world = World::new().await;
    let short = world.made(world.plain(HOUR)).await;
    let long = world.made(world.plain(DAY)).await;
    world.restart().await;
    assert!(world.is_alive(&short.secret).await);
    assert!(world.is_alive(&world.root).await);
    let next = world.pass().await.unwrap();
    assert_eq!(next, short.token.expires);
    world.clock.advance(HOUR);
    world.restart().await;
    assert_eq!(world.pass().await.unwrap(), long.token.expires);
    assert!(!world.is_alive(&short.secret).await);
    assert!(world.is_alive(&long.secret).await);
    world.clock.advance(DAY);
    assert_eq!(world.pass().await.unwrap(), None);
    // Only the root token is left: two parts and its accessor.
    assert_eq!(world.backend.keys_under("n/root/token/").await.len(), 3);
}

#[tokio::test]
async fn a_revoked_token_takes_all_it_made_along() {
    let world = World::new().await;
    let parent = world.made(world.plain(DAY)).await;
    let other = world.made(world.plain(DAY)).await;
    let mut family = Vec::new();
    let mut line = parent.clone();
    for _ in 0..50 {
        for _ in 0..3 {
            family.push(world.child(&line, DAY).await);
        }
        line = family.last().unwrap().clone();
    }
    for made in &family {
        assert!(world.is_alive(&made.secret).await);
    }
    world.tokens.revoke_tree(&parent.token.id).await.unwrap();
    for made in family.iter().chain([&parent]) {
        assert!(!world.is_alive(&made.secret).await);
    }
    assert!(world.is_alive(&other.secret).await);
    // The root token and `other`.
    assert_eq!(world.backend.keys_under("n/root/token/").await.len(), 3 + 5);
    world.tokens.revoke_tree(&parent.token.id).await.unwrap();
}

#[tokio::test]
async fn a_wide_family_is_revoked_in_bounded_batches() {
    let world = World::new().await;
    let parent = world.made(world.plain(DAY)).await;
    for _ in 0..150 {
        world.child(&parent, HOUR).await;
    }
    // The storage of these tests refuses more than 128 writes at once.
    world.tokens.revoke_tree(&parent.token.id).await.unwrap();
    assert_eq!(world.backend.keys_under("n/root/token/").await.len(), 3);
}

#[tokio::test]
async fn children_end_with_a_parent_that_expires() {
    let world = World::new().await;
    let parent = world.made(world.plain(HOUR)).await;
    let child = world.child(&parent, DAY).await;
    let grandchild = world.child(&child, DAY).await;
    world.clock.advance(HOUR);
    assert!(!world.is_alive(&grandchild.secret).await);
    assert!(!world.is_alive(&child.secret).await);
    world.pass().await.unwrap();
    assert_eq!(world.backend.keys_under("n/root/token/").await.len(), 3);
}

#[tokio::test]
async fn storage_faults_leave_nothing_of_a_revoked_tree_alive() {
    for failing in 0..12 {
        for fault in [Fault::Before, Fault::After] {
            let mut world = World::new().await;
            let parent = world.made(world.plain(DAY)).await;
            let mut family = vec![parent.clone()];
            for index in 0..40 {
                let line = family[index].clone();
                family.push(world.child(&line, DAY).await);
            }
            let mut answers: VecDeque<_> = (0..failing).map(|_| None).collect();
            answers.extend([Some(fault); 3]);
            world.backend.fail(move || answers.pop_front().flatten());
            let outcome = world.tokens.revoke_tree(&parent.token.id).await;
            if outcome.is_ok() || failing > 0 || fault == Fault::After {
                for made in &family {
                    assert!(!world.is_alive(&made.secret).await, "fault {failing} {fault:?}");
                }
            }
            world.backend.fail(|| None);
            if failing == 0 && fault == Fault::Before {
                // Not even the mark could be written: the client was told and repeats.
                assert!(outcome.is_err());
                world.tokens.revoke_tree(&parent.token.id).await.unwrap();
            }
            world.restart().await;
            for made in &family {
                assert!(!world.is_alive(&made.secret).await, "restart {failing} {fault:?}");
            }
            world.pass().await.unwrap();
            assert_eq!(world.backend.keys_under("n/root/token/").await.len(), 3);
        }
    }
}

#[tokio::test]
async fn children_of_a_token_revoked_alone_live_on() {
    let world = World::new().await;
    let parent = world.made(world.plain(HOUR)).await;
    let child = world.child(&parent, DAY).await;
    let grandchild = world.child(&child, DAY).await;
    for _ in 0..45 {
        world.child(&parent, DAY).await;
    }
    world.tokens.revoke_orphan(&parent.token.id).await.unwrap();
    assert!(!world.is_alive(&parent.secret).await);
    world.clock.advance(HOUR * 2);
    world.pass().await.unwrap();
    let token = world.tokens.authenticate(&child.secret).await.unwrap().unwrap();
    assert!(token.orphan && token.parent.is_none());
    assert!(world.is_alive(&grandchild.secret).await);
}

#[tokio::test]
async fn a_child_cannot_be_made_while_its_parent_is_revoked() {
    let world = World::new().await;
    let parent = world.made(world.plain(DAY)).await;
    let view = world.barrier.view("");
    let new = NewToken { parent: Some(parent.token.id.clone()), ..world.plain(HOUR) };
    let made = world.tokens.create(&view, new.clone()).await.unwrap();
    world.tokens.revoke_tree(&parent.token.id).await.unwrap();
    assert!(view.commit().await.is_err());
    assert!(!world.is_alive(&made.secret).await);
    let error = world.try_made(new).await.unwrap_err();
    assert_eq!(error.to_string(), "parent token lookup failed: no parent found");
}

#[tokio::test]
async fn renewal_moves_the_end_and_is_bounded() {
    let world = World::new().await;
    let made = world.made(NewToken { explicit_max_ttl: HOUR * 3, ..world.plain(HOUR) }).await;
    world.clock.advance(HOUR / 2);
    let now = world.clock.now();
    let renewed = world.tokens.renew(&made.token.id, Duration::ZERO, now).await.unwrap();
    assert_eq!((renewed.ttl, renewed.warnings.len()), (HOUR, 0));
    world.clock.advance(HOUR);
    assert!(!world.is_alive(&made.secret).await, "renewed for an hour, no longer");
    let made = world.made(NewToken { explicit_max_ttl: HOUR * 3, ..world.plain(HOUR) }).await;
    let now = world.clock.now();
    let renewed = world.tokens.renew(&made.token.id, HOUR * 9, now).await.unwrap();
    assert_eq!((renewed.ttl, renewed.warnings.len()), (HOUR * 3, 1));
    // Shorter is possible too, and holds at once.
    world.tokens.renew(&made.token.id, HOUR, now).await.unwrap();
    world.clock.advance(HOUR);
    assert!(!world.is_alive(&made.secret).await);
    let error = world.tokens.renew(&made.token.id, HOUR, world.clock.now()).await.unwrap_err();
    assert_eq!(error.to_string(), "token not found");
    assert_eq!(world.pass().await.unwrap(), None);
}

#[tokio::test]
async fn a_token_with_uses_works_exactly_that_often_under_races() {
    for uses in [1, 2, 7] {
        let world = Arc::new(World::new().await);
        let made = world.made(NewToken { num_uses: uses, ..world.plain(HOUR) }).await;
        let racers: Vec<_> = (0..4 * uses)
            .map(|_| {
                let (world, secret) = (world.clone(), made.secret.clone());
                tokio::spawn(async move {
                    let Some(token) = world.tokens.authenticate(&secret).await.unwrap() else {
                        return (0, 0);
                    };
                    match world.tokens.spend(&token).await.unwrap() {
                        Some(spent) => (1, u64::from(spent.used_up)),
                        None => (0, 0),
                    }
                })
            })
            .collect();
        let (mut passed, mut last) = (0, 0);
        for racer in racers {
            let (spent, was_last) = racer.await.unwrap();
            passed += spent;
            last += was_last;
        }
        assert_eq!((passed, last), (uses, 1));
        assert!(!world.is_alive(&made.secret).await);
        // Its last request may still look at it; then a pass clears what nobody revoked.
        assert!(world.tokens.find(&made.token.id).await.unwrap().unwrap().used_up);
        world.clock.advance(Duration::from_secs(60));
        world.pass().await.unwrap();
        assert_eq!(world.backend.keys_under("n/root/token/").await.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn uses_are_counted_once_on_several_threads() {
    let world = Arc::new(World::new().await);
    let made = world.made(NewToken { num_uses: 16, ..world.plain(HOUR) }).await;
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (world, secret) = (world.clone(), made.secret.clone());
        racers.spawn(async move {
            match world.tokens.authenticate(&secret).await.unwrap() {
                Some(token) => world.tokens.spend(&token).await.unwrap().is_some(),
                None => false,
            }
        });
    }
    assert_eq!(racers.join_all().await.into_iter().filter(|passed| *passed).count(), 16);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_stale_token_behind() {
    for polls in 0..24 {
        let mut world = World::new().await;
        let made = world.made(world.plain(DAY)).await;
        let child = world.child(&made, DAY).await;
        assert!(world.is_alive(&child.secret).await);
        {
            let mut revocation = Box::pin(world.tokens.revoke_tree(&made.token.id));
            for _ in 0..polls {
                // One poll of the request, then others run.
                if futures_util::poll!(revocation.as_mut()).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let seen = (world.is_alive(&made.secret).await, world.is_alive(&child.secret).await);
        world.restart().await;
        let stored = (world.is_alive(&made.secret).await, world.is_alive(&child.secret).await);
        assert_eq!(seen, stored, "dropped after {polls} polls");
        assert_eq!(stored.0, stored.1);
    }
}

#[tokio::test]
async fn a_use_is_spent_even_if_storage_does_not_tell() {
    let world = World::new().await;
    let made = world.made(NewToken { num_uses: 2, ..world.plain(HOUR) }).await;
    let mut answers = VecDeque::from([Some(Fault::After)]);
    world.backend.fail(move || answers.pop_front().flatten());
    let token = world.tokens.authenticate(&made.secret).await.unwrap().unwrap();
    assert!(world.tokens.spend(&token).await.is_err());
    let token = world.tokens.authenticate(&made.secret).await.unwrap().unwrap();
    assert_eq!(token.num_uses, 1);
    assert!(world.tokens.spend(&token).await.unwrap().unwrap().used_up);
    assert!(!world.is_alive(&made.secret).await);
}

#[tokio::test]
async fn neither_tokens_nor_accessors_are_readable_in_storage() {
    let world = World::new().await;
    let made = world.made(world.plain(DAY)).await;
    let child = world.child(&made, DAY).await;
    let custom = NewToken { id: Some(Sensitive::from("canary-custom")), ..world.plain(DAY) };
    let custom = world.made(custom).await;
    for (key, bytes) in world.backend.all().await {
        let text = String::from_utf8_lossy(&bytes).into_owned() + &key;
        for made in [&made, &child, &custom] {
            assert!(!text.contains(made.secret.expose().as_str()), "{key}");
            assert!(!text.contains(&made.secret.expose()[4..]), "{key}");
            assert!(!text.contains(&made.token.accessor), "{key}");
        }
        assert!(!text.contains("default"), "{key}");
    }
}

#[tokio::test]
async fn tokens_of_a_namespace_carry_its_id_and_stay_in_it() {
    let world = World::new().await;
    let namespace = Namespace { id: "a1b2".to_owned(), path: "team/".to_owned() };
    let made = world.made(NewToken { namespace: namespace.clone(), ..world.plain(HOUR) }).await;
    assert!(made.secret.expose().ends_with(".a1b2"));
    assert!(made.token.accessor.ends_with(".a1b2"));
    let token = world.tokens.authenticate(&made.secret).await.unwrap().unwrap();
    assert_eq!(token.namespace, namespace);
    let found = world.tokens.find_by_accessor(&made.token.accessor).await.unwrap();
    assert_eq!(found.unwrap().id, made.token.id);
    let bare = made.secret.expose().strip_suffix(".a1b2").unwrap();
    assert!(!world.is_alive(&Sensitive::from(bare)).await);
    let accessors = world.tokens.accessors(&namespace).await.unwrap();
    assert_eq!(accessors, std::slice::from_ref(&made.token.accessor));
    // A child in a namespace below ends with its parent.
    let below = Namespace { id: "c3".to_owned(), path: "team/x/".to_owned() };
    let parent = Some(made.token.id.clone());
    let child = NewToken { parent, namespace: below, ..world.plain(DAY) };
    let child = world.made(child).await;
    assert!(world.is_alive(&child.secret).await);
    world.clock.advance(HOUR);
    assert!(!world.is_alive(&child.secret).await);
    world.pass().await.unwrap();
    assert!(world.backend.keys_under("n/a1b2/").await.is_empty());
    assert!(world.backend.keys_under("n/c3/").await.is_empty());
}

#[tokio::test]
async fn one_token_that_cannot_be_cleared_does_not_stop_the_pass() {
    let world = World::new().await;
    for _ in 0..3 {
        world.made(world.plain(HOUR)).await;
    }
    world.clock.advance(HOUR);
    let mut answers = VecDeque::from([Some(Fault::Before)]);
    world.backend.fail(move || answers.pop_front().flatten());
    assert!(world.pass().await.is_err());
    // The root token and the one that failed.
    assert_eq!(world.backend.keys_under("n/root/token/").await.len(), 3 + 5);
    assert_eq!(world.pass().await.unwrap(), None);
    assert_eq!(world.backend.keys_under("n/root/token/").await.len(), 3);
}

#[tokio::test]
async fn generations_are_bounded() {
    let world = World::new().await;
    let mut line = world.made(world.plain(DAY)).await;
    for _ in 0..super::super::create::DEPTH_MAX {
        line = world.child(&line, DAY).await;
    }
    let parent = Some(line.token.id.clone());
    let error = world.try_made(NewToken { parent, ..world.plain(DAY) }).await.unwrap_err();
    assert!(error.to_string().contains("ancestors"), "{error}");
}
