//! Simple Notification Service: topics, and what is published to them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::random;
use super::wire::{Failure, Outcome};
use super::world::{Ask, Call, World};

/// Message and subject together with all that goes along.
const MESSAGE_BYTES_MAX: usize = 262_144;
const SUBJECT_CHARS_MAX: usize = 100;
const NAME_CHARS_MAX: usize = 256;

/// What was published, as a subscriber gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeMessage {
    /// Its identifier.
    pub id: String,
    /// Its subject.
    pub subject: Option<String>,
    /// Its text.
    pub text: String,
}

/// All topics by ARN, each with what was published, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Store {
    topics: BTreeMap<String, Vec<FakeMessage>>,
}

impl Store {
    /// Makes a topic, or finds it. Answers its ARN.
    pub(crate) fn create(&mut self, account: &str, region: &str, name: &str) -> String {
        let arn = format!("arn:aws:sns:{region}:{account}:{name}");
        self.topics.entry(arn.clone()).or_default();
        arn
    }

    /// What was published to a topic.
    pub(crate) fn messages(&self, arn: &str) -> Vec<FakeMessage> {
        self.topics.get(arn).cloned().unwrap_or_default()
    }
}

/// Answers one call.
pub(crate) fn perform(world: &mut World, call: &Call<'_>) -> Outcome {
    match call.operation {
        "CreateTopic" => create_topic(world, call),
        "DeleteTopic" => {
            let arn = topic_arn(call, "TopicArn")?;
            authorize(world, call, "sns:DeleteTopic", arn)?;
            world.sns.topics.remove(arn);
            Ok(Value::Null)
        }
        "ListTopics" => {
            authorize(world, call, "sns:ListTopics", "*")?;
            let place = format!("arn:aws:sns:{}:{}:", call.region, call.account());
            let here = world.sns.topics.keys().filter(|arn| arn.starts_with(&place));
            let topics: Vec<Value> = here.map(|arn| json!({ "TopicArn": arn })).collect();
            Ok(json!({ "Topics": topics }))
        }
        "Publish" => publish(world, call),
        other => Err(Failure::unknown_operation(call.service, other)),
    }
}

fn invalid(what: &str) -> Failure {
    Failure::new("InvalidParameter", format!("Invalid parameter: {what}"))
}

/// SNS has a code of its own for what other services call denied.
fn authorize(world: &World, call: &Call<'_>, action: &str, arn: &str) -> Result<(), Failure> {
    let account = arn.split(':').nth(4).filter(|account| !account.is_empty());
    world.authorize(call, Ask::new(action, arn, account.unwrap_or(call.account()))).map_err(
        |mut failure| {
            failure.code = "AuthorizationError".into();
            failure
        },
    )
}

fn create_topic(world: &mut World, call: &Call<'_>) -> Outcome {
    let name = call.input.required_text("Name", 0, usize::MAX)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.bytes().all(allowed) {
        return Err(invalid("Topic Name"));
    }
    let arn = format!("arn:aws:sns:{}:{}:{name}", call.region, call.account());
    authorize(world, call, "sns:CreateTopic", &arn)?;
    Ok(json!({ "TopicArn": world.sns.create(call.account(), call.region, name) }))
}

/// An ARN of six parts, in the region that is asked.
fn topic_arn<'a>(call: &Call<'a>, member: &str) -> Result<&'a str, Failure> {
    let arn = call.input.required_text(member, 0, usize::MAX)?;
    let parts: Vec<&str> = arn.split(':').collect();
    match parts.as_slice() {
        ["arn", _, "sns", region, _, name] if *region == call.region && !name.is_empty() => Ok(arn),
        [_, _, _, _, _, ..] if parts.len() >= 6 => Err(invalid(member)),
        _ => Err(invalid(&format!(
            "{member} Reason: An ARN must have at least 6 elements, not {}",
            parts.len()
        ))),
    }
}

fn publish(world: &mut World, call: &Call<'_>) -> Outcome {
    let input = call.input;
    let targets: Vec<&str> = ["TopicArn", "TargetArn", "PhoneNumber"]
        .into_iter()
        .filter(|name| input.has(name))
        .collect();
    let member = match targets.as_slice() {
        [] => {
            return Err(invalid("TopicArn or TargetArn Reason: no value for required parameter"));
        }
        [member @ ("TopicArn" | "TargetArn")] => *member,
        [_] => return Err(invalid("PhoneNumber Reason: text messages are not faked")),
        _ => return Err(invalid("Only one of TopicArn, TargetArn and PhoneNumber may be given")),
    };
    let arn = topic_arn(call, member)?;
    authorize(world, call, "sns:Publish", arn)?;
    for name in ["MessageAttributes", "MessageStructure", "MessageGroupId"] {
        if input.has(name) {
            return Err(invalid(&format!("{name} Reason: it is not faked")));
        }
    }
    let text = input.text("Message", 0, usize::MAX)?.unwrap_or_default();
    let subject = input.text("Subject", 0, usize::MAX)?;
    if text.is_empty() {
        return Err(invalid("Empty message"));
    }
    if text.len() + subject.map_or(0, str::len) > MESSAGE_BYTES_MAX {
        return Err(invalid("Message too long"));
    }
    if subject.is_some_and(|subject| !is_subject(subject)) {
        return Err(invalid("Subject"));
    }
    let topic = world.sns.topics.get_mut(arn);
    let topic =
        topic.ok_or_else(|| Failure::new("NotFound", "Topic does not exist").with_status(404))?;
    let id = random::uuid();
    let subject = subject.map(str::to_owned);
    topic.push(FakeMessage { id: id.clone(), subject, text: text.to_owned() });
    Ok(json!({ "MessageId": id }))
}

/// One line of at most a hundred ASCII characters that begins with none of the invisible ones.
fn is_subject(subject: &str) -> bool {
    let visible = |byte: u8| byte.is_ascii_graphic();
    (1..=SUBJECT_CHARS_MAX).contains(&subject.len())
        && subject.bytes().all(|byte| visible(byte) || byte == b' ')
        && subject.bytes().next().is_some_and(visible)
}
