//! The tutorial of the `aws` engine, typed into our command line as into the one it was written for:
//! against the fake, whose keys work after a while, and against moto. What comes out is used by boto3.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use bailee_fake_clouds::FakeAws;
use bailee_testkit::{
    Options, Program, Storage, TestServer, binary, eventually, python, search_path,
};
use serde_json::Value;
use std::{os::unix::fs::symlink, process::Command, time::Duration};
use tempfile::TempDir;

const CONFIGURE: &str = r"
vault secrets enable -path=aws aws
vault write aws/config/root \
    access_key=$AWS_ACCESS_KEY_ID \
    secret_key=$AWS_SECRET_ACCESS_KEY \
    iam_endpoint=$AWS sts_endpoint=$AWS \
    region=us-east-1
";
const ROLE: &str = r#"
vault write aws/roles/my-role \
        credential_type=iam_user \
        policy_document=-<<EOF
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "Stmt1426528957000",
      "Effect": "Allow",
      "Action": [
        "ec2:*"
      ],
      "Resource": [
        "*"
      ]
    }
  ]
}
EOF
"#;

/// Someone at a shell, with a server, AWS, and the engine's own key.
struct Terminal {
    server: TestServer,
    home: TempDir,
    aws: String,
    key: [String; 2],
}

/// What `read aws/creds/…` printed.
#[derive(Debug)]
struct Given {
    lease: String,
    key: [String; 2],
}

impl Terminal {
    async fn open(port: u16) -> Terminal {
        let config = format!(
            "aws {{ allowed_ipv4_addresses = [\"127.0.0.0/8\"]\n allowed_ports = [\"{port}\"] }}"
        );
        let options = Options { storage: Storage::Memory, config, ..Options::default() };
        let server = TestServer::start_with(options).await;
        let home = tempfile::tempdir().unwrap();
        symlink(binary(), home.path().join("vault")).unwrap();
        let aws = format!("http://127.0.0.1:{port}");
        Terminal { server, home, aws, key: Default::default() }
    }

