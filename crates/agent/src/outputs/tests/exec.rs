use super::{Scene, secret};
use crate::{
    failure::{Cause, Failure},
    outputs::exec::{
        Command, Exec, Exit, Inherit, OnChange, Restart, Settings, Signal, Variable,
        inherits_orphans, launch, reap,
    },
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    net::unix::pipe,
    sync::mpsc,
    task::JoinHandle,
};

/// Long enough for a process on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
const CANARY: &str = "canary-6b1f";

impl Scene {
    /// A shell that is given `SECRET`, and `OUT`, through which it says something.
    pub(super) fn shell(&self, script: &str) -> Settings {
        let words = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let mut settings = Settings::new(Command::new(words).unwrap());
        let variable = Variable::new("SECRET").unwrap();
        settings.environment = BTreeMap::from([(variable, secret("a", None))]);
        settings
    }

    /// What the agent's own variables are.
    pub(super) fn own(&self) -> Vec<(OsString, OsString)> {
        let path = std::env::vars_os().find(|(name, _)| name == "PATH");
        let mut own: Vec<(OsString, OsString)> = path.into_iter().collect();
        own.push(("OUT".into(), self.path("out").into()));
        own
    }

    /// What processes say, line by line.
    pub(super) fn lines(&self) -> Said {
        let path = self.path("out");
        fifo(&path);
        let receiver = pipe::OpenOptions::new().read_write(true).open_receiver(&path).unwrap();
        Said(BufReader::new(receiver).lines())
    }

    fn run(&self, settings: Settings) -> Running {
        let exec = Exec::new(settings, self.own(), self.store.clone()).unwrap();
        let (told, receiver) = mpsc::channel(8);
        Running { told, ended: tokio::spawn(exec.run(receiver)) }
    }
}

fn fifo(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

pub(super) struct Said(Lines<BufReader<pipe::Receiver>>);

impl Said {
    pub(super) async fn next(&mut self) -> String {
        self.0.next_line().await.unwrap().unwrap()
    }
}

struct Running {
    told: mpsc::Sender<Signal>,
    ended: JoinHandle<Result<Exit, Failure>>,
}

impl Running {
    async fn tell(&self, signal: Signal) {
        self.told.send(signal).await.unwrap();
    }

    async fn ended(self) -> Result<Exit, Failure> {
        self.ended.await.unwrap()
    }

    async fn code(self) -> u8 {
        self.ended().await.unwrap().code
    }
}

pub(super) async fn soon<T>(waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, waiting).await.expect("something happens in time")
}

#[tokio::test]
async fn the_process_sees_what_is_declared_and_nothing_that_is_the_agents_alone() {
    let scene = Scene::with(&[("a", CANARY)]);
    let mut settings = scene.shell("env > \"$FILE\"; tr '\\0' ' ' < /proc/$$/cmdline >> \"$FILE\"");
    settings.inherit = Inherit::new(vec!["AWS_REGION".to_owned()]).unwrap();
    let file = scene.path("seen");
    let own = [
        ("FILE", file.to_str().unwrap()),
        ("AWS_REGION", "us-east-2"),
        ("AWS_SECRET_ACCESS_KEY", "own-1"),
        ("VAULT_TOKEN", "own-2"),
        ("CREDENTIALS_DIRECTORY", "own-3"),
        ("HOME", "/home/app"),
    ];
    let own = own.map(|(name, value)| (name.into(), value.into()));
    let path = std::env::vars_os().find(|(name, _)| name == "PATH");
    let exec = Exec::new(settings, own.into_iter().chain(path), scene.store.clone()).unwrap();
    let (_told, receiver) = mpsc::channel(8);
    assert_eq!(soon(exec.run(receiver)).await, Ok(Exit { code: 0 }));
    let seen = fs::read_to_string(scene.path("seen")).unwrap();
    assert!(seen.contains(&format!("SECRET={CANARY}\n")), "{seen}");
    assert!(seen.contains("AWS_REGION=us-east-2\n") && seen.contains("HOME=/home/app\n"));
    assert!(!seen.contains("own-"), "{seen}");
    assert_eq!(seen.matches(CANARY).count(), 1, "{seen}");
}

