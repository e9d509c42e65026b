//! Examples of every command. `$` stands for the name this program was called by.

/// The examples of a command.
pub(crate) fn of(words: &[String]) -> &'static [&'static str] {
    let path = words.join(" ");
    let found = EXAMPLES.iter().find(|(command, _)| *command == path);
    found.map_or(&[], |(_, examples)| examples)
}

const EXAMPLES: &[(&str, &[&str])] = &[
    // Any path of the API.
    ("read", &["$ read sys/policies/acl/default", "$ read -field=ttl auth/token/lookup-self"]),
    (
        "write",
        &[
            "$ write auth/userpass/users/anna password=- token_policies=app",
            "$ write -force auth/approle/role/ci/secret-id",
            "$ write sys/policies/password/long policy=@long.hcl",
        ],
    ),
    ("patch", &["$ patch secret/data/app @change.json"]),
    ("list", &["$ list auth/userpass/users"]),
    ("delete", &["$ delete auth/userpass/users/anna"]),
    ("unwrap", &["$ unwrap -field=password -"]),
    (
        "aws root-policy",
        &["$ aws root-policy", "$ aws root-policy -mount=cloud -credential-type=iam_user"],
    ),
    // Secrets.
    (
        "kv put",
        &[
            "$ kv put secret/app user=anna password=-",
            "$ kv put -mount=secret app @app.json",
            "$ kv put -cas=3 secret/app key=@key.pem",
        ],
    ),
    (
        "kv get",
        &[
            "$ kv get secret/app",
            "$ kv get -field=password secret/app",
            "$ kv get -version=2 -format=json secret/app",
        ],
    ),
    ("kv patch", &["$ kv patch secret/app user=berta", "$ kv patch -remove-data=old secret/app"]),
    ("kv delete", &["$ kv delete secret/app", "$ kv delete -versions=1,2 secret/app"]),
    ("kv undelete", &["$ kv undelete -versions=2 secret/app"]),
    ("kv destroy", &["$ kv destroy -versions=1 secret/app"]),
    ("kv list", &["$ kv list secret", "$ kv list -mount=secret teams/"]),
    ("kv rollback", &["$ kv rollback -version=2 secret/app"]),
    ("kv metadata get", &["$ kv metadata get secret/app"]),
    (
        "kv metadata put",
        &["$ kv metadata put -max-versions=5 -custom-metadata=owner=anna secret/app"],
    ),
    ("kv metadata patch", &["$ kv metadata patch -custom-metadata=owner=berta secret/app"]),
    ("kv metadata delete", &["$ kv metadata delete secret/app"]),
    ("kv enable-versioning", &["$ kv enable-versioning secret"]),
    // Tokens and logins.
    (
        "login",
        &[
            "$ login",
            "$ login -method=userpass username=anna",
            "$ login -method=approle -token-only role_id=ID secret_id=-",
        ],
    ),
    (
        "token create",
        &[
            "$ token create -policy=app -ttl=1h",
            "$ token create -orphan -period=24h -field=token -policy=app",
        ],
    ),
    ("token lookup", &["$ token lookup", "$ token lookup -accessor ACCESSOR"]),
    ("token renew", &["$ token renew", "$ token renew -increment=2h -accessor ACCESSOR"]),
    ("token revoke", &["$ token revoke -self", "$ token revoke -accessor ACCESSOR"]),
    ("token capabilities", &["$ token capabilities secret/data/app"]),
    ("print token", &["$ print token"]),
    ("lease lookup", &["$ lease lookup auth/userpass/login/anna/ID"]),
    ("lease renew", &["$ lease renew -increment=1h aws/creds/ci/ID"]),
    (
        "lease revoke",
        &["$ lease revoke aws/creds/ci/ID", "$ lease revoke -prefix -sync aws/creds/ci"],
    ),
    // What is mounted, and who may do what.
    (
        "secrets enable",
        &["$ secrets enable -path=secret kv-v2", "$ secrets enable -path=old -version=1 kv"],
    ),
    ("secrets list", &["$ secrets list", "$ secrets list -detailed"]),
    ("secrets move", &["$ secrets move old/ archive/"]),
    ("secrets tune", &["$ secrets tune -max-lease-ttl=24h secret/"]),
    ("secrets disable", &["$ secrets disable archive/"]),
    ("auth enable", &["$ auth enable userpass", "$ auth enable -path=ci approle"]),
    ("auth list", &["$ auth list", "$ auth list -detailed"]),
    ("auth move", &["$ auth move ci/ builds/"]),
    ("auth tune", &["$ auth tune -default-lease-ttl=1h -user-lockout-threshold=10 userpass/"]),
    ("auth disable", &["$ auth disable ci/"]),
    ("auth help", &["$ auth help userpass", "$ auth help ci/"]),
    ("policy write", &["$ policy write app app.hcl", "$ policy write app -"]),
    ("policy read", &["$ policy read app"]),
    ("policy list", &["$ policy list"]),
    ("policy delete", &["$ policy delete app"]),
    (
        "policy explain",
        &["$ policy explain secret/data/app", "$ policy explain -who secret/data/app"],
    ),
    ("policy fmt", &["$ policy fmt app.hcl"]),
    ("audit enable", &["$ audit enable file file_path=/var/log/audit.log"]),
    ("audit list", &["$ audit list", "$ audit list -detailed"]),
    ("audit disable", &["$ audit disable file/"]),
    ("plugin list", &["$ plugin list", "$ plugin list -detailed auth"]),
    ("plugin info", &["$ plugin info secret kv"]),
    ("namespace create", &["$ namespace create -custom-metadata=owner=anna team"]),
    ("namespace list", &["$ namespace list", "$ namespace list -namespace=team"]),
    ("namespace lookup", &["$ namespace lookup team"]),
    ("namespace patch", &["$ namespace patch -remove-custom-metadata=owner team"]),
    ("namespace delete", &["$ namespace delete team"]),
    ("namespace lock", &["$ namespace lock team"]),
    ("namespace unlock", &["$ namespace unlock -unlock-key=- team"]),
    // Delivery.
    ("sync activate", &["$ sync activate"]),
    ("sync destination create", &["$ sync destination create aws-sm/main region=eu-central-1"]),
    ("sync destination update", &["$ sync destination update aws-sm/main granularity=secret-key"]),
    ("sync destination read", &["$ sync destination read aws-sm/main"]),
    ("sync destination list", &["$ sync destination list"]),
    ("sync destination delete", &["$ sync destination delete -purge aws-sm/main"]),
    ("sync associate", &["$ sync associate aws-sm/main secret app"]),
    ("sync dissociate", &["$ sync dissociate aws-sm/main secret app"]),
    ("sync status", &["$ sync status -watch", "$ sync status aws-sm/main"]),
    (
        "agent check",
        &["$ agent check -config=agent.hcl", "$ agent check -format=json -config=agent.hcl"],
    ),
    ("agent run", &["$ agent run -config=agent.hcl"]),
    ("agent status", &["$ agent status -config=agent.hcl"]),
    (
        "replicate plan",
        &[
            "$ replicate plan -config=replicate.hcl",
            "$ replicate plan -mount=apps -region=eu-west-1",
        ],
    ),
    (
        "replicate run",
        &[
            "$ replicate run -config=replicate.hcl",
            "$ replicate run -config=cdk.json -output=sample",
            "$ replicate run -mount=apps -prefix=hybrid -deletion=orphan",
        ],
    ),
    (
        "replicate serve",
        &[
            "$ replicate serve -config=replicate.hcl",
            "$ replicate serve -config=replicate.hcl -schedule=30m",
        ],
    ),
    (
        "replicate package",
        &[
            "$ replicate package -out=lambda",
            "$ replicate package -config=replicate.hcl -program=al2023/bailee",
        ],
    ),
    ("replicate connect", &["$ replicate connect -config=replicate.hcl"]),
    (
        "replicate policy",
        &[
            "$ replicate policy -config=replicate.hcl -account=123456789012",
            "$ replicate policy -config=replicate.hcl -consumer=arn:aws:iam::123456789012:role/app",
        ],
    ),
    (
        "sync plan",
        &[
            "$ sync plan aws-sm/main",
            "$ sync plan aws-sm/main -associate='secret/app/*'",
            "$ sync plan aws-sm/main ownership=adopt",
        ],
    ),
    (
        "sync preview",
        &[
            "$ sync preview aws-sm/main secret app",
            "$ sync preview aws-sm/main secret app secret_name_template='apps/{{ .SecretPath }}'",
            "$ sync preview aws-sm granularity=secret-key",
        ],
    ),
    ("sync events", &["$ sync events aws-sm/main", "$ sync events -status=CLIENT_SIDE_ERROR"]),
    ("sync check", &["$ sync check aws-sm/main"]),
    ("sync now", &["$ sync now -repair aws-sm/main", "$ sync now aws-sm/main secret app"]),
    ("sync pause", &["$ sync pause aws-sm/main"]),
    ("sync resume", &["$ sync resume aws-sm/main"]),
    ("sync orphans", &["$ sync orphans", "$ sync orphans -forget aws-sm/main"]),
    ("sync takeover", &["$ sync takeover"]),
    ("sync config", &["$ sync config", "$ sync config disabled=true"]),
    // The server.
    (
        "server",
        &[
            "$ server -dev",
            "$ server -dev -dev-root-token-id=root",
            "$ server -config=/etc/bailee.hcl",
        ],
    ),
    ("status", &["$ status", "$ status -format=json"]),
    ("operator init", &["$ operator init", "$ operator init -key-shares=3 -key-threshold=2"]),
    (
        "import",
        &[
            "$ import -from=https://vault.example.com:8200 -from-token-file=token -plan",
            "$ import -from=https://vault.example.com:8200 -from-token-file=token -mount=secret",
        ],
    ),
    (
        "quickstart",
        &[
            "$ quickstart -samples",
            "$ quickstart -key-shares=5 -key-threshold=3 -keys-file=/media/safe/keys.json",
        ],
    ),
    ("operator unseal", &["$ operator unseal", "$ operator unseal -reset"]),
    ("operator seal", &["$ operator seal"]),
    (
        "operator usage",
        &["$ operator usage", "$ operator usage -start-time=2026-01 -end-time=2026-06"],
    ),
    ("operator key-status", &["$ operator key-status"]),
    ("operator rotate", &["$ operator rotate"]),
    (
        "operator rekey",
        &[
            "$ operator rekey -init -verify -key-shares=5 -key-threshold=3",
            "$ operator rekey",
            "$ operator rekey -status",
        ],
    ),
    (
        "operator generate-root",
        &[
            "$ operator generate-root -init",
            "$ operator generate-root",
            "$ operator generate-root -otp=OTP -decode=-",
        ],
    ),
    ("operator members", &["$ operator members"]),
    ("operator step-down", &["$ operator step-down"]),
    ("operator raft list-peers", &["$ operator raft list-peers"]),
    ("operator raft remove-peer", &["$ operator raft remove-peer node2"]),
    ("operator raft snapshot save", &["$ operator raft snapshot save today.snap"]),
    ("operator raft snapshot restore", &["$ operator raft snapshot restore today.snap"]),
    ("operator raft autopilot state", &["$ operator raft autopilot state"]),
    ("operator raft autopilot get-config", &["$ operator raft autopilot get-config"]),
    ("path-help", &["$ path-help sys/mounts"]),
    ("version", &["$ version"]),
    ("version-history", &["$ version-history"]),
    ("completion", &["$ completion bash > ~/.local/share/bash-completion/completions/$"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_has_its_examples_twice() {
        for (position, (command, _)) in EXAMPLES.iter().enumerate() {
            assert!(
                EXAMPLES[position + 1..].iter().all(|(other, _)| other != command),
                "{command}"
            );
        }
    }
}
