use bailee_fake_clouds::FakeAws;

use crate::client::Client;

async fn topic() -> (FakeAws, Client, String) {
    let aws = FakeAws::start().await;
    let client = Client::new(&aws);
    let arn = aws.create_topic("failures");
    (aws, client, arn)
}

#[tokio::test]
async fn what_is_published_can_be_looked_at() {
    let (aws, client, arn) = topic().await;
    let reply = client.sns("CreateTopic", &[("Name", "failures")]).await;
    assert_eq!(reply.element("TopicArn"), arn, "a topic that exists is found");
    let text = "a & b\n\u{1F511} ";
    let said = [("TopicArn", arn.as_str()), ("Message", text), ("Subject", "Failed")];
    let reply = client.sns("Publish", &said).await;
    let [message] = aws.messages(&arn).try_into().unwrap();
    assert_eq!(message.text, text);
    assert_eq!(message.subject.as_deref(), Some("Failed"));
    assert_eq!(reply.element("MessageId"), message.id);
    let reply = client.sns("ListTopics", &[]).await;
    assert_eq!(reply.element("TopicArn"), arn);
    client.sns("DeleteTopic", &[("TopicArn", &arn)]).await;
    client.sns("Publish", &said).await.refused_with(404, "NotFound");
}

#[tokio::test]
async fn messages_that_sns_does_not_take_are_refused() {
    let (aws, client, arn) = topic().await;
    let to = ("TopicArn", arn.as_str());
    let longest = "x".repeat(262_144);
    client.sns("Publish", &[to, ("Message", &longest)]).await;
    assert_eq!(aws.messages(&arn).len(), 1);
    let longer = "x".repeat(262_145);
    let elsewhere = arn.replace("us-east-1", "eu-west-1");
    let newline = "two\nlines";
    let long_subject = "s".repeat(101);
    for (parameters, message) in [
        (vec![("Message", "m")], "TopicArn or TargetArn Reason: no value for required parameter"),
        (vec![("TopicArn", "x"), ("Message", "m")], "at least 6 elements, not 1"),
        (vec![("TopicArn", elsewhere.as_str()), ("Message", "m")], "TopicArn"),
        (vec![to], "Empty message"),
        (vec![to, ("Message", longer.as_str())], "Message too long"),
        (vec![to, ("Message", "m"), ("Subject", newline)], "Subject"),
        (vec![to, ("Message", "m"), ("Subject", long_subject.as_str())], "Subject"),
        (vec![to, ("Message", "m"), ("Subject", "\u{fc}")], "Subject"),
    ] {
        let reply = client.sns("Publish", &parameters).await;
        assert!(reply.refused("InvalidParameter").contains(message), "{}", reply.text);
    }
    assert_eq!(aws.messages(&arn).len(), 1);
}

#[tokio::test]
async fn publishing_needs_permission_for_the_topic() {
    let (aws, _, arn) = topic().await;
    let other = aws.create_topic("other");
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"sns:Publish","Resource":"{arn}"}}]}}"#
    );
    let user = Client::with_key(&aws, aws.create_user("notifier", &[&policy]));
    let reply = user.sns("Publish", &[("TopicArn", &arn), ("Message", "m")]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let reply = user.sns("Publish", &[("TopicArn", &other), ("Message", "m")]).await;
    let said = reply.refused_with(403, "AuthorizationError");
    assert!(said.contains("is not authorized to perform: sns:Publish on resource:"), "{said}");
}
