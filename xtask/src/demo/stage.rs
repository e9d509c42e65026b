//! The processes and files of a demo, and their end on every way out.

use super::view::{ENDPOINTS, View};
use crate::tools;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Time between two looks of boto3 at a name.
const POLL_MOTO: Duration = Duration::from_millis(4);
const POLL_AWS: Duration = Duration::from_millis(50);
/// Steps and patience of waiting for a process to listen.
const LISTEN_STEP: Duration = Duration::from_millis(20);
const LISTEN_STEPS_MAX: u32 = 1500;

/// What moto is told; it takes any.
const DEMO_KEY_ID: &str = "AKIADEMODEMODEMODEMO";

/// The caller's own account, from the environment.
pub(super) struct Account {
    key_id: String,
    secret: String,
    session_token: Option<String>,
    pub(super) region: String,
    /// What all names begin with; nobody else's do.
    pub(super) prefix: String,
}

impl Account {
    pub(super) fn read() -> Result<Account> {
        let needed = |name: &str| {
            let missing = || format!("{name} is not set; --aws takes credentials from there");
            tools::environment(name).with_context(missing)
        };
        let region = tools::environment("AWS_REGION").or(tools::environment("AWS_DEFAULT_REGION"));
        let mut random = [0_u8; 6];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let unique: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Account {
            key_id: needed("AWS_ACCESS_KEY_ID")?,
            secret: needed("AWS_SECRET_ACCESS_KEY")?,
            session_token: tools::environment("AWS_SESSION_TOKEN"),
            region: region.context("AWS_REGION is not set")?,
            prefix: format!("vault/bailee-demo-{unique}"),
        })
    }

    /// Enough of the key to know it by.
    pub(super) fn shown_key(&self) -> String {
        let shown: String = self.key_id.chars().take(8).collect();
        format!("{shown}…")
    }
}

/// Everything that runs or lies around.
pub(super) struct Stage {
    python: PathBuf,
    folder: PathBuf,
    bailee: PathBuf,
    account: Option<Account>,
    moto: Option<(Child, u16)>,
    server: Option<Child>,
    port: u16,
    view: Option<View>,
    left_running: bool,
}

impl Stage {
    pub(super) fn new(account: Option<Account>, python: &Path) -> Result<Stage> {
        let folder = tempfile::TempDir::with_prefix("bailee-demo-")?.keep();
        Ok(Stage {
            python: python.to_owned(),
            folder,
            bailee: tools::target().join("debug/bailee"),
            account,
            moto: None,
            server: None,
            port: 0,
            view: None,
            left_running: false,
        })
    }

    /// A folder of the demo's own, gone afterwards.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The Python that has boto3.
    pub(super) fn python(&self) -> &Path {
        &self.python
    }

    pub(super) fn bailee(&self) -> &Path {
        &self.bailee
    }

    /// What AWS names begin with.
    pub(super) fn prefix(&self) -> &str {
        self.account.as_ref().map_or("vault/demo", |account| &account.prefix)
    }

    /// AWS, in words.
    pub(super) fn aws_name(&self) -> String {
        match (&self.account, &self.moto) {
            (Some(account), _) => format!("AWS, your account, {}", account.region),
            (None, Some((_, port))) => format!("moto as AWS, http://127.0.0.1:{port}"),
            (None, None) => "no AWS".to_owned(),
        }
    }

    pub(super) fn view(&mut self) -> Result<&mut View> {
        self.view.as_mut().context("boto3 is not running")
    }

    /// Starts AWS, unless it is the real one, and boto3 looking at it.
    pub(super) async fn start_aws(&mut self) -> Result<()> {
        if self.account.is_none() {
            let port = free_port()?;
            let mut command = Command::new(&self.python);
            command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
            let child = self.spawn(&mut command, "moto.log")?;
            self.moto = Some((child, port));
            let moto = self.moto.as_mut().map(|(child, _)| child).context("moto")?;
            wait_for_listener("moto", port, moto).await?;
        }
        let poll = if self.account.is_some() { POLL_AWS } else { POLL_MOTO };
        self.view = Some(View::open(&self.python, &self.aws_environment(), poll)?);
        Ok(())
    }

