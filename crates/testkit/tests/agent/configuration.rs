//! What is wrong with a configuration is told with its line, and nothing is called.

use crate::world::Agent;

const GOOD: &str = r#"secret_manager "prod" {
  type = "aws-sm"
  authentication = "access-key"
  region = "us-east-2"
  access_key_id = "AKIAIOSFODNN7EXAMPLE"
  secret_access_key = "canary-key"
}
connection "db" {
  properties = { host = "h" }
  secret "password" { id = "prod/db" key = "password" }
}
exec {
  command = ["/bin/true"]
  environment = { PASSWORD = "connection.db.password" }
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_with_its_line() {
    let cases = [
        (
            "type = \"aws-sm\"",
            "type = \"aws-ssm\"",
            "line 2: unknown type \"aws-ssm\": known are aws-sm, vault, openbao and bailee",
        ),
        ("type = \"aws-sm\"", "typ = \"aws-sm\"", "line 1: secret_manager \"prod\" needs type"),
        ("region = \"us-east-2\"", "region = \"US East (Ohio)\"", "us-east-2"),
        (
            "region = \"us-east-2\"",
            "region = \"us-east-2\"\n  refresh = \"0s\"",
            "line 5: refresh lies outside",
        ),
        ("access_key_id = \"AKIAIOSFODNN7EXAMPLE\"", "", "access_key_id"),
        ("secret \"password\" { id", "secret \"password\" { idd", "unknown key \"idd\""),
        (
            "key = \"password\" }",
            "key = \"password\" manager = \"x\" }",
            "there is no secret_manager \"x\": there are prod",
        ),
        (
            "connection.db.password",
            "connection.db.user",
            "connection \"db\" has no property \"user\"; it has host, password",
        ),
        ("{ PASSWORD =", "{ LD_PRELOAD =", "LD_PRELOAD is refused"),
        ("{ PASSWORD =", "{ PATH =", "PATH is refused"),
        ("command = [\"/bin/true\"]", "command = []", "command: it is empty"),
        ("exec {", "cache { path = \"/x\" }\nexec {", "cache on disk needs a key"),
        ("exec {", "listener \"http\" {}\nexec {", "line 12: unknown listener \"http\""),
        (
            "exec {",
            "listener \"secretsmanager\" { address = \"0.0.0.0:2773\" }\nexec {",
            "allow_remote = true",
        ),
        (
            "exec {",
            "listener \"socket\" { path = \"/x\" mode = \"0666\" }\nexec {",
            "0666 is not taken",
        ),
        ("exec {", "group = \"x\"\nexec {", "line 12: group is for whoever user says"),
        (
            "exec {",
            "nonsense = 1\nexec {",
            "line 12: unknown key \"nonsense\" in the configuration",
        ),
        (
            "exec {",
            "exec {\n  on_change = \"reboot\"",
            "on_change: \"reboot\" is none of restart, signal and nothing",
        ),
    ];
    let agent = Agent::new(GOOD);
    for (from, to, told) in cases {
        assert!(GOOD.contains(from), "{from}");
        agent.configure(&GOOD.replace(from, to));
        let ended = agent.ends("run").await;
        assert_eq!(ended.code, 1, "{to}: {ended:?}");
        assert!(ended.err.contains(told), "{to}: {}", ended.err);
        assert!(!ended.err.contains("canary"), "{to}: {}", ended.err);
    }
    std::fs::remove_file(agent.path("agent.hcl")).unwrap();
    let ended = agent.ends("run").await;
    assert!(ended.err.contains("cannot be read: No such file"), "{}", ended.err);
}
