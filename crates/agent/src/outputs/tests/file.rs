use super::{
    Logged, Scene,
    exec::{PATIENCE, soon},
    sources,
};
use crate::{
    failure::Cause,
    manager::Wanted,
    outputs::{
        exec::Command,
        file::{Content, Error, File, FileMode, Format, Reload, Settings, Target, group, user},
        template::Template,
    },
    store::Freshness,
};
use bailee_notation::hcl::Value;
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::sync::watch;

const CANARY: &str = "canary-91c2";

impl Scene {
    fn target(&self, name: &str) -> Target {
        Target::new(&self.path(name)).unwrap()
    }

    /// A file with the secret `a` in it.
    fn settings(&self, target: Target) -> Settings {
        let text = "{{ (awsSecret \"m\" \"a\").Text }}";
        let content = Content::Template(Template::parse(text, &sources()).unwrap());
        Settings { target, content, on_change: None }
    }

    fn file(&self, settings: Settings) -> File {
        let path = std::env::vars_os().filter(|(name, _)| name == "PATH");
        File::new(settings, path, self.store.clone()).unwrap()
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn shell(script: &str, timeout: Duration) -> Option<Reload> {
    let words = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    Some(Reload { command: Command::new(words).unwrap(), timeout })
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[tokio::test]
async fn a_file_is_replaced_as_a_whole_and_only_when_it_changes() {
    let scene = Scene::with(&[("a", "one")]);
    let path = scene.path("db.conf");
    let file = scene.file(scene.settings(scene.target("db.conf")));
    assert!(file.write().await.unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), "one");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let before = inode(&path);
    let old = fs::File::open(&path).unwrap();
    assert!(!file.write().await.unwrap());
    assert_eq!(inode(&path), before);
    scene.change("a", "two").await;
    assert!(file.write().await.unwrap());
    assert_ne!(inode(&path), before);
    assert_eq!(std::io::read_to_string(old).unwrap(), "one");
    assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    assert_eq!(scene.names(), ["db.conf".to_owned()].into());
    // A mode that somebody changed is put right.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(file.write().await.unwrap());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
}

#[tokio::test]
async fn mode_user_and_group_are_as_they_are_asked_for_and_folders_are_made_on_request() {
    let scene = Scene::with(&[("a", "one")]);
    let mut target = scene.target("x/y/db.conf");
    let own = fs::metadata(scene.folder.path()).unwrap();
    target.mode = FileMode::parse("0640").unwrap();
    target.user = Some(own.uid());
    target.group = Some(own.gid());
    let error = scene.file(scene.settings(target.clone())).write().await.unwrap_err();
    assert!(
        error.to_string().contains("db.conf: folder x cannot be opened: No such file"),
        "{error}"
    );
    target.create_directories = true;
    assert!(scene.file(scene.settings(target)).write().await.unwrap());
    let made = fs::metadata(scene.path("x/y/db.conf")).unwrap();
    assert_eq!((made.mode() & 0o7777, made.uid(), made.gid()), (0o640, own.uid(), own.gid()));
}

#[test]
fn modes_paths_users_and_groups_are_checked_when_they_are_read() {
    for bad in ["", "rw", "0999", "1777", "0602", "0755", "+600", "0o"] {
        assert!(FileMode::parse(bad).unwrap_err().to_string().starts_with("mode: "), "{bad}");
    }
    for bad in ["db.conf", "/", "/run/../etc/x", "/run/x/", ""] {
        assert!(
            Target::new(Path::new(bad)).unwrap_err().to_string().starts_with("path: "),
            "{bad}"
        );
    }
    assert!(Target::new(Path::new(&format!("/run/{}", "x".repeat(201)))).is_err());
    assert_eq!(user("root"), Ok(0));
    assert_eq!(group("1234"), Ok(1234));
    let refused = user("nobody-of-that-name").unwrap_err().to_string();
    assert!(
        refused.contains("user: there is no \"nobody-of-that-name\" in /etc/passwd"),
        "{refused}"
    );
    assert!(group("").is_err());
}

#[tokio::test]
async fn symbolic_links_lead_secrets_nowhere() {
    let scene = Scene::with(&[("a", "one")]);
    // In the file's place: it is replaced, and what it led to is left alone.
    fs::write(scene.path("elsewhere"), "old").unwrap();
    symlink(scene.path("elsewhere"), scene.path("link")).unwrap();
    assert!(scene.file(scene.settings(scene.target("link"))).write().await.unwrap());
    assert_eq!(fs::read_to_string(scene.path("elsewhere")).unwrap(), "old");
    assert!(fs::symlink_metadata(scene.path("link")).unwrap().is_file());
    // On the way: followed where only the agent's user could have put it.
    fs::create_dir(scene.path("real")).unwrap();
    symlink("real", scene.path("mine")).unwrap();
    assert!(scene.file(scene.settings(scene.target("mine/f"))).write().await.unwrap());
    assert_eq!(fs::read_to_string(scene.path("real/f")).unwrap(), "one");
    fs::create_dir(scene.path("open")).unwrap();
    fs::set_permissions(scene.path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    symlink(scene.path("real"), scene.path("open/theirs")).unwrap();
    let error = scene.file(scene.settings(scene.target("open/theirs/g"))).write().await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("theirs is a symbolic link in a folder that others can write"),
        "{error}"
    );
    assert!(!scene.path("real/g").exists());
    // Links in a circle end.
    symlink("round", scene.path("round")).unwrap();
    assert!(scene.file(scene.settings(scene.target("round/f"))).write().await.is_err());
}

#[tokio::test]
async fn a_folder_in_the_place_of_the_file_is_told() {
    let scene = Scene::with(&[("a", "one")]);
    fs::create_dir(scene.path("f")).unwrap();
    let error = scene.file(scene.settings(scene.target("f"))).write().await.unwrap_err();
    assert!(error.to_string().ends_with("/f: it is a folder"), "{error}");
    assert_eq!(scene.names(), ["f".to_owned()].into());
}

#[tokio::test]
async fn a_disk_that_takes_no_more_keeps_the_old_file_and_is_told() {
    const FOLDER: &str = "BAILEE_TEST_FOLDER";
    let limited = std::env::vars_os().find(|(name, _)| name == FOLDER);
    if let Some((_, folder)) = limited {
        // Here no file grows beyond some hundred bytes.
        let long = "x".repeat(10_000);
        let mut scene = Scene::with(&[("a", &long)]);
        scene.folder = tempfile::Builder::new().tempdir_in(folder).unwrap();
        fs::write(scene.path("f"), "old").unwrap();
        let error = scene.file(scene.settings(scene.target("f"))).write().await.unwrap_err();
        assert!(matches!(error, Error::Disk { .. }));
        assert!(error.to_string().contains("it cannot be written: File too large"), "{error}");
        assert_eq!(fs::read_to_string(scene.path("f")).unwrap(), "old");
        assert_eq!(scene.names(), ["f".to_owned()].into());
        scene.change("a", "short").await;
        assert!(scene.file(scene.settings(scene.target("f"))).write().await.unwrap());
        assert_eq!(fs::read_to_string(scene.path("f")).unwrap(), "short");
        return;
    }
    let scene = Scene::with(&[]);
    let name = "outputs::tests::file::a_disk_that_takes_no_more_keeps_the_old_file_and_is_told";
    let own = fs::read_link("/proc/self/exe").unwrap();
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" --exact \"$1\" --nocapture";
    let ran = process::Command::new("/bin/sh")
        .args(["-c", script, own.to_str().unwrap(), name])
        .env(FOLDER, scene.folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn what_a_run_that_crashed_left_behind_is_removed_and_nothing_else() {
    let scene = Scene::with(&[("a", "one")]);
    let others = [".f.short.bailee", ".f.abcdefghijkl", ".g.abcdefghijkl.bailee", "f.conf"];
    for name in others.into_iter().chain([".f.abcdefghijkl.bailee", ".f.ABCDEFGH1234.bailee"]) {
        fs::write(scene.path(name), "left").unwrap();
    }
    let file = scene.file(scene.settings(scene.target("f")));
    file.begin().await;
    let expected = others.into_iter().chain(["f"]).map(str::to_owned).collect();
    assert_eq!(scene.names(), expected);
}

#[tokio::test]
async fn a_reader_never_sees_a_part_of_a_file() {
    let (one, two) = ("1".repeat(200_000), "2".repeat(100_000));
    let scene = Scene::with(&[("a", &one)]);
    let file = scene.file(scene.settings(scene.target("f")));
    file.write().await.unwrap();
    let done = AtomicBool::new(false);
    let path = scene.path("f");
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                seen.insert(fs::read_to_string(&path).unwrap());
            }
            seen
        });
        let target = scene.target("f");
        for turn in 0..100 {
            target.write(if turn % 2 == 0 { two.as_bytes() } else { one.as_bytes() }).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(seen.is_subset(&[one, two].into()), "{} contents", seen.len());
}

#[tokio::test]
async fn a_file_is_kept_and_its_command_is_run_after_each_change() {
    let scene = Scene::with(&[("a", "one")]);
    let ran = scene.path("ran");
    let mut settings = scene.settings(scene.target("f"));
    let script = format!("cat {} >> {}", scene.path("f").display(), ran.display());
    settings.on_change = shell(&script, PATIENCE);
    let (written, mut count) = watch::channel(0);
    let keeper = tokio::spawn(scene.file(settings).keep(written));
    for (value, all) in [("one", "one"), ("two", "onetwo"), ("three", "onetwothree")] {
        if value != "one" {
            scene.change("a", value).await;
        }
        soon(count.changed()).await.unwrap();
        assert_eq!(fs::read_to_string(scene.path("f")).unwrap(), value);
        assert_eq!(fs::read_to_string(&ran).unwrap(), all);
    }
    keeper.abort();
}

#[tokio::test(start_paused = true)]
async fn an_outage_and_a_secret_that_is_gone_leave_the_file_as_it_is() {
    let scene = Scene::with(&[("a", "one")]);
    let (written, mut count) = watch::channel(0);
    let keeper = tokio::spawn(scene.file(scene.settings(scene.target("f"))).keep(written));
    count.changed().await.unwrap();
    scene.manager.remove("a");
    let gone = scene.store.get("m", &Wanted::current("a"), Freshness::Now).await;
    assert_eq!(gone.unwrap_err().cause, Cause::NotFound);
    scene.manager.fail(Some(Cause::Unavailable));
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(fs::read_to_string(scene.path("f")).unwrap(), "one");
    scene.manager.fail(None);
    scene.manager.set("a", "two");
    count.changed().await.unwrap();
    assert_eq!(fs::read_to_string(scene.path("f")).unwrap(), "two");
    keeper.abort();
}

#[tokio::test(start_paused = true)]
async fn a_file_that_could_not_be_written_is_tried_again() {
    let scene = Scene::with(&[("a", "one")]);
    let (written, mut count) = watch::channel(0);
    let keeper = tokio::spawn(scene.file(scene.settings(scene.target("later/f"))).keep(written));
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(!keeper.is_finished());
    fs::create_dir(scene.path("later")).unwrap();
    count.changed().await.unwrap();
    assert_eq!(fs::read_to_string(scene.path("later/f")).unwrap(), "one");
    keeper.abort();
}

#[tokio::test]
async fn a_command_that_fails_or_takes_too_long_is_told_and_no_value_is_logged() {
    let scene = Scene::with(&[("a", CANARY)]);
    let (logged, guard) = Logged::begin();
    let path = scene.path("f");
    let cat = format!("cat {0}; cat {0} >&2; env; exit 9", path.display());
    for (script, timeout, expected) in [
        (cat.as_str(), Duration::from_secs(30), "exit code 9"),
        ("sleep 600", Duration::from_millis(1), "it took longer than 0.001 s"),
    ] {
        fs::remove_file(&path).ok();
        let mut settings = scene.settings(scene.target("f"));
        settings.on_change = shell(script, timeout);
        assert!(scene.file(settings).write().await.unwrap());
        assert!(logged.text().contains(expected), "{}", logged.text());
    }
    let template = Template::parse("{{ (awsSecret \"m\" \"a\").nope }}", &sources()).unwrap();
    let settings =
        Settings { content: Content::Template(template), ..scene.settings(scene.target("f")) };
    let error = scene.file(settings.clone()).write().await.unwrap_err();
    assert!(error.to_string().contains("(…).nope has no value"), "{error}");
    drop(guard);
    let told = format!("{}{error}{error:?}{settings:?}", logged.text());
    assert!(!told.contains(CANARY), "{told}");
    assert!(!fs::read_to_string("/proc/self/cmdline").unwrap().contains(CANARY));
}

const NASTY: &str = "a'b\"c$d`e\\f\ng #=:!é\u{1F600}\t";

async fn written(format: &str, value: &str) -> String {
    let json = serde_json::json!({ "password": value }).to_string();
    let scene = Scene::with(&[("db", &json)]);
    let connection = sources().connections.get("db").unwrap().clone();
    let content = Content::Connection(connection, Format::parse(format).unwrap());
    let settings = Settings { content, ..scene.settings(scene.target("f")) };
    scene.file(settings).write().await.unwrap();
    fs::read_to_string(scene.path("f")).unwrap()
}

#[tokio::test]
async fn connections_are_written_in_each_format() {
    for (format, expected) in [
        ("json", "{\n  \"host\": \"db.example\",\n  \"password\": \"s\"\n}\n"),
        ("env", "HOST=\"db.example\"\nPASSWORD=\"s\"\n"),
        ("properties", "host=db.example\npassword=s\n"),
        ("yaml", "\"host\": \"db.example\"\n\"password\": \"s\"\n"),
    ] {
        assert_eq!(written(format, "s").await, expected);
    }
    assert!(Format::parse("toml").unwrap_err().to_string().starts_with("format: "));
}

#[tokio::test]
async fn whatever_is_in_a_value_is_read_back_as_it_is() {
    let json: serde_json::Value = serde_json::from_str(&written("json", NASTY).await).unwrap();
    assert_eq!(json["password"], NASTY);
    let text = written("yaml", NASTY).await;
    let yaml = bailee_notation::yaml::parse(&text).unwrap();
    assert_eq!(yaml.items[1].value.value, Value::String(NASTY.to_owned()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("env");
    fs::write(&path, written("env", NASTY).await).unwrap();
    let script = ". \"$0\"; printf %s \"$PASSWORD\"";
    let read = process::Command::new("/bin/sh").args(["-c", script]).arg(&path).output().unwrap();
    assert_eq!(String::from_utf8(read.stdout).unwrap(), NASTY);
    assert_eq!(
        written("properties", " a=b\\c\né").await,
        "host=db.example\npassword=\\ a=b\\\\c\\n\\u00e9\n"
    );
}

#[tokio::test]
async fn what_a_format_cannot_hold_is_refused_without_showing_it() {
    let json = serde_json::json!({ "password": format!("{CANARY}\0") }).to_string();
    let scene = Scene::with(&[("db", &json)]);
    let connection = sources().connections.get("db").unwrap().clone();
    let content = Content::Connection(connection, Format::Env);
    let settings = Settings { content, ..scene.settings(scene.target("f")) };
    let error = scene.file(settings).write().await.unwrap_err().to_string();
    assert!(
        error.ends_with("format env: property \"password\": the value has a NUL byte"),
        "{error}"
    );
    assert!(!scene.path("f").exists());
}
