//! This test binary, run again as a process of its own that may be killed.

use crate::workload;
use bailee_storage::{Backend, Batch, Error, Write, embedded::Embedded};
use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

const ROLE: &str = "BAILEE_STORAGE_TEST_ROLE";
const PLACE: &str = "BAILEE_STORAGE_TEST_PLACE";
const DONE: &str = "done";

/// What the child does.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    /// Commits until it is killed.
    Commit,
    /// Lives through a flush that fails.
    FailedFlush,
    /// Lives through a full disk.
    FullDisk,
}

/// The files of one test, all in one folder that goes with it.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("a temporary folder"));
        fs::create_dir(place.faults()).expect("a folder for faults");
        place
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    pub(crate) fn acks(&self) -> PathBuf {
        self.0.path().join("acks")
    }

    pub(crate) fn trace(&self) -> PathBuf {
        self.0.path().join("trace")
    }

    /// Waits for a child that is not killed.
    pub(crate) fn wait_until_done(&self, mut child: Child) {
        assert!(child.wait().expect("the child ends").success());
        // A child that ran no test at all ends well, too.
        assert!(self.0.path().join(DONE).exists(), "the child came to its end");
    }

    fn faults(&self) -> PathBuf {
        self.0.path().join("faults")
    }

    fn recorder(&self) -> PathBuf {
        self.0.path().join("record.so")
    }

    /// Starts the child.
    pub(crate) fn start(&self, role: Role) -> Child {
        self.command(role).spawn().expect("the test binary starts again")
    }

    /// Starts the child under the recorder.
    pub(crate) fn start_recorded(&self, role: Role) -> Child {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/record.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
            .args([&self.recorder(), &source])
            .args(["-ldl", "-lpthread"])
            .status()
            .expect("`cc` runs, as it does to build SQLite");
        assert!(built.success(), "the recorder compiles");
        self.command(role)
            .env("LD_PRELOAD", self.recorder())
            .env("RECORD_FOLDER", self.data())
            .env("RECORD_ACKS", self.acks())
            .env("RECORD_TRACE", self.trace())
            .env("RECORD_FAULTS", self.faults())
            .spawn()
            .expect("the test binary starts again")
    }

    fn command(&self, role: Role) -> Command {
        let name = match role {
            Role::Commit => "commit",
            Role::FailedFlush => "failed-flush",
            Role::FullDisk => "full-disk",
        };
        let mut command = Command::new(std::env::current_exe().expect("the test binary"));
        command
            .args(["--exact", "the_child_of_the_other_tests", "--nocapture"])
            .env(ROLE, name)
            .env(PLACE, self.0.path())
            .stdout(Stdio::null());
        command
    }
}

/// Does what the environment says, or nothing when there is no role in it.
#[expect(clippy::disallowed_methods, reason = "a child of a test is told its role this way")]
pub(crate) fn main() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let place = PathBuf::from(std::env::var(PLACE).expect("a child has a place"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (data, faults) = (place.join("data"), place.join("faults"));
        match role.as_str() {
            "commit" => workload::run(&data, &place.join("acks")).await,
            "failed-flush" => {
                live_through_a_failed_flush(&data, &faults.join("flush"), &place.join("acks"))
                    .await;
            }
            "full-disk" => live_through_a_full_disk(&data, &faults.join("full")).await,
            other => panic!("unknown role {other}"),
        }
    });
    fs::write(place.join(DONE), "").expect("the end is noted");
}

async fn live_through_a_failed_flush(data: &Path, fault: &Path, acks: &Path) {
    let mut acks = OpenOptions::new().append(true).create(true).open(acks).expect("the acks open");
    let storage = Embedded::open(data).expect("opens");
    put(&storage, "before").await.expect("the disk is well");
    acks.write_all(b"1").expect("the ack is written");
    fs::write(fault, "").expect("the disk breaks");
    let error = put(&storage, "during").await.expect_err("a failed flush is no success");
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    fs::remove_file(fault).expect("the disk recovers");
    for _ in 0..3 {
        let error = put(&storage, "after").await.expect_err("the lost flush is not forgotten");
        assert!(error.to_string().contains("opened again"), "{error}");
    }
    assert!(has(&storage, "before").await, "reads go on");
    assert!(!has(&storage, "after").await);
    storage.close().await;

    let storage = Embedded::open(data).expect("opens again");
    assert!(has(&storage, "before").await);
    assert!(!has(&storage, "after").await, "what was refused has not landed");
    put(&storage, "reopened").await.expect("writes are taken again");
    acks.write_all(b"2").expect("the ack is written");
    storage.close().await;
    assert!(has(&Embedded::open(data).expect("opens"), "reopened").await);
}

/// Checks a disk on which a power cut followed the failed flush.
pub(crate) async fn check_after_failed_flush(data: &Path, acks: &[u8]) {
    let storage = Embedded::open(data).expect("opens");
    assert!(!acks.contains(&b'1') || has(&storage, "before").await, "before the failed flush");
    assert!(!acks.contains(&b'2') || has(&storage, "reopened").await, "after reopening");
    assert!(!has(&storage, "after").await, "refused in between");
    storage.close().await;
}

async fn live_through_a_full_disk(data: &Path, fault: &Path) {
    let storage = Embedded::open(data).expect("opens");
    put(&storage, "before").await.expect("there is room");
    fs::write(fault, "").expect("the disk fills up");
    for _ in 0..3 {
        let error = put(&storage, "during").await.expect_err("there is no room");
        assert!(matches!(error, Error::Full), "{error}");
    }
    assert!(has(&storage, "before").await && !has(&storage, "during").await);
    let mut copy = Vec::new();
    let error = storage.backup(&mut copy).await.expect_err("there is no room for a copy");
    assert!(matches!(error, Error::Full), "{error}");
    fs::remove_file(fault).expect("there is room again");
    put(&storage, "after").await.expect("it goes on without being opened again");
    drop(storage);
    let storage = Embedded::open(data).expect("opens");
    assert!(has(&storage, "after").await && !has(&storage, "during").await);
}

async fn put(storage: &Embedded, key: &str) -> Result<(), Error> {
    let writes = vec![Write::Put(key.to_owned(), vec![1; 2000])];
    storage.commit(&Batch { expects: Vec::new(), writes }).await.map(|_| ())
}

async fn has(storage: &Embedded, key: &str) -> bool {
    storage.get(key).await.expect("reads").is_some()
}
