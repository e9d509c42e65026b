//! A topic of SNS, in the words of the published sample, so that filters and mailboxes that know it go
//! on working.

use super::Notify;
use crate::{
    destinations::aws_secrets_manager::errors::failed,
    failure::{Error, Failure},
    pull::report::{FailedSecret, Outcome, RunReport},
};
use async_trait::async_trait;
use bailee_cloud::{
    aws::SdkConfig,
    query::{Form, QueryClient, Service, Transport},
};
use bailee_crypto::Clock;
use std::{fmt, sync::Arc};

/// What SNS takes.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// A topic that is told of failures.
#[derive(Clone)]
pub struct Sns {
    client: QueryClient,
    topic_arn: String,
}

impl Sns {
    /// A topic, with the credentials of a configuration; `endpoint_url` is where SNS is, instead of
    /// AWS's own address. Nothing is called.
    ///
    /// # Errors
    /// The ARN is not that of a topic, or there are no credentials.
    pub fn new(
        topic_arn: &str,
        config: &SdkConfig,
        endpoint_url: Option<&str>,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Result<Sns, Error> {
        let invalid = |message: String| Error::new(Failure::Invalid, message);
        let region = region(topic_arn).ok_or_else(|| {
            invalid(format!(
                "{topic_arn:?} is not the ARN of a topic: write \
                 arn:aws:sns:REGION:ACCOUNT:NAME"
            ))
        })?;
        if topic_arn.ends_with(".fifo") {
            return Err(invalid(format!("{topic_arn}: topics with an order are not supported")));
        }
        let endpoint = endpoint_url.map_or_else(|| endpoint(region), str::to_owned);
        let service =
            Service { name: "sns", version: "2010-03-31", region: region.to_owned(), endpoint };
        let client = QueryClient::of(config, transport, clock, service);
        let client = client.ok_or_else(|| {
            Error::new(Failure::Unauthenticated, "there are no credentials to publish with")
        })?;
        Ok(Sns { client, topic_arn: topic_arn.to_owned() })
    }
}

#[async_trait]
impl Notify for Sns {
    fn name(&self) -> String {
        format!("topic {}", self.topic_arn)
    }

    fn wants(&self, report: &RunReport) -> bool {
        !report.is_ok()
    }

    async fn tell(&self, report: &RunReport) -> Result<(), Error> {
        let Some(message) = message(report) else { return Ok(()) };
        // No subject, as in the sample.
        let form = Form::new().with("TopicArn", &self.topic_arn).with("Message", message);
        let answer = self.client.call("Publish", &form).await;
        answer.map(drop).map_err(|error| failed("sns:Publish", error))
    }
}

impl fmt::Debug for Sns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sns({})", self.topic_arn)
    }
}

fn region(topic_arn: &str) -> Option<&str> {
    match topic_arn.split(':').collect::<Vec<_>>().as_slice() {
        ["arn", partition, "sns", region, account, name]
            if partition.starts_with("aws")
                && !region.is_empty()
                && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && account.len() == 12
                && account.bytes().all(|b| b.is_ascii_digit())
                && !name.is_empty() =>
        {
            Some(region)
        }
        _ => None,
    }
}

fn endpoint(region: &str) -> String {
    let end = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://sns.{region}.amazonaws.com{end}")
}

/// The sample's text. What does not fit is left out by whole entries, so that what reads the list as
/// JSON goes on reading it; a last entry says how many more there are.
fn message(report: &RunReport) -> Option<String> {
    let whole = report.notice_as_sample()?;
    if whole.len() <= MESSAGE_BYTES_MAX {
        return Some(whole);
    }
    let all = match &report.outcome {
        Outcome::Done(results) => results.failed.len(),
        Outcome::NotBegun(_) => 0,
    };
    let (mut fits, mut beyond) = (0, all);
    while fits + 1 < beyond {
        let middle = fits.midpoint(beyond);
        if first(report, middle, all)?.len() <= MESSAGE_BYTES_MAX {
            fits = middle
        } else {
            beyond = middle
        }
    }
    let clipped = first(report, fits, all)?;
    let end = clipped.floor_char_boundary(MESSAGE_BYTES_MAX);
    clipped.get(..end).map(str::to_owned)
}

