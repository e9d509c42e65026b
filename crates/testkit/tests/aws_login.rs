//! Users and roles of AWS log in at a whole server, from the command line: against the fake that checks
//! every signature, and against moto.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use bailee_fake_clouds::{FakeAws, aws::Key};
use bailee_testkit::{Options, Program, Storage, TestServer, Watch, binary, python, workspace};
use serde_json::{Value, json};
use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

const ACCOUNT: &str = "123456789012";
const TRUST: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}"#;

/// The policy of docs/aws-login.md, as a reader copies it.
fn documented() -> Value {
    let page = std::fs::read_to_string(workspace().join("docs/aws-login.md")).unwrap();
    let block = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
    serde_json::from_str(block.unwrap()).unwrap()
}

/// A server whose engines may reach one port of this machine, with the method mounted.
async fn server_beside(port: u16, options: Options) -> TestServer {
    let config = format!(
        "aws {{\n  allowed_ipv4_addresses = [\"127.0.0.1/32\"]\n  allowed_ports = [{port}]\n}}\n"
    );
    let server = TestServer::start_with(Options { config, ..options }).await;
    server.api().post("sys/auth/aws", json!({ "type": "aws" })).await.done();
    server
}

async fn beside(aws: &FakeAws, options: Options) -> TestServer {
    let server = server_beside(aws.port(), options).await;
    let key = aws.create_user("looker", &[&documented().to_string()]);
    let client = json!({
        "sts_endpoint": aws.endpoint(),
        "iam_endpoint": aws.endpoint(),
        "access_key": key.access_key_id,
        "secret_key": key.secret_access_key,
        "iam_server_id_header_value": "vault.example",
    });
    server.api().post("auth/aws/config/client", client).await.done();
    server
}

/// Logs in from the command line; keys are in the environment, as for the AWS tools.
fn log_in(server: &TestServer, keys: &[(&str, &str)], arguments: &[&str], input: &str) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.env_clear().env("HOME", home.path()).env("VAULT_ADDR", server.api().base());
    command.envs(keys.iter().copied()).args(["login", "-method=aws", "-format=json"]);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut command = command.spawn().unwrap();
    command.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    command.wait_with_output().unwrap()
}

