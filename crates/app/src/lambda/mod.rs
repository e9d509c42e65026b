//! As a function of AWS Lambda: the program, named `bootstrap`, asks the runtime API for invocations
//! and answers each with a run of replication.

mod package;
mod runtime;

pub(crate) use package::Package;

use crate::{
    config::{ServerEnvironment, env::LambdaEnvironment},
    failure::{Failure, USAGE},
    output::{Format, Output},
    replicate::{self, Configuration, Destination, Notified, Source, Vault},
};
use bailee_crypto::{Clock, Sensitive, SystemClock};
use bailee_secret_sync::{
    pull::{
        Spec,
        report::{Outcome, RunReport},
        sources::vault::Part,
    },
    registry::{Details, Network},
};
use runtime::{Fault, Invocation, RuntimeApi, serve};
use serde_json::Value;
use std::{path::Path, time::Duration};

/// Endings of a configuration's name in the package.
const ENDINGS: [&str; 4] = ["hcl", "json", "yaml", "yml"];
/// Time that is left when nothing more is begun: for what is under way, the number of the account,
/// telling, and the answer.
const ENDING: Duration = Duration::from_secs(8);

/// Answers invocations until Lambda ends the process.
pub(crate) fn run(environment: &LambdaEnvironment) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(Box::pin(answer(environment)))
}

async fn answer(environment: &LambdaEnvironment) -> Result<(), Failure> {
    let api = RuntimeApi::at(&environment.api);
    let mut output = Output::standard(Format::Json);
    let configuration = match configuration(environment) {
        Ok(configuration) => configuration,
        Err(message) => {
            let fault = Fault { kind: "Configuration", message };
            api.fail_at_start(&fault).await.map_err(|error| Failure::refused(error.to_string()))?;
            return Err(Failure { exit: USAGE, message: fault.message });
        }
    };
    let around = ServerEnvironment::read();
    let unusable = serve(&api, async |invocation: Invocation| {
        let left = invocation.deadline.duration_since(SystemClock.now()).unwrap_or_default();
        let limit = left.saturating_sub(ENDING);
        let ran = replicate::run_within(&configuration, &around, Some(limit)).await;
        log(&mut output, &ran);
        result(&ran.report)
    })
    .await;
    Err(Failure::refused(unusable.to_string()))
}

/// One line for the function's log. That nobody reads it does not undo the run.
fn log(output: &mut Output, ran: &replicate::Ran) {
    let report = serde_json::to_value(&ran.report).unwrap_or_default();
    let document = serde_json::json!({ "report": report, "untold": ran.untold });
    output.line(&document.to_string()).ok();
}

/// What the sample returns; a run in which something failed is a failed invocation, too, so that
/// Lambda's own metrics and alarms know of it.
fn result(report: &RunReport) -> Result<Value, Fault> {
    let told = report.as_sample();
    if report.is_ok() {
        return Ok(told);
    }
    let kind = match report.outcome {
        _ if report.is_cut_off() => "ReplicationCutOff",
        Outcome::Done(_) => "ReplicationFailed",
        Outcome::NotBegun(_) => "ReplicationNotBegun",
    };
    let message = told.get("message").and_then(Value::as_str).unwrap_or_default();
    Err(Fault { kind, message: format!("{}: {message}", report.sentence()) })
}

/// The file of the package, filled in by what the stack says; without a file, what the stack says alone.
fn configuration(environment: &LambdaEnvironment) -> Result<Configuration, String> {
    let files = ENDINGS.map(|ending| environment.root.join(format!("replicate.{ending}")));
    let mut configuration = match files.iter().find(|file| file.exists()) {
        Some(file) => {
            replicate::read(file).map_err(|faults| format!("{}:\n{faults}", file.display()))?
        }
        None => of_stack(environment)?,
    };
    if configuration.connection_secret.is_none() {
        configuration.connection_secret.clone_from(&environment.connection_secret);
    }
    let details = &mut configuration.destination.details;
    if let (None, Some(key)) = (details.get("kms_key_id"), &environment.kms_key) {
        details.0.insert("kms_key_id".to_owned(), Sensitive::from(key.as_str()));
    }
    let topics = |notified: &Notified| matches!(notified, Notified::Topic { .. });
    if let (false, Some(arn)) = (configuration.notify.iter().any(topics), &environment.topic) {
        configuration.notify.push(Notified::Topic { arn: arn.clone() });
    }
    Ok(configuration)
}

