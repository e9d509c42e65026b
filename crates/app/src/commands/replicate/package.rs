//! `replicate package`: what AWS Lambda takes.

use crate::{
    arguments,
    context::Context,
    failure::Failure,
    lambda,
    output::Order,
    replicate::{self, Configuration},
};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Writes the package of the Lambda function and the CloudFormation template of its stack.
///
/// The package has this program as `bootstrap` and the configuration; the template makes the function
/// with its schedule, role, keys, connection secret, topic and alarms. Nothing is uploaded.
#[derive(Args, Debug)]
pub(crate) struct Package {
    /// Configuration file; without it, the stack's parameters say what is replicated.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder to write to.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    /// The program, where it is not this one: built for Amazon Linux 2023.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    #[arg(value_name = "")]
    rest: Vec<String>,
}

impl Package {
    /// Runs the command.
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        let read = self.config.as_deref().map(replicate::read).transpose().map_err(|faults| {
            let path = self.config.as_deref().unwrap_or(&self.out).display();
            Failure::usage(format!("Error reading {path}:\n{faults}"))
        })?;
        let (schedule, warning) = read.as_ref().map_or((None, None), schedule);
        let prefix = read.as_ref().and_then(prefix);
        let program = match self.program {
            Some(program) => program,
            None => std::env::current_exe()?,
        };
        let package = lambda::Package {
            program,
            configuration: self.config,
            folder: self.out,
            schedule,
            prefix,
        };
        let mut packaged = package.write().map_err(Failure::usage)?;
        packaged.warnings.extend(warning);
        for warning in &packaged.warnings {
            context.output.warn(&format!("WARNING: {warning}"))?;
        }
        let (package, template) = (packaged.package.display(), packaged.template.display());
        if !context.output.is_table() {
            let document = json!({
                "package": package.to_string(),
                "template": template.to_string(),
                "warnings": packaged.warnings,
            });
            return context.output.document(&document, &Order::SORTED);
        }
        context.output.line(&format!(
            "Package:   {package}\nTemplate:  {template}\n\nNext:\n\n  \
             aws s3 cp {package} s3://BUCKET/\n  \
             aws cloudformation deploy --stack-name bailee-replicate --template-file {template} \\\n    \
             --capabilities CAPABILITY_IAM --parameter-overrides CodeBucket=BUCKET\n  \
             {} replicate connect -connection-secret=PREFIX/vault-connection-secret -mount=PREFIX",
            context.program
        ))
    }
}

/// The schedule as EventBridge has it, and what is lost where it has no such form.
fn schedule(configuration: &Configuration) -> (Option<String>, Option<String>) {
    let Some(schedule) = &configuration.schedule else { return (None, None) };
    match schedule.for_eventbridge() {
        Some(schedule) => (Some(schedule), None),
        None => (
            None,
            Some(format!(
                "the schedule {:?} has no form that EventBridge takes: give the parameter Schedule",
                schedule.as_str()
            )),
        ),
    }
}

/// What all names begin with, where that is plain text.
fn prefix(configuration: &Configuration) -> Option<String> {
    let (prefix, _) = configuration.spec.template.split_once("/{{")?;
    (!prefix.is_empty()).then(|| prefix.to_owned())
}
