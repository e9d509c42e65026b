use super::*;
use crate::Barrier;
use bailee_storage::{Backend, Batch, Write, memory::Memory};
use proptest::prelude::*;
use std::sync::Arc;

async fn fresh() -> (Arc<dyn Backend>, RootKey, Arc<Barrier>) {
    let backend: Arc<dyn Backend> = Arc::new(Memory::default());
    let root = RootKey::generate();
    let barrier = Barrier::create(backend.clone(), &root, Vec::new()).await.unwrap();
    (backend, root, barrier)
}

async fn put(barrier: &Arc<Barrier>, key: &str, value: &str) {
    let view = barrier.view("t/");
    view.put(key, value);
    view.commit().await.unwrap();
}

async fn read(barrier: &Arc<Barrier>, key: &str) -> Option<String> {
    barrier.view("t/").get(key).await.unwrap()
}

#[tokio::test]
async fn only_its_root_key_opens_a_storage() {
    let (backend, root, barrier) = fresh().await;
    put(&barrier, "a", "1").await;
    let other = Barrier::open(backend.clone(), &RootKey::generate()).await.unwrap();
    assert!(other.is_none());
    let again = Barrier::open(backend.clone(), &root).await.unwrap().unwrap();
    assert_eq!(read(&again, "a").await.as_deref(), Some("1"));
    let twice = Barrier::create(backend, &root, Vec::new()).await;
    assert!(matches!(twice, Err(Error::Conflict)));
    let empty: Arc<dyn Backend> = Arc::new(Memory::default());
    assert!(matches!(Barrier::open(empty, &root).await, Err(Error::Corrupt(_))));
}

