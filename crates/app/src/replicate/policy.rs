//! Least-privilege policies for AWS: for the role that replicates, and for those who read.

use super::{Configuration, Notified};
use bailee_secret_sync::{
    destination::Ownership,
    pull::{connection::name_of, spec::Removals},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a run writes with.
const WRITES: [&str; 5] = [
    "secretsmanager:CreateSecret",
    "secretsmanager:UpdateSecret",
    "secretsmanager:TagResource",
    "secretsmanager:UntagResource",
    "secretsmanager:DescribeSecret",
];
/// What a write does with a key.
const ENCRYPTS: [&str; 3] = ["kms:GenerateDataKey", "kms:Decrypt", "kms:Encrypt"];
const REPLICAS: [&str; 2] =
    ["secretsmanager:ReplicateSecretToRegions", "secretsmanager:RemoveRegionsFromReplication"];

/// Who reads what was replicated.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// The ARN of a role or user.
    pub arn: String,
}

/// Names of resources in one account and region.
struct Names {
    partition: &'static str,
    region: String,
    account: String,
    prefix: String,
}

impl Names {
    fn of(configuration: &Configuration, account: Option<&str>) -> Names {
        let region = configuration.destination.details.text("region");
        let region = region.unwrap_or_else(|| "*".to_owned());
        let prefix = configuration.spec.start_at(&configuration.destination.kind);
        Names {
            partition: partition(&region),
            account: account.unwrap_or("*").to_owned(),
            prefix,
            region,
        }
    }

    fn secret(&self, name: &str) -> String {
        let Names { partition, region, account, .. } = self;
        format!("arn:{partition}:secretsmanager:{region}:{account}:secret:{name}")
    }

    fn replicated(&self) -> String {
        self.secret(&format!("{}*", self.prefix))
    }

    /// The service adds a hyphen and six characters to a name.
    fn connection(&self, id: &str) -> String {
        match id.starts_with("arn:") {
            true => id.to_owned(),
            false => self.secret(&format!("{id}-??????")),
        }
    }

    fn in_region(&self, region: String) -> Names {
        let (account, prefix) = (self.account.clone(), self.prefix.clone());
        Names { partition: self.partition, region, account, prefix }
    }

    /// Through these services alone.
    fn may_use(&self, id: &str, sid: &str, actions: &[&str], services: &[&str]) -> Value {
        let (resource, condition) = self.key(id);
        let via: Vec<String> =
            services.iter().map(|name| format!("{name}.{}.amazonaws.com", self.region)).collect();
        let mut conditions = json!({ "StringLike": { "kms:ViaService": via } });
        if let (Some(all), Some(Value::Object(more))) = (conditions.as_object_mut(), condition) {
            all.extend(more);
        }
        json!({
            "Sid": sid,
            "Effect": "Allow",
            "Action": actions,
            "Resource": resource,
            "Condition": conditions,
        })
    }

    fn key(&self, id: &str) -> (String, Option<Value>) {
        let Names { partition, region, account, .. } = self;
        let keys = format!("arn:{partition}:kms:{region}:{account}:key/");
        match id {
            id if id.starts_with("arn:") => (id.to_owned(), None),
            // Policies know keys by id; by an alias only as a condition.
            id if id.starts_with("alias/") => (
                format!("{keys}*"),
                Some(json!({ "ForAnyValue:StringEquals": { "kms:ResourceAliases": id } })),
            ),
            id => (format!("{keys}{id}"), None),
        }
    }
}