    /// What any AWS client needs to reach this AWS.
    pub(super) fn aws_environment(&self) -> Vec<(String, String)> {
        let mut variables = Vec::new();
        let mut set = |name: &str, value: &str| variables.push((name.to_owned(), value.to_owned()));
        set("AWS_EC2_METADATA_DISABLED", "true");
        match (&self.account, &self.moto) {
            (Some(account), _) => set("AWS_DEFAULT_REGION", &account.region),
            (None, Some((_, port))) => {
                set("AWS_DEFAULT_REGION", "us-east-1");
                set("AWS_ENDPOINT_URL", &format!("http://127.0.0.1:{port}"));
                set("AWS_ACCESS_KEY_ID", DEMO_KEY_ID);
                set("AWS_SECRET_ACCESS_KEY", "made-up-for-the-demo");
            }
            (None, None) => {}
        }
        variables
    }

    /// Writes the server's configuration and the key file that the destination is made from.
    pub(super) fn write_files(&mut self) -> Result<PathBuf> {
        self.port = free_port()?;
        let ambient = self.account.as_ref().is_some_and(|account| account.session_token.is_some());
        let sync = if ambient { "sync {\n  ambient_credentials = true\n}\n" } else { "" };
        let text = format!(
            "storage \"embedded\" {{\n  path = {:?}\n}}\nlistener \"tcp\" {{\n  \
             address     = \"127.0.0.1:{}\"\n  tls_disable = true\n}}\ndisable_mlock = true\n{sync}",
            self.folder.join("data"),
            self.port
        );
        let config = self.folder.join("bailee.hcl");
        fs::write(&config, text)?;
        let secret =
            self.account.as_ref().map_or("made-up-for-the-demo", |account| &account.secret);
        self.write_private("aws-key.txt", secret)?;
        let key_id = self.account.as_ref().map_or(DEMO_KEY_ID, |account| &account.key_id);
        self.write_private("aws-key-id.txt", key_id)?;
        Ok(config)
    }

    /// The fields of the destination, and what its command reads from standard input.
    pub(super) fn destination(&self) -> (Vec<String>, String) {
        let mut fields = Vec::new();
        let template = format!("{}/{{{{ .SecretPath }}}}", self.prefix());
        fields.push(format!("secret_name_template={template}"));
        let Some(account) = &self.account else {
            let port = self.moto.as_ref().map_or(0, |(_, port)| *port);
            fields.push("region=us-east-1".to_owned());
            fields.push("allowed_ipv4_addresses=127.0.0.0/8".to_owned());
            fields.push(format!("allowed_ports={port}"));
            fields.push("access_key_id=-".to_owned());
            fields.push(format!("secret_access_key=@{}", self.key_file().display()));
            return (fields, DEMO_KEY_ID.to_owned());
        };
        fields.push(format!("region={}", account.region));
        if account.session_token.is_some() {
            // Temporary credentials: the server takes them from its own environment.
            return (fields, String::new());
        }
        fields.push("access_key_id=-".to_owned());
        fields.push(format!("secret_access_key=@{}", self.key_file().display()));
        (fields, account.key_id.clone())
    }

    fn key_file(&self) -> PathBuf {
        self.folder.join("aws-key.txt")
    }

    /// Writes a file that only this user can read.
    pub(super) fn write_private(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        let mut file =
            OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(path)
    }

