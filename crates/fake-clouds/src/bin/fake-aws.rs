//! `fake-aws`: the fake of AWS as a program, for probes and benchmarks in other languages.

use std::io::Write as _;
use std::process::ExitCode;

use bailee_fake_clouds::aws::Options;
use bailee_fake_clouds::{FakeAws, FakeInstance};

const USAGE: &str = "\
usage: fake-aws [--port N] [--account ID] [--access-key ID:SECRET]
                [--require-signatures] [--enforce-policies] [--aws-quotas]
                [--imds-port N]

Listens on 127.0.0.1 and prints one line of JSON when ready:
  {\"endpoint\": …, \"account_id\": …, \"access_key_id\": …, \"secret_access_key\": …}

  --port N               port to listen on (default: a free one)
  --account ID           account, twelve digits (default: 123456789012)
  --access-key ID:SECRET key of the administrator (default: made up)
  --require-signatures   verify signatures and refuse unknown keys
  --enforce-policies     evaluate access policies
  --aws-quotas           throttle Secrets Manager at AWS's documented quotas
  --imds-port N          also an instance that runs as role `instance`, which may read secrets:
                         its metadata are on this port (0: a free one), its container
                         credentials at /v1/credentials; both are in the line of JSON";

#[derive(Debug, Default)]
struct Arguments {
    options: Options,
    enforce_policies: bool,
    aws_quotas: bool,
    imds_port: Option<u16>,
}

fn parse(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    arguments.options.verify_signatures = false;
    while let Some(name) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{name} needs a value"));
        match name.as_str() {
            "--port" => {
                arguments.options.port =
                    value()?.parse().map_err(|_| "--port needs a number up to 65535".to_owned())?;
            }
            "--account" => arguments.options.account_id = value()?,
            "--access-key" => {
                let pair = value()?;
                let (id, secret) = pair.split_once(':').ok_or("--access-key needs ID:SECRET")?;
                arguments.options.access_key = Some((id.to_owned(), secret.to_owned()));
            }
            "--require-signatures" => arguments.options.verify_signatures = true,
            "--enforce-policies" => arguments.enforce_policies = true,
            "--aws-quotas" => arguments.aws_quotas = true,
            "--imds-port" => {
                let port = value()?.parse();
                arguments.imds_port =
                    Some(port.map_err(|_| "--imds-port needs a number up to 65535".to_owned())?);
            }
            other => return Err(format!("unknown argument {other}")),
        }
    }
    let account = &arguments.options.account_id;
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("--account needs twelve digits".to_owned());
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let mut errors = std::io::stderr();
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            let written = writeln!(errors, "fake-aws: {message}\n\n{USAGE}");
            return if written.is_ok() { ExitCode::from(2) } else { ExitCode::FAILURE };
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run(arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(errors, "fake-aws: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> std::io::Result<()> {
    let aws = FakeAws::start_with(arguments.options).await?;
    aws.enforce_policies(arguments.enforce_policies);
    if arguments.aws_quotas {
        aws.limit_to_aws_quotas();
    }
    let mut ready = serde_json::json!({
        "endpoint": aws.endpoint(),
        "account_id": aws.account_id(),
        "access_key_id": aws.access_key_id(),
        "secret_access_key": aws.secret_access_key(),
    });
    // Held until the program ends.
    let instance = match arguments.imds_port {
        Some(port) => Some(start_instance(&aws, port).await?),
        None => None,
    };
    if let (Some(instance), Some(members)) = (&instance, ready.as_object_mut()) {
        members.insert("metadata_endpoint".to_owned(), instance.metadata_endpoint().into());
        members.insert("credentials_uri".to_owned(), instance.credentials_uri().into());
        members.insert("authorization_token".to_owned(), instance.authorization_token().into());
    }
    let mut output = std::io::stdout();
    writeln!(output, "{ready}")?;
    output.flush()?;
    tokio::signal::ctrl_c().await
}

/// An instance that runs as a role which reads secrets and may take itself on.
async fn start_instance(aws: &FakeAws, port: u16) -> std::io::Result<FakeInstance> {
    const READS: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":
        ["secretsmanager:Get*","secretsmanager:BatchGet*","secretsmanager:List*","secretsmanager:Describe*",
        "kms:Decrypt","sts:AssumeRole"],"Resource":"*"}]}"#;
    let account = aws.account_id();
    let trust = serde_json::json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": { "Service": "ec2.amazonaws.com" }, "Action": "sts:AssumeRole" },
        { "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{account}:root") },
          "Action": "sts:AssumeRole" },
    ] });
    aws.create_role("instance", &trust.to_string(), &[READS]);
    FakeInstance::start_on(aws, "instance", port).await
}
