//! An agent that starts as root and becomes somebody who may do less.

use crate::world::Agent;
use bailee_fake_clouds::FakeAws;
use bailee_testkit::{eventually, free_port};
use rustix::process::{Signal, geteuid};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
};

/// The group that it takes, which is not that of the user.
const GROUP: u32 = 1;

const CONFIGURATION: &str = r#"
secret_manager "prod" {
  type                   = "aws-sm"
  authentication         = "access-key"
  region                 = "us-east-1"
  access_key_id          = "KEY_ID"
  secret_access_key_file = "{folder}/secret-key"
  endpoint               = "AWS_ADDRESS"
  refresh                = "1s"
}
user  = "nobody"
group = "1"
"#;

const OUTPUTS: &str = r#"
file {
  path     = "{folder}/own/db.conf"
  template = "password={{ (awsSecret \"prod\" \"orders\").password }}"
  mode     = "0640"
}
exec {
  command     = ["/bin/sh", "-c", "cat /proc/self/status > {folder}/own/child; printf '%s' \"$PASSWORD\" > {folder}/own/given; exec sleep 3600"]
  environment = { PASSWORD = "orders#password" }
}
listener "socket" { path = "{folder}/own/agent.sock" }
listener "secretsmanager" {
  address      = "127.0.0.1:PORT"
  token_file   = "{folder}/own/token"
  create_token = true
}
cache {
  path           = "{folder}/own/cache"
  key_credential = "cache-key"
}
"#;

/// Who a process is, in the words of its system.
#[derive(Debug, PartialEq, Eq)]
struct Who {
    /// Real, effective, saved and that of file systems.
    users: Vec<u32>,
    groups: Vec<u32>,
    beside: BTreeSet<u32>,
    /// Inheritable, permitted, effective and ambient ones.
    capabilities: Vec<String>,
}

impl Who {
    fn read(status: &str) -> Who {
        let field = |name: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
        };
        let numbers = |name: &str| -> Vec<u32> {
            field(name).split_whitespace().map(|id| id.parse().unwrap()).collect()
        };
        let capabilities = ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"];
        Who {
            users: numbers("Uid:"),
            groups: numbers("Gid:"),
            beside: numbers("Groups:").into_iter().collect(),
            capabilities: capabilities.map(|name| field(name).trim().to_owned()).into(),
        }
    }

    /// Nobody, with the group and without any right of root's.
    fn nobody() -> Who {
        Who {
            users: vec![nobody(); 4],
            groups: vec![GROUP; 4],
            beside: groups_of_nobody(),
            capabilities: vec!["0000000000000000".to_owned(); 4],
        }
    }
}

fn nobody() -> u32 {
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let line = accounts.lines().find(|line| line.starts_with("nobody:"));
    let line = line.expect("this test needs the user nobody in /etc/passwd");
    line.split(':').nth(2).unwrap().parse().unwrap()
}

/// The group that is configured, and those that have nobody among their members.
fn groups_of_nobody() -> BTreeSet<u32> {
    let groups = fs::read_to_string("/etc/group").unwrap();
    let member = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let (id, members) = (fields.next()?.parse().ok()?, fields.next()?);
        members.split(',').any(|member| member == "nobody").then_some(id)
    };
    groups.lines().filter_map(member).chain([GROUP]).collect()
}

fn owner(path: &Path) -> (u32, u32, u32) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.uid(), metadata.gid(), metadata.mode() & 0o777)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_root_becomes_its_user_with_all_that_it_makes_and_runs() {
    let aws = FakeAws::start().await;
    aws.put_secret("orders", r#"{"password":"canary-first"}"#);
    let key = aws.administrator().clone();
    let basis =
        CONFIGURATION.replace("KEY_ID", &key.access_key_id).replace("AWS_ADDRESS", &aws.endpoint());
    let mut agent = Agent::new(&basis);
    agent.private("secret-key", &key.secret_access_key);
    if !geteuid().is_root() {
        // Only root can become somebody else, and only root can see that. What is left is that others are told.
        let ended = agent.ends("run").await;
        assert_ne!(ended.code, 0, "{ended:?}");
        let told = "user \"nobody\": only root can become somebody else";
        assert!(ended.err.contains(told), "{ended:?}");
        return;
    }
    let outputs = OUTPUTS.replace("PORT", &free_port().to_string());
    agent.configure(&format!("{basis}{outputs}"));
    agent.for_everybody();
    let own = agent.path("own");
    fs::create_dir(&own).unwrap();
    chown(&own, Some(nobody()), Some(GROUP)).unwrap();
    // As systemd leaves it for a service that has a user.
    let credentials = agent.path("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("cache-key"), [7; 32]).unwrap();
    let readable = fs::Permissions::from_mode(0o440);
    fs::set_permissions(credentials.join("cache-key"), readable).unwrap();
    agent.environment.push(("CREDENTIALS_DIRECTORY", credentials));

    let checked = agent.ends("check").await;
    assert_eq!(checked.code, 0, "{checked:?}");
    agent.started().await;
    let threads = fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
    let threads: Vec<Who> = threads
        .map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).unwrap())
        .map(|status| Who::read(&status))
        .collect();
    assert!(!threads.is_empty() && threads.iter().all(|who| *who == Who::nobody()), "{threads:?}");

    agent.until("own/given", "canary-first").await;
    assert_eq!(Who::read(&agent.content("own/child")), Who::nobody());
    agent.until("own/db.conf", "password=canary-first").await;
    let made = |name: &str| owner(&own.join(name));
    assert_eq!(made("db.conf"), (nobody(), GROUP, 0o640));
    // These were made by root, before.
    assert_eq!(made("agent.sock"), (nobody(), GROUP, 0o600));
    assert_eq!(made("token"), (nobody(), GROUP, 0o600));

    // What it became is enough to go on.
    aws.put_secret("orders", r#"{"password":"canary-second"}"#);
    agent.until("own/given", "canary-second").await;
    agent.until("own/db.conf", "password=canary-second").await;
    assert_eq!(Who::read(&agent.content("own/child")), Who::nobody());
    assert_eq!(made("db.conf"), (nobody(), GROUP, 0o640));
    agent.signal(Signal::TERM);
    assert_eq!(agent.code().await, Some(143));
    assert_eq!(made("cache"), (nobody(), GROUP, 0o600));
    assert!(!own.join("agent.sock").exists());

    // And to begin again where it ended.
    agent.started().await;
    eventually("the cache is read", async || {
        agent.content("log").contains("secrets of an earlier run taken back secrets=1")
    })
    .await;
    agent.assert_told_nothing(&["canary", &key.secret_access_key]);
    agent.signal(Signal::TERM);
    assert_eq!(agent.code().await, Some(143));
}