fn first(report: &RunReport, count: usize, all: usize) -> Option<String> {
    let mut report = report.clone();
    if let Outcome::Done(results) = &mut report.outcome {
        results.failed.truncate(count);
        let failure = Failure::Unknown;
        let message = format!("and {} more", all.saturating_sub(count));
        results.failed.push(FailedSecret { name: "…".to_owned(), failure, message });
    }
    report.notice_as_sample()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::testing::{failed as failed_run, not_begun};
    use bailee_cloud::{
        EgressRules, HttpClient, HttpOptions,
        aws::{AwsConnection, connect},
    };
    use bailee_crypto::SystemClock;
    use bailee_fake_clouds::{FakeAws, aws::Key};
    use serde_json::Value;

    async fn topic(aws: &FakeAws, key: &Key, arn: &str) -> Sns {
        let rules = EgressRules { disable_strict_networking: true, ..EgressRules::default() };
        let http = HttpClient::new(HttpOptions { rules, ..HttpOptions::default() });
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let connection = AwsConnection {
            region: Some("us-east-1".to_owned()),
            access_key_id: Some(key.access_key_id.clone()),
            secret_access_key: Some(key.secret_access_key.as_str().into()),
            ..AwsConnection::default()
        };
        let config = connect(&connection, &http, &clock).await.unwrap();
        Sns::new(arn, &config, Some(&aws.endpoint()), Arc::new(http), clock).unwrap()
    }

    #[tokio::test]
    async fn a_topic_gets_the_words_of_the_sample() {
        let aws = FakeAws::start().await;
        let arn = aws.create_topic("failures");
        let topic = topic(&aws, aws.administrator(), &arn).await;
        topic.tell(&failed_run(["p/a".to_owned()])).await.unwrap();
        topic.tell(&not_begun("the token has expired")).await.unwrap();
        topic.tell(&failed_run([])).await.unwrap();
        let messages = aws.messages(&arn);
        let texts: Vec<&str> = messages.iter().map(|message| message.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "Account: 123456789012, Region: us-east-1. Failed to create/update the following \
                 secrets: [{\"secretName\":\"p/a\",\"error\":\"CreateSecret: AccessDenied: no\"}] ",
                "Account: 123456789012, Region: us-east-1. Replication did not begin: the token has \
                 expired ",
            ]
        );
        assert!(messages.iter().all(|message| message.subject.is_none()));
    }

    #[tokio::test]
    async fn a_list_that_is_too_long_stays_readable_and_says_how_much_is_missing() {
        let aws = FakeAws::start().await;
        let arn = aws.create_topic("failures");
        let topic = topic(&aws, aws.administrator(), &arn).await;
        let names = (0..10_000).map(|number| format!("p/\u{e4}\"{number}"));
        topic.tell(&failed_run(names)).await.unwrap();
        let [message] = aws.messages(&arn).try_into().unwrap();
        assert!(message.text.len() > MESSAGE_BYTES_MAX - 200, "{}", message.text.len());
        let (_, list) = message.text.split_once("secrets: ").unwrap();
        let list: Vec<Value> = serde_json::from_str(list).unwrap();
        let more = list.last().unwrap()["error"].as_str().unwrap().to_owned();
        assert_eq!(more, format!("and {} more", 10_000 - (list.len() - 1)));
        topic.tell(&not_begun(&"\u{1F511}".repeat(100_000))).await.unwrap();
        assert_eq!(aws.messages(&arn).len(), 2);
    }

    #[tokio::test]
    async fn a_missing_permission_is_named() {
        let aws = FakeAws::start().await;
        let arn = aws.create_topic("failures");
        let user = aws.create_user("nobody", &[]);
        let topic = topic(&aws, &user, &arn).await;
        let error = topic.tell(&not_begun("no")).await.unwrap_err();
        assert_eq!(error.failure, Failure::Forbidden);
        assert!(error.missing_permission.is_some_and(|it| it.eq_ignore_ascii_case("sns:Publish")));
    }

    #[test]
    fn what_is_no_topic_is_refused() {
        for arn in [
            "",
            "failures",
            "arn:aws:sqs:us-east-1:123456789012:q",
            "arn:aws:sns::1:t",
            "arn:aws:sns:x.evil/?:123456789012:t",
        ] {
            assert_eq!(region(arn), None, "{arn}");
        }
        assert_eq!(region("arn:aws-cn:sns:cn-north-1:123456789012:t"), Some("cn-north-1"));
        assert_eq!(endpoint("cn-north-1"), "https://sns.cn-north-1.amazonaws.com.cn");
    }
}