    /// Starts the server, on the data that is there.
    pub(super) async fn start_server(&mut self) -> Result<()> {
        let config = format!("-config={}", self.folder.join("bailee.hcl").display());
        let mut command = Command::new(&self.bailee);
        command.arg("server").arg(config);
        if self.account.as_ref().is_none_or(|account| account.session_token.is_none()) {
            for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
                command.env_remove(name);
            }
        }
        for name in ENDPOINTS {
            command.env_remove(name);
        }
        if let Some((_, port)) = &self.moto {
            let endpoint = format!("http://127.0.0.1:{port}");
            command.env("AWS_ENDPOINT_URL_SECRETS_MANAGER", endpoint);
        }
        let mut child = self.spawn(&mut command, "server.log")?;
        let listening = wait_for_listener("the server", self.port, &mut child).await;
        self.server = Some(child);
        listening
    }

    /// `kill -9`.
    pub(super) fn kill_server(&mut self) -> Result<()> {
        let mut server = self.server.take().context("the server does not run")?;
        server.kill().and_then(|()| server.wait()).context("kill -9").map(drop)
    }

    /// The address of the server.
    pub(super) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The end of the server's log, for a failure.
    pub(super) fn show_log(&self) {
        let log = fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.len().saturating_sub(15);
        tools::say("\n   the end of the server's log:");
        for line in lines.iter().skip(last) {
            tools::say(&format!("   | {line}"));
        }
    }

    fn spawn(&self, command: &mut Command, log: &str) -> Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(self.folder.join(log))?;
        // A group of its own: Ctrl-C reaches the demo alone, which ends the others in order.
        command.process_group(0).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command
            .spawn()
            .with_context(|| format!("{} does not start", command.get_program().display()))
    }

    /// Ends everything and removes the folder; in the caller's account, everything it made.
    pub(super) async fn end(mut self) -> Result<()> {
        let mut outcome = Ok(());
        self.stop_server();
        let environment = self.aws_environment();
        if let (Some(account), Some(view)) = (&self.account, &mut self.view) {
            // A stopped story may have left a question open: ask in a fresh process.
            *view = View::open(&self.python, &environment, POLL_AWS)?;
            let name = |path: &&str| format!("{}/{path}", account.prefix);
            let names: Vec<String> = super::story::BURST.iter().map(name).collect();
            match view.erase(&account.prefix, &names).await {
                Ok(count) => {
                    tools::say(&format!("   {count} secrets were left in AWS and are deleted"))
                }
                Err(error) => {
                    outcome = Err(error.context(format!(
                        "AWS was NOT cleaned: delete the secrets below {} yourself",
                        account.prefix
                    )));
                }
            }
        }
        outcome
    }

    /// The server is asked to end, then made to.
    fn stop_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().ok();
            server.wait().ok();
        }
    }

    /// Prints how to go on by hand, and how to stop.
    pub(super) fn leave_running(mut self) {
        self.left_running = true;
        let folder = self.folder.display();
        let mut text = format!(
            "\nEverything is left running, in {folder}. To go on:\n\n   \
             export PATH=\"{}:$PATH\"\n   export VAULT_ADDR={}\n   \
             export VAULT_TOKEN=$(cat {folder}/root-token)\n   \
             bailee kv put secret/app/mine key=value\n   \
             bailee sync associate aws-sm/demo secret app/mine\n   bailee sync status\n\n\
             What AWS holds:\n\n",
            self.bailee.parent().unwrap_or(&self.folder).display(),
            self.address(),
        );
        for (name, value) in self.aws_environment() {
            text.push_str(&format!("   export {name}={value}\n"));
        }
        let program = "import boto3; [print(s['Name']) for s in \
                       boto3.client('secretsmanager').list_secrets()['SecretList']]";
        text.push_str(&format!("   {} -c \"{program}\"\n\nTo stop:\n\n", self.python.display()));
        let pids = [self.server.as_ref(), self.moto.as_ref().map(|(child, _)| child)];
        let pids: Vec<String> =
            pids.into_iter().flatten().map(|child| child.id().to_string()).collect();
        text.push_str(&format!("   kill {}; rm -r {folder}", pids.join(" ")));
        if let Some(account) = &self.account {
            text.push_str(&format!("\n   and delete the secrets below {} in AWS", account.prefix));
        }
        tools::say(&text);
    }
}

/// The last guard, also when something panics.
impl Drop for Stage {
    fn drop(&mut self) {
        if self.left_running {
            return;
        }
        self.stop_server();
        if let Some((mut moto, _)) = self.moto.take() {
            moto.kill().ok();
            moto.wait().ok();
        }
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// A port below those that the system gives to outgoing connections: a restart finds it free.
fn free_port() -> Result<u16> {
    let mut random = [0_u8; 2];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let start = u16::from_be_bytes(random) % 20_000;
    for step in 0..200 {
        let port = 12_000 + (start + step) % 20_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1")
}

async fn wait_for_listener(name: &str, port: u16, child: &mut Child) -> Result<()> {
    for _ in 0..LISTEN_STEPS_MAX {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            bail!("{name} ended at once ({status})");
        }
        tokio::time::sleep(LISTEN_STEP).await;
    }
    bail!("{name} does not listen on port {port}")
}

/// A member of a JSON object that a command printed.
pub(super) fn member(text: &str, pointer: &str) -> Result<Value> {
    let document: Value = serde_json::from_str(text).context("the command printed no JSON")?;
    document.pointer(pointer).cloned().with_context(|| format!("no {pointer} in what was printed"))
}
