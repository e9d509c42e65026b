//! The server as a process.

use crate::{Api, Sync, build::binary, environment, eventually, ports::free_port};
use bailee_fake_clouds::FakeAws;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};
use tempfile::TempDir;

/// Where a server keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In a folder of its own, which a restart finds again.
    Embedded,
    /// In memory.
    Memory,
}

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it keeps its data.
    pub storage: Storage,
    /// AWS's address as it believes; none leaves AWS's own, which nothing in a test reaches.
    pub aws_endpoint: Option<String>,
    /// Least severe messages in its log.
    pub log_level: &'static str,
    /// More of its configuration.
    pub config: String,
    /// More lines of its listener.
    pub listener: String,
    /// More variables of its environment.
    pub environment: Vec<(String, String)>,
    /// A shell's preparations before it becomes the server, such as `ulimit -f 100`.
    pub shell: Option<String>,
    /// Key shares, and how many of them unseal.
    pub shares: (u64, u64),
}

impl Default for Options {
    fn default() -> Options {
        Options {
            storage: Storage::Embedded,
            aws_endpoint: None,
            log_level: "info",
            config: String::new(),
            listener: "tls_disable = true".to_owned(),
            environment: Vec::new(),
            shell: None,
            shares: (1, 1),
        }
    }
}

impl Options {
    /// As usual, delivering to a fake.
    pub fn delivering_to(aws: &FakeAws) -> Options {
        Options { aws_endpoint: Some(aws.endpoint()), ..Options::default() }
    }
}

/// A server of a test, killed when dropped.
#[derive(Debug)]
pub struct TestServer {
    options: Options,
    folder: TempDir,
    port: u16,
    process: Option<Child>,
    keys: Vec<String>,
    api: Api,
}

impl TestServer {
    /// A server as usual: embedded storage, initialized, unsealed, KV version 2 at `secret`.
    pub async fn start() -> TestServer {
        TestServer::start_with(Options::default()).await
    }

    /// A server that delivers to a fake, with sync activated.
    pub async fn delivering_to(aws: &FakeAws) -> TestServer {
        let server = TestServer::start_with(Options::delivering_to(aws)).await;
        server.sync().activate().await;
        server
    }

    /// A server with options, initialized, unsealed, KV version 2 at `secret`.
    pub async fn start_with(options: Options) -> TestServer {
        let mut server = TestServer::start_uninitialized(options).await;
        server.initialize().await;
        server.unseal().await;
        server.enable_kv("secret").await;
        server
    }

    /// A server that nobody initialized.
    pub async fn start_uninitialized(options: Options) -> TestServer {
        let folder = TempDir::with_prefix("bailee-test-").expect("a temporary folder can be made");
        let port = free_port();
        let api = Api::new(&format!("http://127.0.0.1:{port}"));
        let keys = Vec::new();
        let mut server = TestServer { options, folder, port, process: None, keys, api };
        server.write_config();
        server.launch();
        server.wait_until_answering().await;
        server
    }

    /// The API with the root token.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Uses another client for the API, for TLS; the token stays.
    pub fn set_api(&mut self, api: Api) {
        self.api = api.with_token(self.api.token());
    }

    /// Sync as the root token sees it.
    pub fn sync(&self) -> Sync {
        Sync::new(self.api.clone())
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id. Fails when it does not run.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server runs").id()
    }

    /// The shares of the unseal key.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The folder of everything: configuration, log, data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of its data.
    pub fn storage(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// Its options, for the next start.
    pub fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// All that it logged, over all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder().join("server.log")).unwrap_or_default()
    }

    /// Initializes it and keeps shares and root token.
    pub async fn initialize(&mut self) {
        let (shares, threshold) = self.options.shares;
        let body = json!({ "secret_shares": shares, "secret_threshold": threshold });
        let made = self.api.put("sys/init", body).await.ok();
        let keys = made.at("/keys");
        let keys = keys.as_array().into_iter().flatten().filter_map(Value::as_str);
        self.keys = keys.map(str::to_owned).collect();
        self.api = self.api.with_token(&made.text("/root_token"));
    }

