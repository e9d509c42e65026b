//! What every backend must do, as one suite.

use crate::{
    Backend, Batch, Change, Entry, Error, Expect, KEY_BYTES_MAX, Revision, VALUE_BYTES_MAX, Write,
};
use futures_util::{StreamExt, TryStreamExt, future::join_all};

/// Runs the whole contract of [`Backend`] on an empty one, and leaves it full of keys.
pub async fn check_backend(backend: &dyn Backend) {
    an_empty_backend_has_nothing(backend).await;
    a_value_reads_back_as_written(backend).await;
    an_overwritten_value_has_the_newer_revision(backend).await;
    the_empty_prefix_means_everything(backend).await;
    a_batch_has_one_revision_and_revisions_grow(backend).await;
    a_revision_is_not_given_again_after_a_delete(backend).await;
    deleting_what_is_absent_is_fine(backend).await;
    an_empty_batch_only_checks(backend).await;

    list_gives_sorted_children_once(backend).await;
    a_key_that_is_also_a_folder_is_given_twice(backend).await;
    list_pages_through_everything(backend).await;
    list_starts_after_names_that_do_not_exist(backend).await;
    keys_around_the_slash_keep_byte_order(backend).await;
    unicode_keys_are_kept_in_byte_order(backend).await;
    a_prefix_does_not_reach_into_its_neighbours(backend).await;

    scan_gives_entries_in_key_order(backend).await;
    scan_goes_on_after_a_key(backend).await;
    scan_sees_one_state_while_writes_go_on(backend).await;
    a_scan_given_up_early_disturbs_nothing(backend).await;

    absent_and_at_hold_or_refuse(backend).await;
    a_refused_batch_changes_nothing(backend).await;
    of_many_that_expect_absence_one_wins(backend).await;
    guarded_increments_lose_no_update(backend).await;
    an_expectation_may_guard_a_key_the_batch_does_not_write(backend).await;

    sizes_up_to_the_limit_are_taken(backend).await;
    sizes_over_the_limit_are_refused_whole(backend).await;

    changes_name_the_keys_of_a_commit(backend).await;
    a_refused_batch_is_not_told(backend).await;
    a_restore_that_ends_early_changes_nothing(backend).await;
    a_restore_replaces_everything_at_once(backend).await;
    let copy = backup_under_writes(backend).await;
    assert!(!copy.is_empty(), "a backup of a backend with entries has bytes");
}

/// Takes a backup while batches land, for [`check_backup`] on a backend opened from it.
pub async fn backup_under_writes(backend: &dyn Backend) -> Vec<u8> {
    let write = async |number: u32| {
        let value = number.to_string();
        let each = format!("copy/each/{number:04}");
        let batch = puts(&[("copy/left", &value), ("copy/right", &value), (&each, &value)]);
        commit(backend, &batch).await;
    };
    write(0).await;
    let writes = async {
        for number in 1..200 {
            write(number).await;
        }
    };
    let copy = async {
        let mut bytes = Vec::new();
        backend.backup(&mut bytes).await.expect("a backup succeeds while writes go on");
        bytes
    };
    tokio::join!(writes, copy).1
}

/// Checks that what was opened from the result of [`backup_under_writes`] is one consistent state.
pub async fn check_backup(restored: &dyn Backend) {
    let left = text(restored, "copy/left").await.expect("the copy has what was there before it");
    let right = text(restored, "copy/right").await;
    assert_eq!(Some(&left), right.as_ref(), "a batch is in the copy whole");
    let last: u32 = left.parse().expect("the value is a number");
    let wanted: Vec<_> = (0..=last).map(|number| format!("copy/each/{number:04}")).collect();
    let found: Vec<_> = scan(restored, "copy/each/", "").await.into_iter().map(|it| it.0).collect();
    assert_eq!(found, wanted, "the copy has every batch up to one, and none after it");
}

