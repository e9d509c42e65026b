use super::{Scene, sources};
use crate::{
    failure::{Cause, Failure},
    outputs::template::{Sources, Template},
};
use std::sync::Arc;

const APP: &str = r#"{"data":{"user":"ann","password":"s3cret"},"metadata":{"version":2}}"#;

async fn rendered(scene: &Scene, text: &str) -> Result<String, Failure> {
    let template = Template::parse(text, &sources()).unwrap_or_else(|e| panic!("{text}: {e}"));
    template.render(&scene.store).await.map(|text| text.to_string())
}

fn refused(text: &str, sources: &Sources) -> String {
    Template::parse(text, sources).unwrap_err().to_string()
}

#[tokio::test(start_paused = true)]
async fn files_of_vault_agent_are_filled_from_a_server() {
    let scene = Scene::with(&[
        ("secret/data/app", APP),
        ("database/creds/ann", r#"{"username":"v-ann","password":"dyn"}"#),
    ]);
    for (text, expected) in [
        ("{{ with secret \"secret/data/app\" }}{{ .Data.data.password }}{{ end }}", "s3cret"),
        (
            "{{- with secret \"database/creds/ann\" -}}\nuser={{ .Data.username }} pass={{ .Data.password }}\n{{- end }}",
            "user=v-ann pass=dyn",
        ),
        (
            "{{ with secret \"secret/data/app\" }}{{ range $k, $v := .Data.data }}{{ $k }}: {{ $v | toJSON }}\n{{ end }}{{ end }}",
            "password: \"s3cret\"\nuser: \"ann\"\n",
        ),
        (
            "{{ with secret \"secret/data/app\" }}{{ .LeaseDuration }}{{ .Renewable }}{{ end }}",
            "0false",
        ),
    ] {
        assert_eq!(rendered(&scene, text).await.as_deref(), Ok(expected), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn secrets_of_aws_and_connections_are_there_by_name() {
    let scene = Scene::with(&[("db", r#"{"password":"opa"}"#), ("plain", "just text")]);
    for (text, expected) in [
        (
            "{{ with awsSecret \"m\" \"db\" }}{{ .password }} {{ .Text }}{{ end }}",
            r#"opa {"password":"opa"}"#,
        ),
        ("{{ (awsSecret \"m\" \"plain\").Text }}", "just text"),
        ("{{ with connection \"db\" }}{{ .host }}/{{ .password }}{{ end }}", "db.example/opa"),
    ] {
        assert_eq!(rendered(&scene, text).await.as_deref(), Ok(expected), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_may_tell_the_name_of_another_and_each_is_asked_for_once() {
    let scene =
        Scene::with(&[("a", r#"{"next":"b"}"#), ("b", r#"{"next":"c"}"#), ("c", r#"{"x":"end"}"#)]);
    let text = "{{ with secret \"a\" }}{{ with secret .Data.next }}{{ with secret .Data.next }}{{ .Data.x }}{{ end }}{{ end }}{{ end }}";
    assert_eq!(rendered(&scene, text).await.as_deref(), Ok("end"));
    assert_eq!(scene.manager.calls(), ["fetch a", "fetch b", "fetch c"]);
}

#[tokio::test(start_paused = true)]
async fn a_template_that_asks_without_end_is_ended() {
    let many: Vec<(String, String)> =
        (0..30).map(|n| (format!("s{n}"), format!("{{\"next\":\"s{}\"}}", n + 1))).collect();
    let many: Vec<(&str, &str)> =
        many.iter().map(|(id, value)| (id.as_str(), value.as_str())).collect();
    let scene = Scene::with(&many);
    let text = "{{ $n := `s0` }}{{ range loop 30 }}{{ $n = (secret $n).Data.next }}{{ end }}";
    let failure = rendered(&scene, text).await.unwrap_err();
    assert_eq!(failure.message, "template: after 10 rounds it still asks for new secrets");
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_for_a_missing_secret_is_not_needed_where_it_is_there() {
    let scene = Scene::with(&[("a", r#"{"x":"1"}"#)]);
    let text = "{{ with secret \"a\" }}{{ .Data.x }}{{ else }}{{ (secret \"b\").Data.x }}{{ end }}";
    assert_eq!(rendered(&scene, text).await.as_deref(), Ok("1"));
}

#[tokio::test(start_paused = true)]
async fn failures_name_the_secret_or_the_line_and_show_no_value() {
    let scene = Scene::with(&[("secret/data/app", APP), ("plain", "canary-1"), ("db", "canary-2")]);
    for (text, cause, expected) in [
        ("{{ with secret \"gone\" }}{{ end }}", Cause::NotFound, "gone is not there"),
        ("{{ (secret \"plain\").Data.x }}", Cause::Invalid, "plain: the secret is no JSON object"),
        (
            "\n{{ with secret \"secret/data/app\" }}{{ .Data.data.pass }}{{ end }}",
            Cause::Invalid,
            "template: line 2: .Data.data.pass has no value",
        ),
        (
            "{{ connection \"nope\" | toJSON }}",
            Cause::Invalid,
            "there is no connection \"nope\"; there are db",
        ),
        (
            "{{ connection \"db\" | toJSON }}",
            Cause::Invalid,
            "connection \"db\": property \"password\": db: key",
        ),
        (
            "{{ awsSecret \"n\" \"x\" | toJSON }}",
            Cause::Invalid,
            "there is no secret manager \"n\"",
        ),
    ] {
        let failure = rendered(&scene, text).await.unwrap_err();
        assert_eq!(failure.cause, cause, "{text}: {failure}");
        assert!(failure.message.contains(expected), "{text}: {failure}");
        assert!(!failure.message.contains("canary"), "{failure}");
    }
}

#[test]
fn what_a_template_may_not_ask_is_refused_when_it_is_read() {
    let parameters =
        refused("{{ with secret \"pki/issue/x\" \"common_name=a\" }}{{ end }}", &sources());
    assert!(
        parameters.contains("secret takes 1 argument (path), found 2; secrets are read"),
        "{parameters}"
    );
    assert!(refused("{{ env \"HOME\" }}", &sources()).contains("function env is refused"));
    let none = Sources { vault: None, ..sources() };
    assert!(refused("{{ (secret \"a\").Data.x }}", &none).contains("set manager to its name"));
    assert!(refused("{{ secert \"a\" }}", &sources()).contains("the nearest there is secret"));
}

#[tokio::test(start_paused = true)]
async fn variables_of_the_agent_are_read_where_they_are_allowed() {
    let scene = Scene::with(&[]);
    let env = [("REGION".to_owned(), "us-east-2".to_owned())];
    let sources = Sources { env: Arc::new(env.into()), ..sources() };
    let template = Template::parse("{{ env \"REGION\" }}", &sources).unwrap();
    assert_eq!(template.render(&scene.store).await.unwrap().as_str(), "us-east-2");
    let template = Template::parse("{{ env \"AWS_SECRET_ACCESS_KEY\" }}", &sources).unwrap();
    let failure = template.render(&scene.store).await.unwrap_err();
    assert!(failure.message.contains("is not among the variables that are allowed"), "{failure}");
}