    /// Gives it as many shares as it needs.
    pub async fn unseal(&self) {
        let (_, threshold) = self.options.shares;
        let needed = usize::try_from(threshold).expect("a threshold is small");
        let mut sealed = true;
        for key in self.keys.iter().take(needed) {
            let status = self.api.put("sys/unseal", json!({ "key": key })).await.ok();
            sealed = status.at("/sealed") != Value::Bool(false);
        }
        assert!(!sealed, "the server is sealed after {needed} shares");
    }

    /// Mounts KV version 2.
    pub async fn enable_kv(&self, path: &str) {
        let mount = json!({ "type": "kv", "options": { "version": "2" } });
        self.api.post(&format!("sys/mounts/{path}"), mount).await.done();
    }

    /// Takes its life: `kill -9`. Nothing is written that was not written.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a child can be killed");
            process.wait().expect("a killed child ends");
        }
    }

    /// Asks it to stop: `kill -TERM`.
    pub fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id is positive"), signal).expect("the server runs");
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("the server runs");
        let waiting = tokio::task::spawn_blocking(move || process.wait());
        waiting.await.expect("waiting does not fail").expect("a child ends")
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let process = self.process.as_mut();
        process.is_none_or(|process| process.try_wait().is_ok_and(|status| status.is_some()))
    }

    /// Starts it again on the same port and data, sealed.
    pub async fn start_again(&mut self) {
        self.kill();
        self.write_config();
        self.launch();
        self.wait_until_answering().await;
    }

    /// Starts it again and unseals it.
    pub async fn restart(&mut self) {
        self.start_again().await;
        self.unseal().await;
    }

    /// Checks that nothing in the log says that a thread panicked.
    pub fn assert_no_panic(&self) {
        let log = self.log();
        let panicked = log.lines().find(|line| line.contains("panicked"));
        assert_eq!(panicked, None, "the server panicked");
    }

    fn write_config(&self) {
        let storage = match self.options.storage {
            Storage::Embedded => format!("storage \"embedded\" {{ path = {:?} }}", self.storage()),
            Storage::Memory => "storage \"inmem\" {}".to_owned(),
        };
        let Options { config, listener, log_level, .. } = &self.options;
        let port = self.port;
        let text = format!(
            "{storage}\nlistener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  {listener}\n}}\n\
             log_level = \"{log_level}\"\ndisable_mlock = true\n{config}\n"
        );
        fs::write(self.folder().join("bailee.hcl"), text).expect("the configuration is written");
    }

    fn launch(&mut self) {
        let log = self.folder().join("server.log");
        let log = OpenOptions::new().create(true).append(true).open(log);
        let log: File = log.expect("the log can be opened");
        let config = format!("-config={}", self.folder().join("bailee.hcl").display());
        let mut command = match &self.options.shell {
            None => {
                let mut command = Command::new(binary());
                command.arg("server").arg(config);
                command
            }
            Some(preparations) => {
                let mut command = Command::new("sh");
                let script = format!("{preparations}; exec \"$0\" server \"$1\"");
                command.arg("-c").arg(script).arg(binary()).arg(config);
                command
            }
        };
        command.env_clear().env("PATH", environment::search_path()).env("HOME", self.folder());
        if let Some(endpoint) = &self.options.aws_endpoint {
            command.env("AWS_ENDPOINT_URL_SECRETS_MANAGER", endpoint);
            command.env("AWS_ENDPOINT_URL_STS", endpoint);
        }
        command.envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        let output = log.try_clone().expect("a file can be shared");
        command.stdin(Stdio::null()).stdout(output).stderr(log).current_dir(self.folder());
        self.process = Some(command.spawn().expect("the server's binary starts"));
    }

    async fn wait_until_answering(&mut self) {
        let port = self.port;
        eventually("the server listens", async || {
            assert!(!self.has_ended(), "the server ended at once:\n{}", self.log());
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill().ok();
            process.wait().ok();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.iter().skip(lines.len().saturating_sub(40));
            let text: Vec<&str> = last.copied().collect();
            report(&format!("--- end of the server's log ---\n{}", text.join("\n")));
        }
    }
}

#[expect(clippy::print_stderr, reason = "a failing test shows the server's log")]
fn report(text: &str) {
    eprintln!("{text}");
}