fn partition(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// The policy of the role that replicates: what its configuration needs, and nothing else.
pub fn role_policy(configuration: &Configuration, account: Option<&str>) -> Value {
    let names = Names::of(configuration, account);
    let mut writes: Vec<&str> = WRITES.to_vec();
    // What is scheduled for deletion, by us or by others, is taken back when it is wanted.
    writes.push("secretsmanager:RestoreSecret");
    if matches!(configuration.spec.removals, Removals::Schedule { .. } | Removals::Delete) {
        writes.push("secretsmanager:DeleteSecret");
    }
    if configuration.destination.details.get("replica_regions").is_some() {
        writes.extend(REPLICAS);
    }
    let mut statements = vec![
        json!({
            "Sid": "Replicate",
            "Effect": "Allow",
            "Action": writes,
            "Resource": names.replicated(),
        }),
        json!({
            "Sid": "SeeWhatIsThere",
            "Effect": "Allow",
            "Action": "secretsmanager:ListSecrets",
            "Resource": "*",
        }),
    ];
    if let Some(id) = &configuration.connection_secret {
        statements.extend(connection_statements(&names.connection(id)));
    }
    let topics: Vec<&str> = configuration
        .notify
        .iter()
        .filter_map(|notified| match notified {
            Notified::Topic { arn } => Some(arn.as_str()),
            Notified::Webhook { .. } => None,
        })
        .collect();
    if !topics.is_empty() {
        statements.push(json!({
            "Sid": "TellOfFailures",
            "Effect": "Allow",
            "Action": "sns:Publish",
            "Resource": topics,
        }));
    }
    if configuration.spec.ownership == Ownership::Refuse && !configuration.spec.adopts_sample {
        // Even by mistake nothing is touched that carries no mark of replication.
        statements.push(json!({
            "Sid": "LeaveWhatIsNotOurs",
            "Effect": "Deny",
            "Action": ["secretsmanager:UpdateSecret", "secretsmanager:DeleteSecret"],
            "Resource": names.replicated(),
            "Condition": { "Null": { "secretsmanager:ResourceTag/bailee:owner": "true" } },
        }));
    }
    statements.extend(key_statement(configuration, &names, "Encrypt", &ENCRYPTS));
    statements.extend(copies_statements(configuration, &names));
    if let Some(id) = &configuration.configuration_kms_key_id {
        statements.push(configuration_statement(&names, id, !topics.is_empty()));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// The key of the connection secret and of topics: what is read, and what is told.
fn configuration_statement(names: &Names, id: &str, topics: bool) -> Value {
    match topics {
        false => names.may_use(id, "OpenConfiguration", &["kms:Decrypt"], &["secretsmanager"]),
        true => {
            let actions = ["kms:Decrypt", "kms:GenerateDataKey"];
            names.may_use(id, "OpenConfiguration", &actions, &["secretsmanager", "sns"])
        }
    }
}

/// The keys of copies in other regions.
fn copies_statements(configuration: &Configuration, names: &Names) -> Vec<Value> {
    let regions = configuration.destination.details.text("replica_regions").unwrap_or_default();
    let regions: BTreeMap<String, String> = serde_json::from_str(&regions).unwrap_or_default();
    let keyed = regions.into_iter().filter(|(_, key)| !key.is_empty());
    let statement = |(region, key): (String, String)| {
        let sid: String = region.split('-').collect();
        let there = names.in_region(region);
        there.may_use(&key, &format!("EncryptIn{sid}"), &ENCRYPTS, &["secretsmanager"])
    };
    keyed.map(statement).collect()
}

/// The connection secret is read, and never written, whatever else is permitted.
fn connection_statements(connection: &str) -> [Value; 2] {
    let mut denied = vec![
        "secretsmanager:PutSecretValue",
        "secretsmanager:DeleteSecret",
        "secretsmanager:PutResourcePolicy",
        "secretsmanager:UpdateSecretVersionStage",
    ];
    denied.extend(WRITES.iter().filter(|action| !action.ends_with(":DescribeSecret")));
    denied.sort_unstable();
    [
        json!({
            "Sid": "ReadTheConnection",
            "Effect": "Allow",
            "Action": "secretsmanager:GetSecretValue",
            "Resource": connection,
        }),
        json!({
            "Sid": "NeverWriteTheConnection",
            "Effect": "Deny",
            "Action": denied,
            "Resource": connection,
        }),
    ]
}

/// For those who read: the policy of an identity, and a statement for the policy of the key.
pub fn consumer_policies(
    configuration: &Configuration,
    account: Option<&str>,
    consumer: &Consumer,
) -> Value {
    let names = Names::of(configuration, account);
    let mut statements = vec![json!({
        "Sid": "ReadReplicated",
        "Effect": "Allow",
        "Action": ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"],
        "Resource": names.replicated(),
    })];
    if let Some(id) = &configuration.connection_secret {
        statements.push(json!({
            "Sid": "NeverReadTheConnection",
            "Effect": "Deny",
            "Action": "secretsmanager:*",
            "Resource": names.connection(id),
        }));
    }
    statements.extend(key_statement(configuration, &names, "Decrypt", &["kms:Decrypt"]));
    let key = configuration.destination.details.get("kms_key_id").map(|_| {
        let via = format!("secretsmanager.{}.amazonaws.com", names.region);
        json!({
            "Sid": "ReadReplicated",
            "Effect": "Allow",
            "Principal": { "AWS": consumer.arn },
            "Action": "kms:Decrypt",
            "Resource": "*",
            "Condition": { "StringLike": { "kms:ViaService": via } },
        })
    });
    json!({
        "identity_policy": { "Version": "2012-10-17", "Statement": statements },
        "key_policy_statement": key,
    })
}

/// What a key of one's own needs, through Secrets Manager alone.
fn key_statement(
    configuration: &Configuration,
    names: &Names,
    sid: &str,
    actions: &[&str],
) -> Option<Value> {
    let id = configuration.destination.details.text("kms_key_id")?;
    Some(names.may_use(&id, sid, actions, &["secretsmanager"]))
}

/// The name of the connection secret, where it is known by an ARN too.
pub(crate) fn connection_name(configuration: &Configuration) -> Option<&str> {
    configuration.connection_secret.as_deref().map(name_of)
}