async fn a_restore_that_ends_early_changes_nothing(backend: &dyn Backend) {
    commit(backend, &put("restore/old", "old")).await;
    let before = scan(backend, "", "").await;
    let bad = [
        Err(Error::Unavailable("the copy cannot be read".to_owned())),
        Ok(("restore/large".to_owned(), vec![0; VALUE_BYTES_MAX + 1])),
        Ok(("k".repeat(KEY_BYTES_MAX + 1), Vec::new())),
    ];
    for last in bad {
        let many = (0..3000).map(|number| Ok((format!("restore/new/{number:05}"), vec![7; 1000])));
        let entries = futures_util::stream::iter(many.chain([last])).boxed();
        assert!(backend.restore(entries).await.is_err());
        assert_eq!(scan(backend, "", "").await, before);
    }
    commit(backend, &put("restore/old", "as ever")).await;
}

async fn a_restore_replaces_everything_at_once(backend: &dyn Backend) {
    let before = commit(backend, &put("restore/old", "old")).await;
    let entry = |number: u32| (format!("restore/new/{number:05}"), vec![7; 1000]);
    let entries = futures_util::stream::iter((0..3000).map(|number| Ok(entry(number)))).boxed();
    let revision = backend.restore(entries).await.expect("a restore succeeds");
    assert!(revision > before, "{revision:?} follows {before:?}");
    let found = scan(backend, "", "").await;
    let wanted: Vec<_> = (0..3000)
        .map(|number| {
            let (key, bytes) = entry(number);
            (key, Entry { bytes, revision })
        })
        .collect();
    assert!(found == wanted, "exactly the restored entries are there");
    // It goes on from there, and nothing that was known before holds.
    let stale = Batch {
        expects: vec![Expect::At("restore/old".to_owned(), before)],
        writes: vec![Write::Put("restore/old".to_owned(), b"back".to_vec())],
    };
    assert!(matches!(backend.commit(&stale).await, Err(Error::Conflict)));
    assert!(commit(backend, &put("restore/later", "x")).await > revision);
    let none = futures_util::stream::iter(Vec::new()).boxed();
    backend.restore(none).await.expect("nothing can be restored too");
    assert_eq!(scan(backend, "", "").await, []);
    commit(backend, &put("full", "of keys")).await;
}

async fn an_empty_backend_has_nothing(backend: &dyn Backend) {
    assert_eq!(backend.get("nothing").await.expect("get"), None);
    assert_eq!(list(backend, "", "").await, [""; 0], "the suite needs an empty backend");
    assert_eq!(scan(backend, "", "").await, []);
    assert_eq!(list(backend, "nothing/", "").await, [""; 0]);
}

async fn a_value_reads_back_as_written(backend: &dyn Backend) {
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    for (key, value) in [("value/bytes", every_byte), ("value/empty", Vec::new())] {
        let batch =
            Batch { expects: Vec::new(), writes: vec![Write::Put(key.to_owned(), value.clone())] };
        let revision = commit(backend, &batch).await;
        let entry = backend.get(key).await.expect("get");
        assert_eq!(entry, Some(Entry { bytes: value, revision }), "{key}");
    }
    assert_eq!(backend.get("value").await.expect("get"), None, "a folder has no value");
    assert_eq!(backend.get("value/").await.expect("get"), None);
    assert_eq!(backend.get("value/byte").await.expect("get"), None);
}

async fn an_overwritten_value_has_the_newer_revision(backend: &dyn Backend) {
    commit(backend, &put("overwrite", "old")).await;
    let second = commit(backend, &put("overwrite", "new")).await;
    let entry = backend.get("overwrite").await.expect("get");
    assert_eq!(entry, Some(Entry { bytes: b"new".to_vec(), revision: second }));
}

async fn the_empty_prefix_means_everything(backend: &dyn Backend) {
    assert_eq!(list(backend, "", "").await, ["overwrite", "value/"]);
    assert_eq!(list(backend, "", "overwrite").await, ["value/"]);
    let keys: Vec<_> = scan(backend, "", "").await.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["overwrite", "value/bytes", "value/empty"]);
}

