use super::*;
use crate::{
    Expect, Write,
    testing::{Faulty, backup_under_writes, check_backend, check_backup},
};
use futures_util::{FutureExt, future::join_all};
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn put(key: &str, value: &str) -> Batch {
    let write = Write::Put(key.to_owned(), value.as_bytes().to_vec());
    Batch { expects: Vec::new(), writes: vec![write] }
}

fn mode(path: PathBuf) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn names(path: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|it| name(it).into_string().unwrap()).collect();
    names.sort();
    names
}

fn refusal(path: &Path) -> String {
    Embedded::open_within(path, Duration::ZERO).unwrap_err().to_string()
}

#[tokio::test]
async fn embedded_keeps_the_backend_contract() {
    let folder = folder();
    check_backend(&Embedded::open(folder.path()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_keeps_the_contract_on_several_threads_behind_faulty() {
    let folder = folder();
    check_backend(&Faulty::new(Arc::new(Embedded::open(folder.path()).unwrap()))).await;
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let folder = folder();
    let path = folder.path().join("new/data");
    let storage = Embedded::open(&path).unwrap();
    let first = storage.commit(&put("a", "1")).await.unwrap();
    storage.close().await;
    let storage = Embedded::open(&path).unwrap();
    let entry = storage.get("a").await.unwrap().unwrap();
    assert_eq!(entry, Entry { bytes: b"1".to_vec(), revision: first });
    storage
        .commit(&Batch { expects: Vec::new(), writes: vec![Write::Delete("a".into())] })
        .await
        .unwrap();
    drop(storage);
    let storage = Embedded::open(&path).unwrap();
    assert_eq!(storage.get("a").await.unwrap(), None, "a drop lands what was acknowledged");
    let later = storage.commit(&put("a", "2")).await.unwrap();
    assert!(later.0 > first.0 + 1, "no revision is given twice, even of a deleted key");
}

#[tokio::test]
async fn folder_and_files_are_private_and_closing_leaves_no_log() {
    let folder = folder();
    let path = folder.path().join("outer/data");
    let storage = Embedded::open(&path).unwrap();
    storage.commit(&put("a", "1")).await.unwrap();
    assert_eq!(mode(path.clone()), 0o700);
    assert_eq!(mode(folder.path().join("outer")), 0o700);
    assert_eq!(names(&path), ["bailee.db", "bailee.db-shm", "bailee.db-wal", "lock"]);
    for name in names(&path) {
        assert_eq!(mode(path.join(&name)), 0o600, "{name}");
    }
    storage.close().await;
    let log = fs::metadata(path.join("bailee.db-wal")).map_or(0, |about| about.len());
    assert_eq!(log, 0, "the log is folded in");
}

#[test]
fn a_folder_of_another_server_is_refused_and_left_alone() {
    for (name, is_folder) in [
        ("vault.db", false),
        ("raft", true),
        ("core", true),
        ("sys", true),
        ("logical", true),
        ("_migration", false),
    ] {
        let folder = folder();
        let path = folder.path();
        match is_folder {
            true => fs::create_dir(path.join(name)).unwrap(),
            false => fs::write(path.join(name), "x").unwrap(),
        }
        let message = refusal(path);
        assert!(message.contains(name) && message.contains("empty folder"), "{message}");
        assert_eq!(names(path), [name], "nothing is added");
    }
}

#[test]
fn an_ordinary_file_beside_ours_is_fine() {
    let folder = folder();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    fs::write(folder.path().join("core"), "a core dump").unwrap();
    Embedded::open(folder.path()).unwrap();
}

#[tokio::test]
async fn a_folder_in_use_is_refused_and_free_after_closing() {
    let folder = folder();
    let storage = Embedded::open(folder.path()).unwrap();
    assert!(refusal(folder.path()).contains("in use by another process"));
    storage.close().await;
    Embedded::open_within(folder.path(), Duration::ZERO).unwrap().close().await;
}

#[tokio::test]
async fn a_newer_format_is_refused_and_not_changed() {
    let folder = folder();
    Embedded::open(folder.path()).unwrap().close().await;
    let database = folder.path().join("bailee.db");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.execute_batch("UPDATE format SET version = 2").unwrap();
    drop(connection);
    let before = fs::read(&database).unwrap();
    let message = refusal(folder.path());
    assert!(message.contains("format 2") && message.contains("newer version"), "{message}");
    assert!(fs::read(&database).unwrap() == before);
}

#[test]
fn a_database_of_another_program_is_refused() {
    let folder = folder();
    let connection = rusqlite::Connection::open(folder.path().join("bailee.db")).unwrap();
    connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(connection);
    assert!(refusal(folder.path()).contains("of another program"));
}

#[test]
fn bytes_that_are_no_database_are_corrupt() {
    let folder = folder();
    fs::write(folder.path().join("bailee.db"), "not a database at all, ".repeat(400)).unwrap();
    let error = Embedded::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
}

#[test]
fn a_log_without_its_file_is_not_taken_for_a_new_start() {
    let folder = folder();
    fs::write(folder.path().join("bailee.db-wal"), "x").unwrap();
    let error = Embedded::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
}

#[tokio::test]
async fn a_file_that_was_made_but_never_filled_is_a_new_start() {
    let folder = folder();
    fs::write(folder.path().join("bailee.db"), "").unwrap();
    let storage = Embedded::open(folder.path()).unwrap();
    storage.commit(&put("a", "1")).await.unwrap();
}

#[tokio::test]
async fn a_backup_under_writes_opens_as_one_consistent_state() {
    let folder = folder();
    let storage = Embedded::open(folder.path()).unwrap();
    let copy = backup_under_writes(&storage).await;
    let left = names(folder.path());
    assert!(!left.iter().any(|name| name.contains("copy")), "{left:?}");

    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("bailee.db"), copy).unwrap();
    let restored = Embedded::open(elsewhere.path()).unwrap();
    check_backup(&restored).await;
    restored.commit(&put("a", "1")).await.unwrap();
}

#[tokio::test]
async fn copies_left_by_a_crash_are_removed_on_opening() {
    let folder = folder();
    fs::write(folder.path().join("bailee.db-copy-3"), "half").unwrap();
    fs::write(folder.path().join("backup-of-monday.db"), "the operator's").unwrap();
    Embedded::open(folder.path()).unwrap().close().await;
    assert!(names(folder.path()).contains(&"backup-of-monday.db".to_owned()));
    assert!(!names(folder.path()).contains(&"bailee.db-copy-3".to_owned()));
}

#[tokio::test]
async fn a_commit_nobody_waits_for_lands_whole_or_not_at_all() {
    let folder = folder();
    let storage = Embedded::open(folder.path()).unwrap();
    for number in 0..200 {
        let mut batch = put(&format!("left/{number:03}"), "x");
        batch.writes.extend(put(&format!("right/{number:03}"), "x").writes);
        // Polled once, which queues it, and then given up; yielding renews tokio's budget for that.
        tokio::task::yield_now().await;
        assert!(storage.commit(&batch).now_or_never().is_none_or(|outcome| outcome.is_ok()));
    }
    // The queue is in order, so behind this one all of them are decided.
    storage.commit(&put("end", "x")).await.unwrap();
    let left = storage.list("left/", "", usize::MAX).await.unwrap();
    let right = storage.list("right/", "", usize::MAX).await.unwrap();
    assert_eq!(left, right);
    assert_eq!(left.len(), 200, "there was room in the queue for each");
}

#[tokio::test]
async fn batches_of_one_group_are_judged_one_by_one() {
    let folder = folder();
    let storage = Embedded::open(folder.path()).unwrap();
    let first = storage.commit(&put("a", "0")).await.unwrap();
    let batches: Vec<Batch> = (0..100)
        .map(|number| {
            let expects = match number % 2 {
                0 => Vec::new(),
                _ => vec![Expect::At("a".to_owned(), Revision(first.0 + 1_000_000_000))],
            };
            Batch { expects, ..put(&format!("b/{number:02}"), "x") }
        })
        .collect();
    let outcomes = join_all(batches.iter().map(|batch| storage.commit(batch))).await;
    let mut last = first;
    for (number, outcome) in outcomes.into_iter().enumerate() {
        match number % 2 {
            0 => {
                let revision = outcome.unwrap();
                assert!(revision > last);
                last = revision;
            }
            _ => assert!(matches!(outcome, Err(Error::Conflict))),
        }
    }
    assert_eq!(storage.list("b/", "", usize::MAX).await.unwrap().len(), 50);
}

#[tokio::test]
async fn large_batches_in_one_go_all_land() {
    let folder = folder();
    let storage = Embedded::open(folder.path()).unwrap();
    let batches: Vec<Batch> =
        (0..12).map(|number| put(&format!("large/{number:02}"), &"v".repeat(1 << 20))).collect();
    for outcome in join_all(batches.iter().map(|batch| storage.commit(batch))).await {
        outcome.unwrap();
    }
    let entries: Vec<_> = storage.scan("large/", "").try_collect().await.unwrap();
    assert_eq!(entries.len(), 12);
    assert!(entries.iter().all(|(_, entry)| entry.bytes.len() == 1 << 20));
}

#[tokio::test]
async fn scans_beyond_the_bound_wait_for_others_to_end() {
    let folder = folder();
    let storage = Embedded::open(folder.path()).unwrap();
    for number in 0..200 {
        storage.commit(&put(&format!("s/{number:03}"), "x")).await.unwrap();
    }
    let mut open = Vec::new();
    for _ in 0..schema::SNAPSHOT_READERS_MAX {
        let mut scan = storage.scan("s/", "");
        scan.next().await.unwrap().unwrap();
        open.push(scan);
    }
    let mut waiting = storage.list("s/", "", usize::MAX);
    assert!((&mut waiting).now_or_never().is_none(), "all snapshots are taken");
    storage.get("s/000").await.unwrap().expect("single keys do not wait");
    storage.commit(&put("s/000", "y")).await.unwrap();
    drop(open.pop());
    assert_eq!(waiting.await.unwrap().len(), 200);
}

#[tokio::test]
async fn a_full_database_refuses_the_batch_and_takes_the_next_that_fits() {
    let folder = folder();
    Embedded::open(folder.path()).unwrap().close().await;
    let mut writer = bare_writer(folder.path());
    writer.connection.execute_batch("PRAGMA max_page_count = 40").unwrap();
    let (job, large) = job(put("large", &"x".repeat(1 << 20)));
    let (beside, small) = self::job(put("small", "x"));
    writer.land(vec![job, beside]);
    assert!(matches!(large.await.unwrap(), Err(Error::Full)));
    small.await.unwrap().expect("the batch beside it lands");
    let (job, next) = self::job(put("next", "x"));
    writer.land(vec![job]);
    next.await.unwrap().expect("a full disk does not stop the writer");
}

#[tokio::test]
async fn after_a_stop_writes_are_refused_and_reads_go_on() {
    let folder = folder();
    let storage = Embedded::open(folder.path()).unwrap();
    storage.commit(&put("a", "1")).await.unwrap();
    storage.close().await;
    let mut writer = bare_writer(folder.path());
    writer.health.stop_writes(&Error::Unavailable("disk".to_owned()));
    let (job, outcome) = job(put("a", "2"));
    writer.land(vec![job]);
    let error = outcome.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("opened again") && error.contains("disk"), "{error}");
    let readers = Readers::open(Arc::clone(&writer.folder)).unwrap();
    assert_eq!(readers.get("a").unwrap().unwrap().bytes, b"1");
}

fn job(batch: Batch) -> (Job, oneshot::Receiver<Result<Revision, Error>>) {
    let (answer, outcome) = oneshot::channel();
    (Job { batch, answer }, outcome)
}

/// A writer without its thread.
fn bare_writer(path: &Path) -> Writer {
    let folder = Arc::new(Folder::claim(path, Duration::ZERO).unwrap());
    let mut connection = schema::connect(&folder.database(), schema::Role::Writer).unwrap();
    let revision = schema::prepare(&mut connection, &folder.database()).unwrap();
    let health = Arc::new(Health::default());
    let checkpointer = Checkpointer::start(Arc::clone(&folder), Arc::clone(&health)).unwrap();
    let feed = Feed::default();
    let jobs = mpsc::channel(1).1;
    Writer { jobs, connection, checkpointer, health, feed, folder, revision, ceiling: revision }
}
