use super::{
    AuditDevice,
    file::FileSink,
    outlet::{Line, Outlet, Sink},
    socket::{SocketSink, Transport},
    syslog::{Facility, SyslogSink},
};
use std::{
    io::{self, Read, Write},
    net::{TcpListener, UdpSocket},
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::{UnixDatagram, UnixListener},
    },
    path::Path,
    sync::{Arc, mpsc},
    time::{Duration, SystemTime},
};

fn file(path: &Path) -> FileSink {
    FileSink::new(&path.display().to_string(), Some(0o600), Arc::default())
}

async fn put(outlet: &Outlet, line: &str) -> io::Result<()> {
    outlet.write(SystemTime::UNIX_EPOCH, line.as_bytes()).await
}

#[tokio::test]
async fn a_file_gets_whole_lines_that_only_its_owner_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/audit.log");
    for round in 0..2 {
        let outlet = Outlet::start("file/", file(&path)).unwrap();
        put(&outlet, &format!("{{\"round\":{round}}}")).await.unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, "{\"round\":0}\n{\"round\":1}\n");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn many_lines_at_once_stay_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let outlet = Outlet::start("file/", file(&path)).unwrap();
    let line = |number: usize| format!("{number:05}{}", "x".repeat(3000 + number % 700));
    let writes =
        (0..500).map(|number| outlet.write(SystemTime::UNIX_EPOCH, line(number).as_bytes()));
    for outcome in futures_util::future::join_all(writes).await {
        outcome.unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let expected: Vec<String> = (0..500).map(line).collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_line_that_was_cut_short_does_not_spoil_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    std::fs::write(&path, "{\"whole\":1}\n{\"cut").unwrap();
    let outlet = Outlet::start("file/", file(&path)).unwrap();
    put(&outlet, "{}").await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"whole\":1}\n{\"cut\n{}\n");
}

#[tokio::test]
async fn after_reopening_lines_go_to_the_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("audit.log"), folder.path().join("audit.old"));
    let outlet = Outlet::start("file/", file(&path)).unwrap();
    put(&outlet, "one").await.unwrap();
    std::fs::rename(&path, &old).unwrap();
    put(&outlet, "two").await.unwrap();
    outlet.reopen();
    put(&outlet, "three").await.unwrap();
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\ntwo\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
}