async fn a_batch_has_one_revision_and_revisions_grow(backend: &dyn Backend) {
    let mut last = Revision(0);
    for round in 0..5 {
        let value = round.to_string();
        let revision = commit(backend, &puts(&[("one/a", &value), ("one/b", &value)])).await;
        assert!(revision > last, "{revision:?} follows {last:?}");
        for key in ["one/a", "one/b"] {
            assert_eq!(revision_of(backend, key).await, Some(revision));
        }
        last = revision;
    }
}

async fn a_revision_is_not_given_again_after_a_delete(backend: &dyn Backend) {
    let first = commit(backend, &put("again", "1")).await;
    let deleted = commit(backend, &delete("again")).await;
    let second = commit(backend, &put("again", "1")).await;
    assert!(first < deleted && deleted < second);
    let guarded = expecting(Expect::At("again".to_owned(), first), "again", "2");
    assert_conflict(backend, &guarded).await;
}

async fn deleting_what_is_absent_is_fine(backend: &dyn Backend) {
    commit(backend, &delete("absent/never")).await;
    commit(backend, &put("absent/once", "1")).await;
    commit(backend, &delete("absent/once")).await;
    commit(backend, &delete("absent/once")).await;
    assert_eq!(list(backend, "absent/", "").await, [""; 0], "an empty folder is no folder");
}

async fn an_empty_batch_only_checks(backend: &dyn Backend) {
    let before = commit(backend, &Batch::default()).await;
    let absent = Expect::Absent("empty".to_owned());
    let after = commit(backend, &Batch { expects: vec![absent], writes: Vec::new() }).await;
    assert!(after > before);
    let at = Expect::At("empty".to_owned(), after);
    assert_conflict(backend, &Batch { expects: vec![at], writes: Vec::new() }).await;
}

async fn list_gives_sorted_children_once(backend: &dyn Backend) {
    for key in ["list/b/2", "list/c", "list/b/1", "list/a", "list/b/deep/er", "list/d/only"] {
        commit(backend, &put(key, "x")).await;
    }
    assert_eq!(list(backend, "list/", "").await, ["a", "b/", "c", "d/"]);
    assert_eq!(list(backend, "list/b/", "").await, ["1", "2", "deep/"]);
    assert_eq!(list(backend, "list/c/", "").await, [""; 0], "a leaf has no children");
    assert_eq!(backend.list("list/", "", 0).await.expect("list"), [""; 0]);
}

async fn a_key_that_is_also_a_folder_is_given_twice(backend: &dyn Backend) {
    for key in ["both/a", "both/a/b", "both/a.", "both/a0"] {
        commit(backend, &put(key, "x")).await;
    }
    assert_eq!(list(backend, "both/", "").await, ["a", "a.", "a/", "a0"]);
    assert_eq!(list(backend, "both/", "a").await, ["a.", "a/", "a0"]);
    assert_eq!(list(backend, "both/", "a.").await, ["a/", "a0"]);
    assert_eq!(list(backend, "both/", "a/").await, ["a0"]);
    assert_eq!(list(backend, "both/a/", "").await, ["b"]);
}

async fn list_pages_through_everything(backend: &dyn Backend) {
    let names: Vec<String> = (0..300).map(|number| format!("{number:04}")).collect();
    let keys: Vec<String> = names
        .iter()
        .enumerate()
        .flat_map(|(at, name)| match at % 3 {
            0 => vec![format!("pages/{name}")],
            1 => vec![format!("pages/{name}/x")],
            _ => vec![format!("pages/{name}/x"), format!("pages/{name}/y")],
        })
        .collect();
    for some in keys.chunks(100) {
        let pairs: Vec<_> = some.iter().map(|key| (key.as_str(), "x")).collect();
        commit(backend, &puts(&pairs)).await;
    }
    let whole = list(backend, "pages/", "").await;
    assert_eq!(whole.len(), names.len());
    assert!(whole.is_sorted());
    for size in [1, 7, 100, 299, 300, 301] {
        let (mut paged, mut after) = (Vec::new(), String::new());
        loop {
            let page = backend.list("pages/", &after, size).await.expect("list");
            assert!(page.len() <= size);
            let Some(last) = page.last() else { break };
            after = last.clone();
            paged.extend(page);
        }
        assert_eq!(paged, whole, "pages of {size}");
    }
}

