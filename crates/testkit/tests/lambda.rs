//! Replication as a function of AWS Lambda: a stand-in of the runtime API, the package, the stack.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use bailee_crypto::{Clock, SystemClock, clock::to_millis};
use bailee_fake_clouds::{
    FakeAws,
    aws::{Fault, RecordedCall},
};
use bailee_testkit::{Program, TestServer, binary, eventually, python};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// What the function told the runtime API.
#[derive(Clone, Debug)]
struct Said {
    path: String,
    headers: BTreeMap<String, String>,
    body: Value,
}

/// A stand-in of Lambda's runtime API.
struct Runtime {
    address: String,
    invocations: mpsc::Sender<(String, u64)>,
    said: mpsc::Receiver<Said>,
}

/// Far away, in milliseconds since 1970.
const FOR_LONG: u64 = 4_000_000_000_000;

impl Runtime {
    async fn start() -> Runtime {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (invocations, mut waiting) = mpsc::channel::<(String, u64)>(4);
        let (saying, said) = mpsc::channel(16);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let said = read(&mut stream).await;
                let answer = if said.path.ends_with("/invocation/next") {
                    // No more invocations: the API is gone.
                    let Some((id, deadline)) = waiting.recv().await else { return };
                    let body = json!({ "detail-type": "Scheduled Event" }).to_string();
                    format!(
                        "HTTP/1.1 200 OK\r\nlambda-runtime-aws-request-id: {id}\r\n\
                         lambda-runtime-deadline-ms: {deadline}\r\ncontent-length: {}\r\n\
                         connection: close\r\n\r\n{body}",
                        body.len()
                    )
                } else {
                    saying.send(said).await.unwrap();
                    "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                        .to_owned()
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Runtime { address, invocations, said }
    }

    async fn invoke(&mut self, id: &str) -> Said {
        self.invoke_until(id, FOR_LONG).await
    }

    async fn invoke_until(&mut self, id: &str, deadline: u64) -> Said {
        self.invocations.send((id.to_owned(), deadline)).await.unwrap();
        self.said.recv().await.unwrap()
    }
}

async fn read(stream: &mut TcpStream) -> Said {
    let mut bytes = Vec::new();
    let (head, start, length) = loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.unwrap();
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let headers: BTreeMap<String, String> = head
                .lines()
                .skip(1)
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
            let path = head.split(' ').nth(1).unwrap().to_owned();
            break ((path, headers), head.len() + 4, length);
        }
    };
    while bytes.len() < start + length {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.unwrap();
        bytes.extend_from_slice(&part[..count]);
    }
    let body = serde_json::from_slice(&bytes[start..]).unwrap_or_default();
    Said { path: head.0, headers: head.1, body }
}

/// The function as Lambda starts it.
struct Function(Child);

impl Function {
    fn start(runtime: &Runtime, folder: &Path, variables: &[(&str, &str)]) -> Function {
        let bootstrap = folder.join("bootstrap");
        if !bootstrap.exists() {
            symlink(binary(), &bootstrap).unwrap();
        }
        let mut command = Command::new(bootstrap);
        command.env_clear().env("AWS_LAMBDA_RUNTIME_API", &runtime.address);
        command.env("LAMBDA_TASK_ROOT", folder).env("AWS_REGION", "us-east-1");
        command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Function(command.spawn().unwrap())
    }

    async fn ended(&mut self) -> ExitStatus {
        eventually("the function ends", async || self.0.try_wait().unwrap().is_some()).await;
        self.0.wait().unwrap()
    }