fn of_stack(environment: &LambdaEnvironment) -> Result<Configuration, String> {
    let prefix = environment.prefix.as_deref().unwrap_or_default().trim_matches('/');
    if prefix.is_empty() || environment.connection_secret.is_none() {
        return Err(format!(
            "no configuration: {} has no replicate.hcl, and the environment has no secretsPrefix and \
             vaultSecretArn",
            Path::new(&environment.root).display()
        ));
    }
    let mut spec = Spec::below(prefix, prefix);
    spec.adopts_sample = true;
    let part = Part { mount: prefix.to_owned(), folders: vec![String::new()], version: None };
    Ok(Configuration {
        spec,
        source: Source::Vault(Box::new(Vault {
            client: None,
            address: None,
            namespace: String::new(),
            parts: vec![part],
            ca_cert: None,
            client_certificate: None,
            tls_server_name: None,
            auth: None,
            token: None,
        })),
        destination: Destination {
            kind: "aws-sm".to_owned(),
            details: Details::default(),
            network: Network { disable_strict_networking: true, ..Network::default() },
        },
        connection_secret: None,
        configuration_kms_key_id: None,
        content_hash_key_file: None,
        notify: Vec::new(),
        schedule: None,
        listen: None,
        healthy_for: None,
        lock_file: None,
        without_effect: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::{package::TEMPLATE, *};
    use std::fs;

    fn environment(root: &Path) -> LambdaEnvironment {
        LambdaEnvironment {
            api: String::new(),
            root: root.to_owned(),
            prefix: Some("apps".to_owned()),
            connection_secret: Some("arn:connection".to_owned()),
            kms_key: Some("arn:key".to_owned()),
            topic: Some("arn:topic".to_owned()),
        }
    }

    #[test]
    fn the_stack_alone_is_a_configuration_and_fills_in_what_a_file_leaves_out() {
        let root = tempfile::tempdir().unwrap();
        let read = configuration(&environment(root.path())).unwrap();
        assert_eq!((read.spec.name.as_str(), read.spec.adopts_sample), ("apps", true));
        assert_eq!(read.destination.details.text("kms_key_id").as_deref(), Some("arn:key"));
        let file = "prefix = \"mine\"\nsource \"vault\" { mounts = [\"m\"] }\n\
                    destination \"aws-sm\" { kms_key_id = \"alias/mine\" }\n";
        fs::write(root.path().join("replicate.hcl"), file).unwrap();
        let read = configuration(&environment(root.path())).unwrap();
        assert_eq!(read.spec.name, "mine");
        assert_eq!(read.connection_secret.as_deref(), Some("arn:connection"));
        assert_eq!(read.destination.details.text("kms_key_id").as_deref(), Some("alias/mine"));
        assert_eq!(read.notify, [Notified::Topic { arn: "arn:topic".to_owned() }]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let root = tempfile::tempdir().unwrap();
        let nothing = LambdaEnvironment { prefix: None, ..environment(root.path()) };
        assert!(configuration(&nothing).unwrap_err().contains("has no replicate.hcl"));
        fs::write(root.path().join("replicate.yaml"), "prefix: a\nscedule: 1\n").unwrap();
        let wrong = configuration(&environment(root.path())).unwrap_err();
        assert!(wrong.contains("replicate.yaml") && wrong.contains("line 2"), "{wrong}");
    }

    /// What the template lets the role do is what `replicate policy` prints, for every setting it has.
    #[test]
    fn the_role_of_the_template_may_what_the_configuration_needs() {
        let root = tempfile::tempdir().unwrap();
        let mut read = configuration(&environment(root.path())).unwrap();
        read.spec.removals = bailee_secret_sync::pull::spec::Removals::Delete;
        let policy = replicate::role_policy(&read, None);
        let statements = policy["Statement"].as_array().unwrap();
        let allowed = statements.iter().filter(|statement| statement["Effect"] == "Allow");
        for action in allowed.flat_map(|statement| match &statement["Action"] {
            Value::Array(actions) => actions.clone(),
            action => vec![action.clone()],
        }) {
            let action = action.as_str().unwrap();
            assert!(TEMPLATE.contains(action), "{action} is not in the template");
        }
    }
}