async fn list_starts_after_names_that_do_not_exist(backend: &dyn Backend) {
    for key in ["after/b", "after/d/x", "after/d/z", "after/f"] {
        commit(backend, &put(key, "x")).await;
    }
    assert_eq!(list(backend, "after/", "a").await, ["b", "d/", "f"]);
    assert_eq!(list(backend, "after/", "c").await, ["d/", "f"]);
    assert_eq!(list(backend, "after/", "d").await, ["d/", "f"]);
    assert_eq!(list(backend, "after/", "d/y").await, ["f"], "the folder sorts before its keys");
    assert_eq!(list(backend, "after/", "g").await, [""; 0]);
}

async fn keys_around_the_slash_keep_byte_order(backend: &dyn Backend) {
    // In byte order: space ! - . / 0 A a ~
    let keys = ["k ", "k!", "k-/x", "k.", "k./y", "k/0", "k/x", "k0", "k0/z", "kA", "ka", "k~"];
    let keys: Vec<String> = keys.iter().map(|key| format!("slash/{key}")).collect();
    for key in keys.iter().rev() {
        commit(backend, &put(key, "x")).await;
    }
    let found: Vec<_> = scan(backend, "slash/", "").await.into_iter().map(|it| it.0).collect();
    assert_eq!(found, keys);
    let children = ["k ", "k!", "k-/", "k.", "k./", "k/", "k0", "k0/", "kA", "ka", "k~"];
    assert_eq!(list(backend, "slash/", "").await, children);
    for (at, child) in children.iter().enumerate() {
        let rest: Vec<_> = children.iter().skip(at + 1).collect();
        assert_eq!(list(backend, "slash/", child).await.iter().collect::<Vec<_>>(), rest);
    }
}

async fn unicode_keys_are_kept_in_byte_order(backend: &dyn Backend) {
    // The last two sort the other way round as UTF-16.
    let names = ["a", "z", "ß/x", "é", "漢字/x", "\u{fb01}", "🗝"];
    for name in names {
        commit(backend, &put(&format!("unicode/{name}"), name)).await;
    }
    let children = ["a", "z", "ß/", "é", "漢字/", "\u{fb01}", "🗝"];
    assert_eq!(list(backend, "unicode/", "").await, children);
    assert_eq!(list(backend, "unicode/", "漢字/").await, ["\u{fb01}", "🗝"]);
    assert_eq!(list(backend, "unicode/漢字/", "").await, ["x"]);
    assert_eq!(text(backend, "unicode/🗝").await.as_deref(), Some("🗝"));
    let found: Vec<_> = scan(backend, "unicode/ß", "").await.into_iter().map(|it| it.0).collect();
    assert_eq!(found, ["unicode/ß/x"]);
}

async fn a_prefix_does_not_reach_into_its_neighbours(backend: &dyn Backend) {
    for key in ["near.", "near/x", "near0", "nearby/x", "nea"] {
        commit(backend, &put(key, "x")).await;
    }
    assert_eq!(list(backend, "near/", "").await, ["x"]);
    let found: Vec<_> = scan(backend, "near/", "").await.into_iter().map(|it| it.0).collect();
    assert_eq!(found, ["near/x"]);
    let found: Vec<_> = scan(backend, "near", "").await.into_iter().map(|it| it.0).collect();
    assert_eq!(found, ["near.", "near/x", "near0", "nearby/x"]);
}