    fn log(&mut self) -> String {
        let mut text = String::new();
        let mut out = self.0.stdout.take().unwrap();
        std::io::Read::read_to_string(&mut out, &mut text).unwrap();
        text
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A server with the sample's engine and a secret, and what the connection secret says of it.
async fn source() -> (TestServer, String) {
    let server = TestServer::start().await;
    server.enable_kv("apps").await;
    write(&server, "db", json!({ "password": "canary" })).await;
    let (address, token) = (server.api().base(), server.api().token());
    let connection = json!({ "vaultAddress": address, "vaultToken": token }).to_string();
    (server, connection)
}

async fn write(server: &TestServer, path: &str, data: Value) {
    let body = json!({ "data": data });
    server.api().put(&format!("apps/data/{path}"), body).await.ok().at("/data");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_replicates_and_one_that_fails_is_told() {
    let aws = FakeAws::start().await;
    let (server, connection) = source().await;
    aws.put_secret("apps/vault-connection-secret", &connection);
    let topic = aws.create_topic("failures");
    let key = aws.administrator();
    let folder = tempfile::tempdir().unwrap();
    let mut runtime = Runtime::start().await;
    let mut function = Function::start(
        &runtime,
        folder.path(),
        &[
            ("AWS_ENDPOINT_URL", &aws.endpoint()),
            ("AWS_ACCESS_KEY_ID", &key.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", &key.secret_access_key),
            ("secretsPrefix", "apps"),
            ("vaultSecretArn", "apps/vault-connection-secret"),
            ("failedReplicationTopicArn", &topic),
        ],
    );
    let said = runtime.invoke("11111111-aaaa").await;
    assert!(said.path.ends_with("/runtime/invocation/11111111-aaaa/response"), "{said:?}");
    let good = json!({ "status": "OK", "results": "Secrets created: 1, Secrets updated: 0" });
    assert_eq!(said.body, good);
    assert_eq!(aws.secret("apps/db").unwrap().value.unwrap(), r#"{"password":"canary"}"#);
    assert!(aws.messages(&topic).is_empty());

    server.api().put("sys/seal", json!({})).await.done();
    let said = runtime.invoke("22222222-bbbb").await;
    assert!(said.path.ends_with("/runtime/invocation/22222222-bbbb/error"), "{said:?}");
    assert_eq!(said.headers["lambda-runtime-function-error-type"], "ReplicationNotBegun");
    let told = said.body["errorMessage"].as_str().unwrap().to_owned();
    assert!(told.contains("sealed"), "{told}");
    let [message] = aws.messages(&topic).try_into().unwrap();
    let begin = "Account: 123456789012, Region: us-east-1. Replication did not begin: ";
    assert!(message.text.starts_with(begin), "{}", message.text);

    // It goes on after a failure.
    server.unseal().await;
    write(&server, "db", json!({ "password": "second" })).await;
    let said = runtime.invoke("33333333-cccc").await;
    let good = json!({ "status": "OK", "results": "Secrets created: 0, Secrets updated: 1" });
    assert_eq!(said.body, good);
    // Time that is over already: nothing is begun that would be cut off unseen.
    let said = runtime.invoke_until("44444444-dddd", 1).await;
    let told = said.body["errorMessage"].as_str().unwrap().to_owned();
    assert!(told.contains("nothing was changed"), "{told}");
    assert!(aws.messages(&topic).last().unwrap().text.contains("Replication was cut off: "));
    // Time that is over in the middle: what was done is told, and what was not.
    for number in 0..60 {
        write(&server, &format!("many/{number:02}"), json!({ "n": number })).await;
    }
    let soon = to_millis(SystemClock.now() + Duration::from_millis(9_500));
    aws.inject(Fault::delay("secretsmanager:CreateSecret", Duration::from_millis(600)));
    let said = runtime.invoke_until("55555555-eeee", soon).await;
    assert_eq!(said.headers["lambda-runtime-function-error-type"], "ReplicationCutOff");
    let told = aws.messages(&topic).last().unwrap().text.clone();
    assert!(
        told.contains("Replication was cut off: ") && told.contains("not done in time"),
        "{told}"
    );
    aws.clear_faults();
    let said = runtime.invoke("66666666-ffff").await;
    assert_eq!(said.body["status"], "OK", "{said:?}");

    drop(runtime);
    assert_eq!(function.ended().await.code(), Some(2), "a function without its API ends");
    let log = function.log();
    assert_eq!(log.lines().count(), 6, "one line a run: {log}");
    let last: Value = serde_json::from_str(log.lines().nth(4).unwrap()).unwrap();
    let done = &last["report"]["outcome"]["done"];
    let (made, left) = (done["created"].as_array().unwrap(), done["not_done"].as_array().unwrap());
    assert_eq!((made.len() + left.len(), done["failed"].as_array().unwrap().len()), (60, 0));
    assert!(!made.is_empty() && !left.is_empty());
    assert!(made.iter().all(|name| aws.secret(name.as_str().unwrap()).is_some()));
    assert!(log.contains("apps/db") && !log.contains("canary"), "names, never values: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_is_configured_wrong_says_so_when_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("replicate.hcl"), "prefix = \"a\"\nscedule = 1\n").unwrap();
    let mut runtime = Runtime::start().await;
    let mut function = Function::start(&runtime, folder.path(), &[]);
    let said = runtime.said.recv().await.unwrap();
    assert!(said.path.ends_with("/runtime/init/error"), "{said:?}");
    assert_eq!(said.headers["lambda-runtime-function-error-type"], "Configuration");
    let told = said.body["errorMessage"].as_str().unwrap().to_owned();
    assert!(told.contains("replicate.hcl") && told.contains("line 2"), "{told}");
    assert_eq!(function.ended().await.code(), Some(1));
}

/// Runs Python with these arguments and gives what it printed.
async fn run_python(program: &str, arguments: &[&str]) -> String {
    let mut command = tokio::process::Command::new(python());
    let output = command.args(["-c", program]).args(arguments).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The policy of the template's role, with these things in place of the stack's own.
async fn role_policy(may_delete: bool, things: &Value) -> String {
    const RESOLVE: &str = "\
import sys, json, yaml
things, may_delete = json.loads(sys.argv[2]), sys.argv[3] == 'yes'
def known(name):
    return things.get(name.removesuffix('.Arn'), name)
def resolve(loader, suffix, node):
    if suffix == 'If':
        condition, yes, no = loader.construct_sequence(node, deep=True)
        return yes if condition == 'Deletes' and may_delete else no
    if suffix == 'Sub':
        text = node.value
        for name in set(part.split('}')[0] for part in text.split('${')[1:]):
            text = text.replace('${' + name + '}', known(name))
        return text
    if suffix in ('Ref', 'GetAtt'):
        return None if node.value == 'AWS::NoValue' else things.get(node.value.removesuffix('.Arn'))
    return None
class Loader(yaml.SafeLoader):
    pass
Loader.add_multi_constructor('!', resolve)
role = yaml.load(open(sys.argv[1]), Loader)['Resources']['FunctionRole']['Properties']
[policy] = role['Policies']
document = policy['PolicyDocument']
document['Statement'] = [statement for statement in document['Statement'] if statement]
print(json.dumps(document), end='')
";
    let template = bailee_testkit::workspace().join("crates/app/src/lambda/template.yaml");
    let template = template.display().to_string();
    let may_delete = if may_delete { "yes" } else { "no" };
    run_python(RESOLVE, &[&template, &things.to_string(), may_delete]).await
}

/// What the stack permits is enough, and no more than told.
#[tokio::test(flavor = "multi_thread")]
async fn the_stack_s_role_may_replicate_and_touch_nothing_else() {
    let aws = FakeAws::start().await;
    let (server, connection) = source().await;
    aws.put_secret("apps/vault-connection-secret", &connection);
    let secret = aws.secret("apps/vault-connection-secret").unwrap().arn;
    let (topic, key) = (aws.create_topic("failures"), aws.create_kms_key());
    let things = json!({
        "AWS::Partition": "aws", "AWS::Region": "us-east-1", "AWS::AccountId": "123456789012",
        "AWS::URLSuffix": "amazonaws.com", "SecretsPrefix": "apps", "ConnectionSecret": secret,
        "MaterialKey": key, "ConfigurationKey": aws.create_kms_key(), "FailureTopic": topic,
        "FunctionLogs": "arn:aws:logs:us-east-1:123456789012:log-group:replicate",
    });
    let user = aws.create_user("function", &[&role_policy(false, &things).await]);
    let folder = tempfile::tempdir().unwrap();
    let mut runtime = Runtime::start().await;
    let _function = Function::start(
        &runtime,
        folder.path(),
        &[
            ("AWS_ENDPOINT_URL", &aws.endpoint()),
            ("AWS_ACCESS_KEY_ID", &user.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", &user.secret_access_key),
            ("secretsPrefix", "apps"),
            ("vaultSecretArn", &secret),
            ("secretEncryptionKMSKeyArn", &key),
            ("failedReplicationTopicArn", &topic),
        ],
    );
    let good = |created, updated| {
        let results = format!("Secrets created: {created}, Secrets updated: {updated}");
        json!({ "status": "OK", "results": results })
    };
    assert_eq!(runtime.invoke("11111111-aaaa").await.body, good(1, 0));
    assert_eq!(aws.secret("apps/db").unwrap().kms_key_arn.as_deref(), Some(key.as_str()));
    write(&server, "db", json!({ "password": "second" })).await;
    assert_eq!(runtime.invoke("22222222-bbbb").await.body, good(0, 1));
    // A name that somebody scheduled for deletion is taken back.
    write(&server, "back", json!({ "k": "v" })).await;
    assert_eq!(runtime.invoke("33333333-cccc").await.body, good(1, 0));
    assert!(aws.schedule_deletion("apps/back", 7));
    write(&server, "back", json!({ "k": "w" })).await;
    let said = runtime.invoke("44444444-dddd").await;
    assert_eq!(said.body["status"], "OK", "{said:?}");
    // Failures are told with the same rights.
    server.api().put("sys/seal", json!({})).await.done();
    let said = runtime.invoke("55555555-eeee").await;
    assert!(said.path.ends_with("/error"), "{said:?}");
    assert_eq!(aws.messages(&topic).len(), 1);
    assert_eq!(aws.secret("apps/vault-connection-secret").unwrap().value.unwrap(), connection);
    let denied = |call: &RecordedCall| call.error.as_deref() == Some("AccessDeniedException");
    let denied: Vec<String> =
        aws.calls().into_iter().filter(denied).map(|call| call.operation).collect();
    // Asked of a name outside, to learn which account this is for the notice.
    assert_eq!(denied, ["secretsmanager:DescribeSecret"]);
    let deletes = role_policy(true, &things).await;
    let deletes: Value = serde_json::from_str(&deletes).unwrap();
    let all = deletes["Statement"].as_array().unwrap();
    let delete = all.iter().find(|it| it["Action"] == "secretsmanager:DeleteSecret").unwrap();
    let below = "arn:aws:secretsmanager:us-east-1:123456789012:secret:apps/*";
    assert_eq!(delete["Resource"], below);
}

/// The failure, from the topic through a queue, by AWS's own SDK.
#[tokio::test(flavor = "multi_thread")]
async fn boto3_reads_the_notice_of_a_failure_from_a_queue_in_moto() {
    const PREPARE: &str = "\
import sys, boto3
to = dict(region_name='us-east-1', endpoint_url=sys.argv[1], aws_access_key_id='AKIAMOTO',
    aws_secret_access_key='moto')
topic = boto3.client('sns', **to).create_topic(Name='failures')['TopicArn']
sqs = boto3.client('sqs', **to)
queue = sqs.create_queue(QueueName='read')['QueueUrl']
arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=['QueueArn'])['Attributes']['QueueArn']
boto3.client('sns', **to).subscribe(TopicArn=topic, Protocol='sqs', Endpoint=arn)
boto3.client('secretsmanager', **to).create_secret(Name='apps/vault-connection-secret',
    SecretString=sys.argv[2])
print(topic, end='')
";
    const READ: &str = "\
import sys, json, boto3
sqs = boto3.client('sqs', region_name='us-east-1', endpoint_url=sys.argv[1],
    aws_access_key_id='AKIAMOTO', aws_secret_access_key='moto')
queue = sqs.get_queue_url(QueueName='read')['QueueUrl']
for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get('Messages', []):
    print(json.loads(message['Body'])['Message'])
";
    let moto = Program::moto().await;
    let (server, connection) = source().await;
    let topic = run_python(PREPARE, &[&moto.url(), &connection]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut runtime = Runtime::start().await;
    let _function = Function::start(
        &runtime,
        folder.path(),
        &[
            ("AWS_ENDPOINT_URL", &moto.url()),
            ("AWS_ACCESS_KEY_ID", "AKIAMOTO"),
            ("AWS_SECRET_ACCESS_KEY", "moto"),
            ("secretsPrefix", "apps"),
            ("vaultSecretArn", "apps/vault-connection-secret"),
            ("failedReplicationTopicArn", &topic),
        ],
    );
    // A value that AWS does not take.
    write(&server, "large", json!({ "value": "x".repeat(70_000) })).await;
    let said = runtime.invoke("11111111-aaaa").await;
    assert_eq!(said.headers["lambda-runtime-function-error-type"], "ReplicationFailed", "{said:?}");
    let read = run_python(READ, &[&moto.url()]).await;
    let begin = "Account: 123456789012, Region: us-east-1. Failed to create/update the following \
                 secrets: [{\"secretName\":\"apps/large\",\"error\":\"";
    assert!(read.starts_with(begin), "{read}");
}

/// moto makes no secret of a stack: the connection secret is not seen here.
#[tokio::test(flavor = "multi_thread")]
async fn the_package_is_taken_and_its_stack_is_made() {
    const MAKE: &str = "\
import ast, sys, boto3, zipfile
url, package, template = sys.argv[1:4]
to = dict(region_name='us-east-1', endpoint_url=url, aws_access_key_id='AKIAMOTO',
    aws_secret_access_key='moto')
entry = zipfile.ZipFile(package).getinfo('bootstrap')
assert (entry.external_attr >> 16) & 0o777 == 0o755, oct(entry.external_attr >> 16)
s3 = boto3.client('s3', **to)
s3.create_bucket(Bucket='code')
s3.upload_file(package, 'code', 'bailee-replicate.zip')
stacks = boto3.client('cloudformation', **to)
stacks.create_stack(StackName='replicate', TemplateBody=open(template).read(),
    Capabilities=['CAPABILITY_IAM'],
    Parameters=[dict(ParameterKey='CodeBucket', ParameterValue='code'),
        dict(ParameterKey='MayDelete', ParameterValue='yes'),
        dict(ParameterKey='NotificationEmail', ParameterValue='ops@example.com')])
print(stacks.describe_stacks(StackName='replicate')['Stacks'][0]['StackStatus'])
made = boto3.client('lambda', **to).get_function(FunctionName='replicate')['Configuration']
variables = made['Environment']['Variables']
print(made['Runtime'], made['Handler'], variables['secretsPrefix'])
topics = [topic['TopicArn'] for topic in boto3.client('sns', **to).list_topics()['Topics']]
print(topics == [variables['failedReplicationTopicArn']])
iam = boto3.client('iam', **to)
role = made['Role'].split('/')[-1]
policy = iam.get_role_policy(RoleName=role, PolicyName='replicate')['PolicyDocument']
# moto writes a stack's policies as Python does.
for statement in (ast.literal_eval(policy) if isinstance(policy, str) else policy)['Statement']:
    print(statement['Effect'], statement['Sid'])
rules = boto3.client('events', **to).list_rules()['Rules']
print([rule['ScheduleExpression'] for rule in rules])
";
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    std::fs::write(&program, b"\x7fELF stands for a program").unwrap();
    let configuration = "prefix = \"apps\"\nschedule = \"15m\"\nsource \"vault\" { mounts = [\"apps\"] }\n\
                         destination \"aws-sm\" {}\n";
    std::fs::write(folder.path().join("replicate.hcl"), configuration).unwrap();
    let mut command = Command::new(binary());
    command.env_clear().env("HOME", folder.path()).current_dir(folder.path());
    command.args(["replicate", "package", "-config=replicate.hcl", "-program=program", "-out=out"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = |name: &str| folder.path().join("out").join(name).display().to_string();
    let (package, template) = (file("bailee-replicate.zip"), file("template.yaml"));

    let mut lint = Command::new(python().with_file_name("cfn-lint"));
    let lint = lint.args(["--regions", "us-east-1", "eu-central-1", "--", &template]).output();
    let lint = lint.unwrap();
    assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));

    let moto = Program::moto().await;
    let made = run_python(MAKE, &[&moto.url(), &package, &template]).await;
    let lines: Vec<&str> = made.lines().collect();
    assert_eq!(
        lines,
        [
            "CREATE_COMPLETE",
            "provided.al2023 bootstrap apps",
            "True",
            "Allow WriteReplicatedSecrets",
            "Allow DeleteReplicatedSecrets",
            "Allow SeeWhatIsThere",
            "Allow ReadConnection",
            "Deny NeverWriteConnection",
            "Deny NeverReadReplicatedSecrets",
            "Allow EncryptReplicatedSecrets",
            "Allow OpenConfiguration",
            "Allow TellOfFailures",
            "Allow WriteLogs",
            "['rate(15 minutes)']",
        ]
    );
}