    /// Everything that the lines print.
    fn types(&self, lines: &str) -> String {
        let mut path = self.home.path().as_os_str().to_owned();
        path.push(":");
        path.push(search_path());
        let [id, secret] = &self.key;
        let output = Command::new("bash")
            .args(["--norc", "-e", "-c", &format!("exec 2>&1\n{lines}")])
            .env_clear()
            .envs([("PATH", path), ("HOME", self.home.path().into())])
            .envs([("VAULT_ADDR", self.server.api().base())])
            .envs([("VAULT_TOKEN", self.server.api().token()), ("AWS", &self.aws)])
            .envs([("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)])
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{lines}\n{printed}");
        printed
    }

    fn reads(&self) -> Given {
        let printed = self.types("vault read aws/creds/my-role");
        let value = |name: &str| {
            let line = printed.lines().find(|line| line.split(' ').next() == Some(name));
            line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or_default().to_owned()
        };
        let given =
            Given { lease: value("lease_id"), key: [value("access_key"), value("secret_key")] };
        let [id, secret] = &given.key;
        let lines = [
            ("Key", "Value"),
            ("---", "-----"),
            ("lease_id", &given.lease),
            ("lease_duration", &value("lease_duration")),
            ("lease_renewable", "true"),
            ("access_key", id),
            ("secret_key", secret),
            ("security_token", "<nil>"),
            ("session_token", "<nil>"),
        ];
        let lines = lines.map(|(name, value)| format!("{name:<19}{value}\n"));
        assert_eq!(printed, lines.concat());
        assert!(given.lease.starts_with("aws/creds/my-role/") && id.starts_with("AKIA"));
        given
    }

    /// What AWS says to calls that are made with a key: `service.operation`, one after the other.
    fn calls(&self, key: &[String; 2], calls: &str) -> Vec<String> {
        const PROGRAM: &str = "\
import sys, boto3
from botocore.config import Config
from botocore.exceptions import ClientError
for call in sys.argv[2:]:
    service, operation = call.split('.')
    client = boto3.client(service, region_name='us-east-1', endpoint_url=sys.argv[1],
        config=Config(retries={'max_attempts': 0}))
    try:
        getattr(client, operation)()
        print('fine')
    except ClientError as error:
        print(error.response['Error']['Code'])
";
        let [id, secret] = key;
        let mut command = Command::new(python());
        command.args(["-c", PROGRAM, &self.aws]).args(calls.split(' '));
        command.envs([("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answers = String::from_utf8(output.stdout).unwrap();
        answers.lines().map(str::to_owned).collect()
    }

    fn configures(&self) {
        let printed = self.types(CONFIGURE);
        let expected = "Success! Enabled the aws secrets engine at: aws/\n\
                        Success! Data written to: aws/config/root\n";
        assert_eq!(printed, expected);
        assert_eq!(self.types(ROLE), "Success! Data written to: aws/roles/my-role\n");
    }

    /// The policy that an engine says its user needs.
    fn policy(&self) -> Value {
        self.types("vault secrets enable -path=asked aws");
        let asked = "vault aws root-policy -mount=asked -credential-type=iam_user";
        let printed = self.types(asked);
        serde_json::from_str(&printed).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorial_ends_as_it_says() {
    let aws = FakeAws::start().await;
    aws.set_new_key_delay(Duration::from_secs(1));
    aws.set_new_key_delay_spread(Duration::from_secs(2));
    let mut terminal = Terminal::open(aws.port()).await;
    let key = aws.create_user("engine", &[&terminal.policy().to_string()]);
    terminal.key = [key.access_key_id, key.secret_access_key];
    terminal.configures();

    let (first, second) = (terminal.reads(), terminal.reads());
    for given in [&first, &second] {
        // It works as it arrives, and does what its policy says and nothing else.
        let answers = terminal.calls(&given.key, "sts.get_caller_identity iam.list_users");
        assert_eq!(answers, ["fine", "AccessDenied"]);
    }
    let printed = terminal.types(&format!("vault lease revoke {}", first.lease));
    assert_eq!(printed, "All revocation operations queued successfully!\n");
    let [id, _] = &first.key;
    eventually("the key is gone", async || !aws.key_works(id)).await;
    let ended = terminal.calls(&first.key, "sts.get_caller_identity");
    assert_eq!(ended, ["InvalidClientTokenId"]);
    assert_eq!(terminal.calls(&second.key, "sts.get_caller_identity"), ["fine"]);

    let third = terminal.reads();
    let printed = terminal.types("vault lease revoke -sync -prefix aws/creds/my-role");
    assert_eq!(printed, "Success! Revoked any leases with prefix: aws/creds/my-role\n");
    for given in [&second, &third] {
        let ended = terminal.calls(&given.key, "sts.get_caller_identity");
        assert_eq!(ended, ["InvalidClientTokenId"]);
    }

    let printed = terminal.types("vault write aws/config/lease lease=3s lease_max=6s");
    assert_eq!(printed, "Success! Data written to: aws/config/lease\n");
    let given = terminal.reads();
    let [id, _] = &given.key;
    eventually("a short lease ends by itself", async || !aws.key_works(id)).await;
    eventually("no user is left", async || {
        !aws.users().iter().any(|name| name.starts_with("vault-"))
    })
    .await;
    terminal.server.assert_no_panic();
}

/// The engine's own user in moto, which then checks keys and policies. A policy whose resource is
/// anything but `*` allows nothing there.
fn enforce(moto: &Program, mut policy: Value) -> [String; 2] {
    const PROGRAM: &str = "\
import json, sys, urllib.request, boto3
iam = boto3.client('iam', region_name='us-east-1', endpoint_url=sys.argv[1],
    aws_access_key_id='AKIAMOTO', aws_secret_access_key='moto')
iam.create_user(UserName='engine')
iam.put_user_policy(UserName='engine', PolicyName='own', PolicyDocument=sys.argv[2])
key = iam.create_access_key(UserName='engine')['AccessKey']
urllib.request.urlopen(urllib.request.Request(sys.argv[1] + '/moto-api/reset-auth', data=b'0',
    headers={'Content-Type': 'text/plain'}))
print(json.dumps([key['AccessKeyId'], key['SecretAccessKey']]))
";
    for statement in policy.pointer_mut("/Statement").and_then(Value::as_array_mut).unwrap() {
        statement.as_object_mut().unwrap().insert("Resource".to_owned(), "*".into());
    }
    let mut command = Command::new(python());
    let output = command.args(["-c", PROGRAM, &moto.url(), &policy.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_lets_the_keys_do_what_their_policy_says_until_they_are_revoked() {
    let moto = Program::moto().await;
    let mut terminal = Terminal::open(moto.port()).await;
    terminal.key = enforce(&moto, terminal.policy());
    terminal.configures();
    let allowed = "ec2.describe_instances sts.get_caller_identity";
    let given = terminal.reads();
    assert_eq!(terminal.calls(&given.key, allowed), ["fine", "fine"]);
    assert_eq!(terminal.calls(&given.key, "iam.list_users"), ["AccessDenied"]);

    // The engine's own key is another one from now on, also for AWS.
    let printed = terminal.types("vault write -f aws/config/rotate-root");
    let id = printed.split_whitespace().last().unwrap_or_default();
    let lines = [("Key", "Value"), ("---", "-----"), ("access_key", id)];
    assert_eq!(printed, lines.map(|(name, value)| format!("{name:<14}{value}\n")).concat());
    assert!(id.starts_with("AKIA") && *id != terminal.key[0], "{printed}");
    let ended = terminal.calls(&terminal.key, "sts.get_caller_identity");
    assert_eq!(ended, ["InvalidClientTokenId"]);

    let other = terminal.reads();
    assert_eq!(terminal.calls(&other.key, allowed), ["fine", "fine"]);
    terminal.types("vault lease revoke -sync -prefix aws/creds/my-role");
    for given in [&given, &other] {
        assert_eq!(terminal.calls(&given.key, allowed), ["AuthFailure", "InvalidClientTokenId"]);
    }
    terminal.server.assert_no_panic();
}
