//! An agent that runs, with what it writes.

use bailee_testkit::{binary, eventually};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A folder with a configuration, and the agent that runs with it.
pub(crate) struct Agent {
    pub(crate) folder: TempDir,
    /// What it finds in its environment beside the least.
    pub(crate) environment: Vec<(&'static str, PathBuf)>,
    program: PathBuf,
    running: Option<Child>,
}

impl Agent {
    pub(crate) fn new(configuration: &str) -> Agent {
        let folder = tempfile::tempdir().unwrap();
        let program = binary().to_owned();
        let agent = Agent { folder, environment: Vec::new(), program, running: None };
        agent.configure(configuration);
        agent
    }

    /// `{folder}` in the configuration is where it is.
    pub(crate) fn configure(&self, configuration: &str) {
        let folder = self.folder.path().display().to_string();
        let text = configuration.replace("{folder}", &folder);
        std::fs::write(self.path("agent.hcl"), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a copy of the program that everybody can reach, wherever it was built.
    pub(crate) fn for_everybody(&mut self) {
        use std::os::unix::fs::PermissionsExt as _;
        self.program = self.path("bailee");
        std::fs::copy(binary(), &self.program).unwrap();
        let open = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(self.folder.path(), open).unwrap();
    }

    /// The id of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.running.as_ref().and_then(Child::id).unwrap()
    }

    /// A file that only its owner reads.
    pub(crate) fn private(&self, name: &str, content: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) fn content(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("agent")
            .args(arguments)
            .arg(format!("-config={}", self.path("agent.hcl").display()))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.folder.path())
            // No machine's own credentials.
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(self.environment.iter().cloned())
            .kill_on_drop(true);
        command
    }

    /// A command of the agent, to its end.
    pub(crate) async fn ends(&self, command: &str) -> Ended {
        let output = self.command(&[command]).output().await.unwrap();
        Ended {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts the agent; what it says goes to the file `log`.
    pub(crate) fn start(&mut self) {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command(&["run"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.running = Some(command.spawn().unwrap());
    }

    pub(crate) async fn started(&mut self) {
        self.start();
        eventually("the agent starts", async || self.content("log").contains("agent started"))
            .await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Kills it without a chance to write anything.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.code().await;
    }

    /// The exit code, once it has ended.
    pub(crate) async fn code(&mut self) -> Option<i32> {
        self.running.take().unwrap().wait().await.unwrap().code()
    }

    /// Until a file holds this.
    pub(crate) async fn until(&self, name: &str, content: &str) {
        eventually(&format!("{name} holds what was written"), async || {
            self.content(name) == content
        })
        .await;
    }

    /// No canary is in what it said, nor in its arguments.
    pub(crate) fn assert_told_nothing(&self, canaries: &[&str]) {
        let log = self.content("log");
        assert!(!log.contains("panicked"), "{log}");
        for canary in canaries {
            assert!(!log.contains(canary), "the log tells a secret");
        }
        let Some(pid) = self.running.as_ref().and_then(Child::id) else { return };
        let arguments = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"));
        let arguments = String::from_utf8_lossy(&arguments.unwrap()).into_owned();
        for canary in canaries {
            assert!(!arguments.contains(canary), "the arguments tell a secret");
        }
    }
}

#[expect(clippy::print_stderr, reason = "a failing test shows what happened")]
impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the agent's log ---\n{}", self.content("log"));
        }
    }
}