#[tokio::test]
async fn a_storage_is_founded_with_all_of_its_first_unit_or_nothing() {
    let backend: Arc<dyn Backend> = Arc::new(Memory::default());
    let root = RootKey::generate();
    let beside = vec![Write::Put("core/plain".to_owned(), b"plain".to_vec())];
    let first = Barrier::begin(backend.clone(), &root, beside);
    first.at("t/").put("a", "1");
    assert!(first.is_changed());
    assert!(backend.list("", "", 10).await.unwrap().is_empty());
    first.commit().await.unwrap();
    assert_eq!(backend.get("core/plain").await.unwrap().unwrap().bytes, b"plain");
    let opened = Barrier::open(backend.clone(), &root).await.unwrap().unwrap();
    assert_eq!(read(&opened, "a").await.as_deref(), Some("1"));
    let late = Barrier::begin(backend, &RootKey::generate(), Vec::new());
    late.at("t/").put("a", "2");
    assert!(matches!(late.commit().await, Err(Error::Conflict)));
    assert_eq!(read(&opened, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn rotation_keeps_what_was_sealed_before_readable() {
    let (backend, root, barrier) = fresh().await;
    put(&barrier, "a", "1").await;
    assert_eq!(barrier.key_status().term, 1);
    for term in 2..5 {
        assert_eq!(barrier.rotate().await.unwrap().term, term);
        put(&barrier, &term.to_string(), "x").await;
        // The value, and the count itself.
        assert_eq!(barrier.key_status().encryptions, 2);
    }
    let term_of = async |key: &str| {
        let bytes = backend.get(&format!("t/{key}")).await.unwrap().unwrap().bytes;
        u32::from_be_bytes(bytes[1..5].try_into().unwrap())
    };
    assert_eq!((term_of("a").await, term_of("4").await), (1, 4));
    let again = Barrier::open(backend.clone(), &root).await.unwrap().unwrap();
    for key in ["a", "2", "3", "4"] {
        assert!(read(&again, key).await.is_some());
    }
    assert_eq!(again.key_status().term, 4);
}

#[tokio::test]
async fn rotations_at_once_each_make_a_term() {
    let (backend, root, barrier) = fresh().await;
    let rotations = (0..6).map(|number| {
        let barrier = barrier.clone();
        tokio::spawn(async move {
            barrier.rotate().await.unwrap();
            put(&barrier, &number.to_string(), "x").await;
        })
    });
    for rotation in rotations.collect::<Vec<_>>() {
        rotation.await.unwrap();
    }
    let again = Barrier::open(backend, &root).await.unwrap().unwrap();
    assert_eq!(again.key_status().term, 7);
    for number in 0..6 {
        assert_eq!(read(&again, &number.to_string()).await.as_deref(), Some("x"));
    }
}

#[tokio::test]
async fn another_root_key_takes_over_the_same_keys() {
    let (backend, root, barrier) = fresh().await;
    put(&barrier, "a", "1").await;
    let new = RootKey::generate();
    assert!(barrier.is_root_key(&root).await.unwrap());
    assert!(!barrier.is_root_key(&new).await.unwrap());
    barrier.rekey(&new, Vec::new()).await.unwrap();
    assert!(barrier.is_root_key(&new).await.unwrap());
    // What is rotated later is rotated for the new one.
    assert_eq!(barrier.rotate().await.unwrap().term, 2);
    assert!(Barrier::open(backend.clone(), &root).await.unwrap().is_none());
    let opened = Barrier::open(backend, &new).await.unwrap().unwrap();
    assert_eq!(read(&opened, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_wiped_keyring_never_takes_the_place_of_the_stored_one() {
    let (backend, root, barrier) = fresh().await;
    barrier.wipe();
    assert!(matches!(barrier.rotate().await, Err(Error::Unavailable(_))));
    let outcome = barrier.rekey(&RootKey::generate(), Vec::new()).await;
    assert!(matches!(outcome, Err(Error::Unavailable(_))));
    assert!(Barrier::open(backend, &root).await.unwrap().is_some());
}

#[tokio::test]
async fn a_wiped_barrier_neither_reads_nor_writes() {
    let (backend, root, barrier) = fresh().await;
    put(&barrier, "a", "1").await;
    let names = barrier.view("t/");
    names.names("n").put("x/y", &1).await.unwrap();
    names.commit().await.unwrap();
    let code = barrier.fingerprint("p", b"text");
    barrier.wipe();
    assert!(matches!(barrier.view("t/").get::<String>("a").await, Err(Error::Unavailable(_))));
    let view = barrier.view("t/");
    view.put("a", "2");
    assert!(matches!(view.commit().await, Err(Error::Unavailable(_))));
    assert_ne!(barrier.fingerprint("p", b"text"), code);
    assert!(names.names("n").list("", "", 10).await.unwrap_or_default().is_empty());
    let again = Barrier::open(backend, &root).await.unwrap().unwrap();
    assert_eq!(read(&again, "a").await.as_deref(), Some("1"));
    assert_eq!(again.fingerprint("p", b"text"), code);
}

#[tokio::test]
async fn a_damaged_keyring_is_told_from_a_wrong_key() {
    let (backend, root, _) = fresh().await;
    let stored = backend.get(KEYRING_KEY).await.unwrap().unwrap().bytes;
    for damaged in [Vec::new(), vec![9; 40]] {
        let writes = vec![Write::Put(KEYRING_KEY.to_owned(), damaged)];
        backend.commit(&Batch { expects: Vec::new(), writes }).await.unwrap();
        assert!(matches!(Barrier::open(backend.clone(), &root).await, Err(Error::Corrupt(_))));
    }
    let mut flipped = stored;
    flipped[20] ^= 1;
    let writes = vec![Write::Put(KEYRING_KEY.to_owned(), flipped)];
    backend.commit(&Batch { expects: Vec::new(), writes }).await.unwrap();
    assert!(Barrier::open(backend, &root).await.unwrap().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_value_opens_at_its_place_and_nowhere_else_and_only_unchanged(
        plain in proptest::collection::vec(any::<u8>(), 0..200),
        place in "[a-z/]{1,20}",
        other in "[a-z/]{1,20}",
        flip in any::<prop::sample::Index>(),
    ) {
        let keyring = Keyring::generate();
        let sealed = keyring.seal(&place, &plain).unwrap();
        let opened = keyring.unseal(&place, &sealed).unwrap();
        prop_assert_eq!(opened.as_slice(), plain.as_slice());
        prop_assert_eq!(keyring.unseal(&other, &sealed).is_ok(), other == place);
        let mut broken = sealed.clone();
        let position = flip.index(broken.len());
        broken[position] ^= 1;
        prop_assert!(keyring.unseal(&place, &broken).is_err());
        prop_assert!(keyring.unseal(&place, &sealed[..position]).is_err());
        prop_assert!(Keyring::generate().unseal(&place, &sealed).is_err());
        // Twice the same is not the same in storage.
        prop_assert_ne!(keyring.seal(&place, &plain).unwrap(), sealed);
    }
}

#[tokio::test]
async fn no_restart_forgets_how_much_a_key_has_sealed() {
    let (backend, root, barrier) = fresh().await;
    for number in 0..10 {
        put(&barrier, "a", &number.to_string()).await;
    }
    barrier.note_usage().await.unwrap();
    put(&barrier, "a", "not noted").await;
    let before = barrier.key_status();
    let again = Barrier::open(backend.clone(), &root).await.unwrap().unwrap();
    let status = again.key_status();
    assert!(status.encryptions >= 10 && status.encryptions <= before.encryptions, "{status:?}");
    assert!(status.encryptions_max >= before.encryptions, "{status:?}");
    // What is counted ahead is counted once as long as it lasts.
    let entry = async || backend.get(USAGE_KEY).await.unwrap().unwrap().revision;
    again.note_usage().await.unwrap();
    let first = entry().await;
    again.note_usage().await.unwrap();
    assert_eq!(entry().await, first);
    // A new key begins anew, also after a restart.
    again.rotate().await.unwrap();
    let third = Barrier::open(backend.clone(), &root).await.unwrap().unwrap();
    assert!(third.key_status().encryptions < 5);
    assert!(third.key_status().encryptions_max <= USAGE_STEP + 5);
    // A count that cannot be read is not taken for little.
    let broken = Write::Put(USAGE_KEY.to_owned(), b"nonsense".to_vec());
    let batch = Batch { expects: Vec::new(), writes: vec![broken] };
    backend.commit(&batch).await.unwrap();
    let fourth = Barrier::open(backend, &root).await.unwrap().unwrap();
    assert_eq!(fourth.key_status().encryptions_max, u64::MAX);
}