async fn scan_gives_entries_in_key_order(backend: &dyn Backend) {
    let mut wanted = Vec::new();
    for key in ["scan/c", "scan/a/1", "scan/b", "scan/a"] {
        let revision = commit(backend, &put(key, key)).await;
        wanted.push((key.to_owned(), Entry { bytes: key.as_bytes().to_vec(), revision }));
    }
    wanted.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(scan(backend, "scan/", "").await, wanted);
}

async fn scan_goes_on_after_a_key(backend: &dyn Backend) {
    let keys = async |after: &str| -> Vec<String> {
        scan(backend, "scan/", after).await.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(keys("scan/a").await, ["scan/a/1", "scan/b", "scan/c"]);
    assert_eq!(keys("scan/a/").await, ["scan/a/1", "scan/b", "scan/c"]);
    assert_eq!(keys("scan/b").await, ["scan/c"]);
    assert_eq!(keys("scan/c").await, [""; 0]);
    assert_eq!(keys("a").await.len(), 4, "after a key before the prefix");
    assert_eq!(keys("z").await, [""; 0], "after a key behind the prefix");
}

async fn scan_sees_one_state_while_writes_go_on(backend: &dyn Backend) {
    // More than any page a backend may read at once.
    let keys: Vec<String> = (0..3000).map(|number| format!("snapshot/{number:05}")).collect();
    for some in keys.chunks(500) {
        let pairs: Vec<_> = some.iter().map(|key| (key.as_str(), "old")).collect();
        commit(backend, &puts(&pairs)).await;
    }
    let before = scan(backend, "snapshot/", "").await;
    assert_eq!(before.len(), keys.len());

    let mut scan_under_writes = backend.scan("snapshot/", "");
    let mut seen = vec![scan_under_writes.next().await.expect("an entry").expect("scan")];
    let mut batch = puts(&[("snapshot/00001", "new"), ("snapshot/02000x", "new")]);
    batch.writes.push(Write::Delete("snapshot/02500".to_owned()));
    batch.writes.push(Write::Put("snapshot/02999".to_owned(), b"new".to_vec()));
    commit(backend, &batch).await;
    while let Some(entry) = scan_under_writes.next().await {
        seen.push(entry.expect("scan"));
        if seen.len() == 1500 {
            commit(backend, &put("snapshot/02800", "newer")).await;
        }
    }
    assert!(seen == before, "a scan sees the state of its start");
    let after = scan(backend, "snapshot/", "").await;
    assert_eq!(after.len(), before.len(), "one more and one less");
    assert_eq!(text(backend, "snapshot/02800").await.as_deref(), Some("newer"));
}

async fn a_scan_given_up_early_disturbs_nothing(backend: &dyn Backend) {
    for _ in 0..40 {
        let mut scan = backend.scan("snapshot/", "");
        scan.next().await.expect("an entry").expect("scan");
    }
    // Never polled at all.
    drop(backend.scan("snapshot/", ""));
    commit(backend, &put("given-up", "1")).await;
    assert_eq!(text(backend, "given-up").await.as_deref(), Some("1"));
}

async fn absent_and_at_hold_or_refuse(backend: &dyn Backend) {
    let absent = Expect::Absent("guard/a".to_owned());
    let first = commit(backend, &expecting(absent.clone(), "guard/a", "1")).await;
    assert_conflict(backend, &expecting(absent, "guard/a", "2")).await;

    let second =
        commit(backend, &expecting(Expect::At("guard/a".to_owned(), first), "guard/a", "2")).await;
    for wrong in [first, Revision(second.0 + 1), Revision(0), Revision(u64::MAX)] {
        let stale = expecting(Expect::At("guard/a".to_owned(), wrong), "guard/a", "3");
        assert_conflict(backend, &stale).await;
    }
    let missing = expecting(Expect::At("guard/none".to_owned(), second), "guard/a", "3");
    assert_conflict(backend, &missing).await;
    assert_eq!(text(backend, "guard/a").await.as_deref(), Some("2"));
    let folder = Expect::Absent("guard".to_owned());
    commit(backend, &expecting(folder, "guard/b", "a folder is not a value")).await;
}

async fn a_refused_batch_changes_nothing(backend: &dyn Backend) {
    commit(backend, &puts(&[("refused/a", "1"), ("refused/b", "1")])).await;
    let before = scan(backend, "refused/", "").await;
    let batch = Batch {
        expects: vec![
            Expect::Absent("refused/new".to_owned()),
            Expect::At("refused/a".to_owned(), Revision(0)),
        ],
        writes: vec![
            Write::Put("refused/new".to_owned(), b"2".to_vec()),
            Write::Put("refused/a".to_owned(), b"2".to_vec()),
            Write::Delete("refused/b".to_owned()),
        ],
    };
    assert_conflict(backend, &batch).await;
    assert_eq!(scan(backend, "refused/", "").await, before);
}

async fn of_many_that_expect_absence_one_wins(backend: &dyn Backend) {
    let batches: Vec<Batch> = (0..32)
        .map(|number: u32| {
            let mut batch = puts(&[("race/key", &number.to_string())]);
            batch.writes.push(Write::Put(format!("race/by/{number:02}"), Vec::new()));
            batch.expects.push(Expect::Absent("race/key".to_owned()));
            batch
        })
        .collect();
    let outcomes = join_all(batches.iter().map(|batch| backend.commit(batch))).await;
    let winners: Vec<usize> = outcomes
        .iter()
        .enumerate()
        .filter_map(|(number, outcome)| match outcome {
            Ok(_) => Some(number),
            Err(Error::Conflict) => None,
            Err(error) => panic_with(error),
        })
        .collect();
    let [winner] = winners.as_slice() else { panic_with(&format!("winners: {winners:?}")) };
    assert_eq!(text(backend, "race/key").await, Some(winner.to_string()));
    assert_eq!(list(backend, "race/by/", "").await, [format!("{winner:02}")]);
}

async fn guarded_increments_lose_no_update(backend: &dyn Backend) {
    commit(backend, &put("count", "0")).await;
    let increment = async || {
        let mut landed = 0;
        while landed < 10 {
            let entry = backend.get("count").await.expect("get").expect("the count is there");
            let count: u32 = String::from_utf8_lossy(&entry.bytes).parse().expect("a number");
            let guard = Expect::At("count".to_owned(), entry.revision);
            match backend.commit(&expecting(guard, "count", &(count + 1).to_string())).await {
                Ok(_) => landed += 1,
                Err(Error::Conflict) => {}
                Err(error) => panic_with(&error),
            }
        }
    };
    join_all((0..8).map(|_| increment())).await;
    assert_eq!(text(backend, "count").await.as_deref(), Some("80"));
}

async fn an_expectation_may_guard_a_key_the_batch_does_not_write(backend: &dyn Backend) {
    let leader = commit(backend, &put("fence/leader", "node-1")).await;
    let guard = Expect::At("fence/leader".to_owned(), leader);
    commit(backend, &expecting(guard.clone(), "fence/work", "1")).await;
    commit(backend, &put("fence/leader", "node-2")).await;
    assert_conflict(backend, &expecting(guard, "fence/work", "2")).await;
    assert_eq!(text(backend, "fence/work").await.as_deref(), Some("1"));
}

async fn sizes_up_to_the_limit_are_taken(backend: &dyn Backend) {
    let key = format!("size/{}", "k".repeat(KEY_BYTES_MAX - "size/".len()));
    let value = vec![0xa5; VALUE_BYTES_MAX];
    let batch = Batch { expects: Vec::new(), writes: vec![Write::Put(key.clone(), value.clone())] };
    let revision = commit(backend, &batch).await;
    let entry = backend.get(&key).await.expect("get");
    assert!(entry == Some(Entry { bytes: value, revision }), "the largest value reads back");
    let scanned = scan(backend, "size/", "").await;
    assert_eq!(scanned.first().map(|(found, _)| found), Some(&key));
    commit(backend, &delete(&key)).await;
}

async fn sizes_over_the_limit_are_refused_whole(backend: &dyn Backend) {
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    for (large, what) in [
        (Write::Put("large/value".to_owned(), vec![0; VALUE_BYTES_MAX + 1]), "value"),
        (Write::Put(long.clone(), Vec::new()), "key"),
        (Write::Delete(long), "key"),
    ] {
        let mut batch = put("large/beside", "x");
        batch.writes.push(large);
        let refused = backend.commit(&batch).await;
        let as_wanted =
            matches!(refused, Err(Error::TooLarge { what: found, .. }) if found == what);
        assert!(as_wanted, "{what}: {refused:?}");
    }
    assert_eq!(list(backend, "large/", "").await, [""; 0]);
}

async fn changes_name_the_keys_of_a_commit(backend: &dyn Backend) {
    commit(backend, &put("change/before", "x")).await;
    let mut changes = backend.changes();
    let mut batch = put("change/a", "x");
    batch.writes.push(Write::Delete("change/before".to_owned()));
    let revision = commit(backend, &batch).await;
    let next = commit(backend, &put("change/b", "x")).await;

    let mut told = changes.next().await.expect("a change").expect("none was missed");
    told.keys.sort();
    let keys = vec!["change/a".to_owned(), "change/before".to_owned()];
    assert_eq!(told, Change { revision, keys });
    let told = changes.next().await.expect("a change").expect("none was missed");
    assert_eq!(told, Change { revision: next, keys: vec!["change/b".to_owned()] });
}

async fn a_refused_batch_is_not_told(backend: &dyn Backend) {
    let mut changes = backend.changes();
    let wrong = Expect::At("change/a".to_owned(), Revision(0));
    assert_conflict(backend, &expecting(wrong, "change/refused", "x")).await;
    let revision = commit(backend, &put("change/landed", "x")).await;
    let told = changes.next().await.expect("a change").expect("none was missed");
    assert_eq!(told, Change { revision, keys: vec!["change/landed".to_owned()] });
}

fn put(key: &str, value: &str) -> Batch {
    puts(&[(key, value)])
}

fn puts(pairs: &[(&str, &str)]) -> Batch {
    let write =
        |(key, value): &(&str, &str)| Write::Put((*key).to_owned(), value.as_bytes().to_vec());
    Batch { expects: Vec::new(), writes: pairs.iter().map(write).collect() }
}

fn delete(key: &str) -> Batch {
    Batch { expects: Vec::new(), writes: vec![Write::Delete(key.to_owned())] }
}

fn expecting(expect: Expect, key: &str, value: &str) -> Batch {
    Batch { expects: vec![expect], ..put(key, value) }
}

async fn commit(backend: &dyn Backend, batch: &Batch) -> Revision {
    backend.commit(batch).await.expect("the batch lands")
}

async fn assert_conflict(backend: &dyn Backend, batch: &Batch) {
    let outcome = backend.commit(batch).await;
    assert!(matches!(outcome, Err(Error::Conflict)), "{:?}: {outcome:?}", batch.expects);
}

async fn list(backend: &dyn Backend, prefix: &str, after: &str) -> Vec<String> {
    backend.list(prefix, after, usize::MAX).await.expect("list")
}

async fn scan(backend: &dyn Backend, prefix: &str, after: &str) -> Vec<(String, Entry)> {
    backend.scan(prefix, after).try_collect().await.expect("scan")
}

async fn text(backend: &dyn Backend, key: &str) -> Option<String> {
    let entry = backend.get(key).await.expect("get")?;
    Some(String::from_utf8(entry.bytes).expect("the value is text"))
}

async fn revision_of(backend: &dyn Backend, key: &str) -> Option<Revision> {
    Some(backend.get(key).await.expect("get")?.revision)
}

#[expect(clippy::panic, reason = "a suite fails by panicking")]
fn panic_with(what: &dyn std::fmt::Debug) -> ! {
    panic!("unexpected: {what:?}")
}