#[tokio::test]
async fn no_device_writes_to_what_is_run_or_belongs_to_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    std::fs::create_dir(place("own")).unwrap();
    std::fs::write(place("run"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(place("run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink(place("own"), place("way-in")).unwrap();
    symlink(place("own/db"), place("link")).unwrap();
    std::fs::write(place("own/db"), "").unwrap();
    symlink(place("nothing"), place("dangling")).unwrap();
    let own = Arc::new(vec![place("own")]);
    for name in
        ["own/audit.log", "own/deeper/audit.log", "way-in/x", "link", "run", "dangling", "own"]
    {
        let sink = FileSink::new(&place(name).display().to_string(), Some(0o600), own.clone());
        let outlet = Outlet::start("file/", sink).unwrap();
        let error = put(&outlet, "{}").await.unwrap_err();
        assert!(error.to_string().contains("sanity check failed"), "{name}: {error}");
    }
    assert!(!place("own/deeper").exists() && !place("nothing").exists());
    assert_eq!(std::fs::read_to_string(place("run")).unwrap(), "#!/bin/sh\n");
}

#[tokio::test]
async fn a_full_disk_is_a_failure_and_recovery_is_noticed() {
    let outlet = Outlet::start("file/", FileSink::new("/dev/full", None, Arc::default())).unwrap();
    assert!(put(&outlet, "{}").await.is_err());
    assert!(outlet.is_ailing());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gone/audit.log");
    std::fs::write(folder.path().join("gone"), "a file in the way").unwrap();
    let outlet = Outlet::start("file/", file(&path)).unwrap();
    let error = put(&outlet, "{}").await.unwrap_err().to_string();
    assert!(error.ends_with("gone: not a directory"), "{error}");
    std::fs::remove_file(folder.path().join("gone")).unwrap();
    put(&outlet, "{}").await.unwrap();
    assert!(!outlet.is_ailing());
}

#[tokio::test]
async fn a_pipe_without_a_reader_is_refused_and_a_full_one_fails_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let outlet = Outlet::start("pipe/", file(&path)).unwrap();
    assert!(put(&outlet, "{}").await.is_err());
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    put(&outlet, "{}").await.unwrap();
    let error = put(&outlet, &"x".repeat(1 << 20)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    drop(reader);
}

/// Blocks until the test says otherwise.
struct Blocked(mpsc::Receiver<()>);

impl Sink for Blocked {
    fn write(&mut self, lines: &[Line]) -> Vec<io::Result<()>> {
        self.0.recv().unwrap();
        lines.iter().map(|_| Ok(())).collect()
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_place_that_blocks_for_ever_fails_after_a_bounded_wait() {
    let (release, blocked) = mpsc::channel();
    let wait = Duration::from_millis(50);
    let outlet = Outlet::start_with("blocked/", Blocked(blocked), wait).unwrap();
    assert_eq!(put(&outlet, "{}").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(outlet.is_ailing());
    // One line that fills the room, then none.
    drop(outlet.write(SystemTime::UNIX_EPOCH, &vec![b'x'; 64 << 20]));
    let error = put(&outlet, "{}").await.unwrap_err();
    assert_eq!(error.to_string(), "too much waits for the device already");
    for _ in 0..2 {
        release.send(()).unwrap();
    }
}

#[tokio::test]
async fn a_stream_socket_gets_lines_and_is_connected_anew() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let sink = SocketSink::new(Transport::Tcp, &address, Duration::from_secs(2));
    let outlet = Outlet::start("socket/", sink).unwrap();
    for line in ["one", "two"] {
        put(&outlet, line).await.unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut found = vec![0; line.len() + 1];
        stream.read_exact(&mut found).unwrap();
        assert_eq!(found, format!("{line}\n").as_bytes());
        // Closing the stream is the end of the other server.
    }
    drop(listener);
    assert!(put(&outlet, "three").await.is_err());
}

#[tokio::test]
async fn a_stream_that_nobody_reads_fails_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let sink =
        SocketSink::new(Transport::Unix, &path.display().to_string(), Duration::from_millis(50));
    let outlet = Outlet::start("socket/", sink).unwrap();
    put(&outlet, "{}").await.unwrap();
    assert!(put(&outlet, &"x".repeat(4 << 20)).await.is_err());
    let (mut stream, _) = listener.accept().unwrap();
    let mut first = [0; 3];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"{}\n");
}

#[tokio::test]
async fn datagrams_are_one_line_each() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let sink = SocketSink::new(Transport::Udp, &address, Duration::from_secs(2));
    let outlet = Outlet::start("socket/", sink).unwrap();
    let long = "x".repeat(70_000);
    let writes =
        ["one", &long, "two"].map(|line| outlet.write(SystemTime::UNIX_EPOCH, line.as_bytes()));
    let outcomes = futures_util::future::join_all(writes).await;
    let arrived: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(arrived, [true, false, true]);
    for line in ["one\n", "two\n"] {
        let mut found = [0; 16];
        let length = socket.recv(&mut found).unwrap();
        assert_eq!(&found[..length], line.as_bytes());
    }
}

#[tokio::test]
async fn syslog_gets_messages_in_its_form_and_may_be_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("log");
    let place = place.to_str().unwrap();
    let facility = Facility::named("local3").unwrap();
    assert_eq!(Facility::named("no-such"), None);
    let outlet =
        Outlet::start("syslog/", SyslogSink::new(&["/no/log", place], facility, "vault")).unwrap();
    assert!(put(&outlet, "{}").await.is_err());
    for line in ["{\"one\":1}", "{\"two\":2}"] {
        let log = UnixDatagram::bind(place).unwrap();
        put(&outlet, line).await.unwrap();
        let mut found = [0; 256];
        let length = log.recv(&mut found).unwrap();
        let expected = format!("<158>Jan  1 00:00:00 vault[{}]: {line}", std::process::id());
        assert_eq!(std::str::from_utf8(&found[..length]).unwrap(), expected);
        std::fs::remove_file(place).unwrap();
    }
}

#[test]
fn what_is_written_is_told_apart_from_what_is_not() {
    /// Takes so many bytes.
    struct Room(usize);
    impl Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0).min(3);
            self.0 -= taken;
            if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lines: Vec<Line> = (0..3).map(|_| Line::of("1234")).collect();
    for (room, arrived, begun) in
        [(0, 0, 0), (4, 0, 4), (5, 1, 0), (12, 2, 2), (15, 3, 0), (99, 3, 0)]
    {
        let (outcomes, cut) = super::outlet::write_stream(&mut Room(room), &lines);
        let good = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!((outcomes.len(), good, cut), (3, arrived, begun), "room for {room}");
    }
}