fn variables(key: &Key) -> Vec<(&'static str, &str)> {
    let mut variables = vec![
        ("AWS_ACCESS_KEY_ID", key.access_key_id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", key.secret_access_key.as_str()),
    ];
    variables.extend(key.session_token.as_deref().map(|token| ("AWS_SESSION_TOKEN", token)));
    variables
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn auth(output: &Output) -> Value {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    answer.pointer("/auth").cloned().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_keys_of_aws_logs_in_from_the_command_line() {
    let aws = FakeAws::start().await;
    let options = Options { storage: Storage::Memory, ..Options::default() };
    let server = beside(&aws, options).await;
    let api = server.api();
    let bob = aws.create_user("bob", &[]);
    let role = json!({
        "bound_iam_principal_arn": format!("arn:aws:iam::{ACCOUNT}:user/bob"),
        "token_policies": "app",
        "token_ttl": "10m",
    });
    api.post("auth/aws/role/dev", role).await.done();
    let endpoint = format!("sts_endpoint={}", aws.endpoint());
    let arguments = ["role=dev", "header_value=vault.example", endpoint.as_str()];
    let login = auth(&log_in(&server, &variables(&bob), &arguments, ""));
    assert_eq!(login.pointer("/policies"), Some(&json!(["app", "default"])));
    assert_eq!(login.pointer("/lease_duration"), Some(&json!(600)));
    assert_eq!(login.pointer("/metadata/account_id"), Some(&json!(ACCOUNT)));
    let token = login.pointer("/client_token").and_then(Value::as_str).unwrap();
    let known = api.with_token(token).get("auth/token/lookup-self").await.ok();
    assert_eq!(known.at("/data/display_name"), json!("aws-bob"));
    assert_eq!(known.at("/data/path"), json!("auth/aws/login"));
    api.with_token(token).post("auth/token/renew-self", json!({})).await.done();
    // Keys of a file or standard input; and a second login in the same second is signed anew.
    let id = format!("aws_access_key_id={}", bob.access_key_id);
    let mut given = arguments.to_vec();
    given.extend([id.as_str(), "aws_secret_access_key=-"]);
    auth(&log_in(&server, &[], &given, &bob.secret_access_key));
    auth(&log_in(&server, &[], &given, &bob.secret_access_key));
    let refused = log_in(&server, &variables(&bob), &["role=dev", endpoint.as_str()], "");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("X-Vault-AWS-IAM-Server-ID"), "{refused:?}");
    // A role's session logs in as the role of its own name.
    let ci = aws.create_role("ci", TRUST, &[]);
    api.post("auth/aws/role/ci", json!({ "bound_iam_principal_arn": ci })).await.done();
    let session = aws.role_session("ci", "i-1", std::time::Duration::from_secs(900), None);
    let arguments = ["header_value=vault.example", endpoint.as_str()];
    let login = auth(&log_in(&server, &variables(&session), &arguments, ""));
    let token = login.pointer("/client_token").and_then(Value::as_str).unwrap();
    let known = api.with_token(token).get("auth/token/lookup-self").await.ok();
    assert_eq!(known.at("/data/display_name"), json!("aws-ci/i-1"));
    server.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_signatures_appear_nowhere() {
    let aws = FakeAws::start().await;
    let mut server = beside(&aws, Options { log_level: "trace", ..Options::default() }).await;
    let api = server.api().clone();
    let audit = server.folder().join("audit.log");
    let device = json!({ "type": "file", "options": { "file_path": audit } });
    api.put("sys/audit/file", device).await.done();
    const SECRET: &str = "canary-secret-key-8c1f02d7";
    let client = json!({ "access_key": "AKIACANARY", "secret_key": SECRET });
    api.post("auth/aws/config/client", client).await.done();
    let mut watch = Watch::default();
    watch.answer(&api.get("auth/aws/config/client").await.ok(), &[SECRET]);
    let ci = aws.create_role("ci", TRUST, &[]);
    let role = json!({ "bound_iam_principal_arn": ci, "resolve_aws_unique_ids": false });
    api.post("auth/aws/role/ci", role).await.done();
    let session = aws.role_session("ci", "i-1", std::time::Duration::from_secs(900), None);
    let endpoint = format!("sts_endpoint={}", aws.endpoint());
    let arguments = ["role=ci", "header_value=vault.example", endpoint.as_str()];
    auth(&log_in(&server, &variables(&session), &arguments, ""));
    // Refused by STS, and by ourselves: neither repeats what it was given.
    let wrong = Key { secret_access_key: "wrong".to_owned(), ..session.clone() };
    let token = session.session_token.clone().unwrap();
    let private = [SECRET, session.secret_access_key.as_str(), token.as_str()];
    for arguments in [&arguments[..], &arguments[..1]] {
        let refused = log_in(&server, &variables(&wrong), arguments, "");
        assert_eq!(refused.status.code(), Some(2));
        watch.search("a refusal", &refused.stderr, &private);
    }
    watch.storage(&server, &private);
    server.kill();
    watch.search("the log", server.log().as_bytes(), &private);
    let audited = std::fs::read(&audit).unwrap_or_default();
    assert!(text(&audited).contains("auth/aws/login"), "logins are audited");
    watch.search("the audit file", &audited, &private);
    assert!(!text(&audited).contains("AWS4-HMAC"), "signatures are not audited in clear");
    assert!(watch.found.is_empty(), "{}", watch.found.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_policy_is_enough_and_each_permission_of_it_is_needed() {
    let aws = FakeAws::start().await;
    let options = Options { storage: Storage::Memory, ..Options::default() };
    let server = beside(&aws, options).await;
    let api = server.api();
    aws.create_user("bob", &[]);
    aws.create_role("ci", TRUST, &[]);
    let bound =
        |kind: &str| json!({ "bound_iam_principal_arn": format!("arn:aws:iam::{ACCOUNT}:{kind}") });
    for (kind, action) in [("user/bob", "iam:GetUser"), ("role/ci", "iam:GetRole")] {
        let mut without = documented();
        let actions = without.pointer_mut("/Statement/0/Action").and_then(Value::as_array_mut);
        actions.unwrap().retain(|listed| listed != action);
        aws.set_user_policies("looker", &[&without.to_string()]);
        api.post("auth/aws/role/r", bound(kind)).await.refused(400, action);
        aws.set_user_policies("looker", &[&documented().to_string()]);
        api.post("auth/aws/role/r", bound(kind)).await.done();
    }
}

/// A user and a role, both below a path, and keys of each.
fn people(moto: &Program) -> Value {
    const PROGRAM: &str = "\
import json, sys, boto3
def client(name):
    return boto3.client(name, region_name='us-east-1', endpoint_url=sys.argv[1],
        aws_access_key_id='AKIAMOTO', aws_secret_access_key='moto')
iam, sts = client('iam'), client('sts')
user = iam.create_user(UserName='bob', Path='/team/')['User']['Arn']
keys = iam.create_access_key(UserName='bob')['AccessKey']
trust = '{\"Version\": \"2012-10-17\", \"Statement\": []}'
role = iam.create_role(RoleName='ci', Path='/team/', AssumeRolePolicyDocument=trust)['Role']['Arn']
session = sts.assume_role(RoleArn=role, RoleSessionName='s-1')['Credentials']
print(json.dumps({'user': user, 'role': role,
    'bob': [keys['AccessKeyId'], keys['SecretAccessKey']],
    'ci': [session['AccessKeyId'], session['SecretAccessKey'], session['SessionToken']]}))
";
    let output = Command::new(python()).args(["-c", PROGRAM, &moto.url()]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_moto_knows_logs_in() {
    let moto = Program::moto().await;
    let people = people(&moto);
    let options = Options { storage: Storage::Memory, ..Options::default() };
    let server = server_beside(moto.port(), options).await;
    let api = server.api();
    let client = json!({
        "sts_endpoint": moto.url(), "iam_endpoint": moto.url(),
        "access_key": "AKIAMOTO", "secret_key": "moto",
    });
    api.post("auth/aws/config/client", client).await.done();
    let key = |name: &str| {
        let part = |place: usize| {
            people.pointer(&format!("/{name}/{place}")).and_then(Value::as_str).map(str::to_owned)
        };
        let (access_key_id, secret_access_key) = (part(0).unwrap(), part(1).unwrap());
        Key { access_key_id, secret_access_key, session_token: part(2) }
    };
    for (role, arn, name) in [
        ("users", people.pointer("/user").cloned().unwrap(), "bob"),
        ("roles", people.pointer("/role").cloned().unwrap(), "ci"),
        ("team", json!(format!("arn:aws:iam::{ACCOUNT}:role/team/*")), "ci"),
    ] {
        let fields = json!({ "bound_iam_principal_arn": arn });
        api.post(&format!("auth/aws/role/{role}"), fields).await.done();
        let role = format!("role={role}");
        auth(&log_in(&server, &variables(&key(name)), &[&role], ""));
    }
    let other =
        json!({ "bound_iam_principal_arn": format!("arn:aws:iam::{ACCOUNT}:role/other/*") });
    api.post("auth/aws/role/other", other).await.done();
    let refused = log_in(&server, &variables(&key("ci")), &["role=other"], "");
    assert!(text(&refused.stderr).contains("does not belong to the role"), "{refused:?}");
    server.assert_no_panic();
}