#[tokio::test]
async fn a_change_starts_the_process_again_with_the_new_value() {
    let scene = Scene::with(&[("a", "one")]);
    let mut said = scene.lines();
    let script = "trap 'echo ended > \"$OUT\"; exit 0' TERM; echo \"$SECRET\" > \"$OUT\"
                  while :; do sleep 60 > /dev/null 2>&1 & wait $!; done";
    let running = scene.run(scene.shell(script));
    assert_eq!(soon(said.next()).await, "one");
    let began = Instant::now();
    scene.change("a", "two").await;
    assert_eq!(soon(said.next()).await, "ended");
    assert_eq!(soon(said.next()).await, "two");
    let took = began.elapsed();
    println!("from the change to the process with the new value: {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    running.tell(Signal::Term).await;
    assert_eq!(soon(running.code()).await, 0);
}

#[tokio::test]
async fn changes_that_come_together_start_it_again_once() {
    let scene = Scene::with(&[("a", "0")]);
    let mut said = scene.lines();
    let running = scene.run(scene.shell("echo \"$SECRET\" > \"$OUT\"; exec sleep 60"));
    assert_eq!(soon(said.next()).await, "0");
    for value in ["1", "2", "3"] {
        scene.change("a", value).await;
    }
    assert_eq!(soon(said.next()).await, "3");
    running.tell(Signal::Term).await;
    assert_eq!(soon(running.code()).await, 128 + 15);
}

#[tokio::test]
async fn a_process_can_be_told_instead_and_gets_the_signals_of_the_agent() {
    let scene = Scene::with(&[("a", "one")]);
    let mut said = scene.lines();
    // Not HUP: a shell that began with it ignored, as below nohup, cannot be told by it.
    let script = "trap 'echo usr2 > \"$OUT\"' USR2; trap 'echo usr1 > \"$OUT\"' USR1
                  trap 'echo term > \"$OUT\"; exit 7' TERM; echo up > \"$OUT\"
                  while :; do sleep 60 > /dev/null 2>&1 & wait $!; done";
    let mut settings = scene.shell(script);
    settings.on_change = OnChange::Signal(Signal::Usr2);
    let running = scene.run(settings);
    assert_eq!(soon(said.next()).await, "up");
    scene.change("a", "two").await;
    assert_eq!(soon(said.next()).await, "usr2");
    running.tell(Signal::Usr1).await;
    assert_eq!(soon(said.next()).await, "usr1");
    running.tell(Signal::Term).await;
    assert_eq!(soon(said.next()).await, "term");
    assert_eq!(soon(running.code()).await, 7);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_does_not_end_is_killed_with_what_it_started() {
    let scene = Scene::with(&[("a", "one")]);
    let mut said = scene.lines();
    fifo(&scene.path("out.held"));
    let mut held = pipe::OpenOptions::new().open_receiver(scene.path("out.held")).unwrap();
    let script = "trap '' TERM; sh -c 'echo up > \"$OUT\"; exec sleep 600' > \"$OUT.held\" &
                  while :; do wait; done";
    let running = scene.run(scene.shell(script));
    assert_eq!(said.next().await, "up");
    running.tell(Signal::Term).await;
    assert_eq!(running.code().await, 128 + 9);
    // What it started held this open, and is gone.
    assert_eq!(held.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_agent_ends_as_its_process_ended_and_starts_it_again_where_it_is_asked_to() {
    let scene = Scene::with(&[("a", "one")]);
    for (script, code) in [("exit 3", 3), ("kill -9 $$", 128 + 9), ("exit 0", 0)] {
        assert_eq!(scene.run(scene.shell(script)).code().await, code, "{script}");
    }
    let mut said = scene.lines();
    let script = "echo x >> \"$OUT.runs\"; runs=$(wc -l < \"$OUT.runs\"); echo $runs > \"$OUT\"
                  [ $runs -ge 4 ] && exit 0; exit 5";
    let mut settings = scene.shell(script);
    settings.restart = Restart::OnFailure;
    let began = tokio::time::Instant::now();
    assert_eq!(scene.run(settings).code().await, 0);
    for run in 1..=4 {
        assert_eq!(said.next().await, run.to_string());
    }
    // A second, two, four.
    assert_eq!(began.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_program_that_is_not_there_is_told_as_shells_tell_it() {
    let scene = Scene::with(&[("a", "one")]);
    let command = Command::new(vec!["/nowhere/app".to_owned()]).unwrap();
    assert_eq!(scene.run(Settings::new(command)).code().await, 127);
}

#[tokio::test(start_paused = true)]
async fn the_process_waits_for_its_secrets_and_for_no_longer_than_it_is_said() {
    let scene = Scene::with(&[("a", "one")]);
    scene.manager.fail(Some(Cause::Unavailable));
    let mut settings = scene.shell("exit 4");
    settings.start_timeout = Duration::from_secs(100);
    let began = tokio::time::Instant::now();
    let failure = scene.run(settings.clone()).ended().await.unwrap_err();
    assert!(began.elapsed() <= Duration::from_secs(100));
    assert_eq!(failure.cause, Cause::Unavailable);
    assert_eq!(failure.message, "after 100 s of start_timeout: environment: SECRET: away");
    let running = scene.run(settings);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!running.ended.is_finished());
    scene.manager.fail(None);
    assert_eq!(running.code().await, 4);
}

#[tokio::test(start_paused = true)]
async fn while_it_waits_for_secrets_the_agent_can_be_ended() {
    let scene = Scene::with(&[]);
    let running = scene.run(scene.shell("exit 4"));
    running.tell(Signal::Hup).await;
    running.tell(Signal::Term).await;
    assert_eq!(running.code().await, 128 + 15);
}

#[tokio::test]
async fn an_outage_and_a_secret_that_is_gone_leave_the_process_alone() {
    let scene = Scene::with(&[("a", "one"), ("b", "x")]);
    let mut said = scene.lines();
    let script = "echo \"$SECRET\" > \"$OUT\"; exec sleep 60";
    let running = scene.run(scene.shell(script));
    assert_eq!(soon(said.next()).await, "one");
    scene.manager.fail(Some(Cause::Unavailable));
    scene.store.get("m", &crate::Wanted::current("a"), crate::Freshness::Now).await.unwrap();
    scene.manager.fail(None);
    scene.manager.remove("a");
    let gone = scene.store.get("m", &crate::Wanted::current("a"), crate::Freshness::Now).await;
    assert_eq!(gone.unwrap_err().cause, Cause::NotFound);
    // What comes next is what comes after it is there again.
    scene.change("a", "two").await;
    assert_eq!(soon(said.next()).await, "two");
    running.tell(Signal::Int).await;
    assert_eq!(soon(running.code()).await, 128 + 2);
}

/// Runs a test of this file alone, in a process of its own, with a variable set.
fn alone(test: &str, name: &str, value: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(fs::read_link("/proc/self/exe").unwrap());
    let test = format!("outputs::tests::exec::{test}");
    command.args(["--exact", &test, "--nocapture"]).env(name, value);
    command
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::vars_os().find(|(other, _)| other == name).map(|(_, value)| value.into())
}

#[tokio::test]
async fn the_process_ends_when_the_agent_is_killed() {
    const ROLE: &str = "BAILEE_TEST_OUT";
    let test = "the_process_ends_when_the_agent_is_killed";
    let words: Vec<OsString> =
        std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
    if let Some((agent, words)) = words.split_first() {
        let agent = agent.to_str().unwrap().parse().unwrap();
        panic!("{}", launch(agent, words.iter().cloned()));
    }
    let mut scene = Scene::with(&[("a", "one")]);
    if let Some(folder) = variable(ROLE) {
        let own = fs::read_link("/proc/self/exe").unwrap();
        let name = format!("outputs::tests::exec::{test}");
        let launcher = [own.to_str().unwrap(), "--exact", &name, "--nocapture", "--"];
        let launcher = Command::new(launcher.map(str::to_owned).to_vec()).unwrap();
        scene.folder.disable_cleanup(true);
        let script = "trap 'echo ended > \"$OUT\"; exit 0' TERM; echo \"$SECRET\" > \"$OUT\"
                      while :; do sleep 60 > /dev/null 2>&1 & wait $!; done";
        let own = scene.own().into_iter().filter(|(name, _)| name != "OUT");
        let own = own.chain([("OUT".into(), folder.join("out").into())]);
        let exec = Exec::new(scene.shell(script), own, scene.store.clone()).unwrap();
        let (_told, receiver) = mpsc::channel(8);
        exec.launched_by(&launcher).run(receiver).await.unwrap();
        return;
    }
    let mut said = scene.lines();
    let mut agent = alone(test, ROLE, scene.folder.path()).spawn().unwrap();
    assert_eq!(soon(said.next()).await, "one");
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert_eq!(soon(said.next()).await, "ended");
}

#[tokio::test]
async fn signals_that_the_agent_gets_reach_the_process() {
    const ROLE: &str = "BAILEE_TEST_SIGNALS";
    let test = "signals_that_the_agent_gets_reach_the_process";
    if variable(ROLE).is_none() {
        let ran = alone(test, ROLE, Path::new("1")).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let scene = Scene::with(&[("a", "one")]);
    let mut said = scene.lines();
    let script = "for s in HUP USR1 USR2 WINCH; do trap \"echo $s > '$OUT'\" $s; done
                  trap 'exit 9' TERM; echo up > \"$OUT\"; while :; do sleep 60 > /dev/null 2>&1 & wait $!; done";
    let told = Signal::listen().unwrap();
    let exec = Exec::new(scene.shell(script), scene.own(), scene.store.clone()).unwrap();
    let running = tokio::spawn(exec.run(told));
    assert_eq!(soon(said.next()).await, "up");
    let own = rustix::process::getpid();
    for signal in [Signal::Hup, Signal::Usr1, Signal::Usr2, Signal::Winch] {
        rustix::process::kill_process(own, signal.raw()).unwrap();
        assert_eq!(soon(said.next()).await, signal.name());
    }
    rustix::process::kill_process(own, Signal::Term.raw()).unwrap();
    assert_eq!(soon(running).await.unwrap(), Ok(Exit { code: 9 }));
}

#[tokio::test(start_paused = true)]
async fn processes_that_lost_their_parents_are_asked_how_they_ended() {
    const ROLE: &str = "BAILEE_TEST_REAPER";
    let test = "processes_that_lost_their_parents_are_asked_how_they_ended";
    if variable(ROLE).is_none() {
        let ran = alone(test, ROLE, Path::new("1")).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    assert!(!inherits_orphans());
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    assert!(inherits_orphans());
    let reaper = tokio::spawn(reap());
    let scene = Scene::with(&[("a", "one")]);
    let mut said = scene.lines();
    // The subshell outlives its parent, and ends when something can be read.
    let script = "(read x < \"$OUT.go\") & echo $! > \"$OUT\"";
    fifo(&scene.path("out.go"));
    assert_eq!(scene.run(scene.shell(script)).code().await, 0);
    let orphan = format!("/proc/{}", said.next().await);
    assert!(Path::new(&orphan).exists());
    let go = pipe::OpenOptions::new().read_write(true).open_sender(scene.path("out.go")).unwrap();
    go.writable().await.unwrap();
    go.try_write(b"x\n").unwrap();
    while Path::new(&orphan).exists() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Its own children are left to whoever waits for them.
    assert_eq!(scene.run(scene.shell("exit 6")).code().await, 6);
    reaper.abort();
}

#[tokio::test(start_paused = true)]
async fn a_value_that_no_variable_can_hold_is_refused_without_showing_it() {
    let long = "x".repeat(200_000);
    for value in [format!("{CANARY}\0"), long] {
        let scene = Scene::with(&[("a", &value)]);
        let failure = scene.run(scene.shell("exit 0")).ended().await.unwrap_err();
        assert_eq!(failure.cause, Cause::Invalid);
        assert!(failure.message.contains("environment: SECRET: the value"), "{failure}");
        assert!(!format!("{failure} {failure:?}").contains(CANARY) && failure.message.len() < 300);
    }
}

#[test]
fn names_that_decide_which_code_runs_are_refused_when_they_are_declared() {
    for name in ["PATH", "LD_PRELOAD", "LD_", "DYLD_INSERT_LIBRARIES", "BASH_ENV", "NODE_OPTIONS"] {
        let refused = Variable::new(name).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("environment: {name} is refused")), "{refused}");
    }
    for name in ["", "1A", "A-B", "A=B", "A B", "Ä", "A\0"] {
        assert!(Variable::new(name).unwrap_err().to_string().contains("no name of a variable"));
    }
    for name in ["DB_PASSWORD", "_x", "PATHS", "AWS_SECRET_ACCESS_KEY", "OLD_PATH"] {
        assert_eq!(Variable::new(name).unwrap().as_str(), name);
    }
}

#[test]
fn words_of_the_configuration_are_read_or_refused_with_what_there_is() {
    assert_eq!(OnChange::parse("restart", None), Ok(OnChange::Restart));
    assert_eq!(OnChange::parse("signal", Some("SIGHUP")), Ok(OnChange::Signal(Signal::Hup)));
    for (word, signal) in [("signal", None), ("signal", Some("KILL")), ("restart", Some("HUP"))] {
        assert!(OnChange::parse(word, signal).unwrap_err().to_string().starts_with("signal: "));
    }
    assert!(OnChange::parse("reload", None).is_err());
    assert_eq!(Restart::parse("on-failure"), Ok(Restart::OnFailure));
    assert!(Restart::parse("sometimes").is_err());
    assert!(Inherit::new(vec!["*".to_owned()]).is_err());
    assert!(Command::new(vec![]).is_err());
    assert!(Command::new(vec![String::new()]).is_err());
    assert!(Command::new(vec!["a\0".to_owned()]).is_err());
}
