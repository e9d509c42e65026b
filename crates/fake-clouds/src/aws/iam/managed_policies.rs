//! The few policies managed by AWS that tests attach. `ReadOnlyAccess` is wider than AWS's list.

use std::sync::LazyLock;

use super::policy::{DocumentKind, Policy};

const DOCUMENTS: &[(&str, &str)] = &[
    ("AdministratorAccess", r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#),
    ("PowerUserAccess", r#"{"Effect":"Allow","NotAction":["iam:*"],"Resource":"*"}"#),
    ("IAMFullAccess", r#"{"Effect":"Allow","Action":"iam:*","Resource":"*"}"#),
    (
        "ReadOnlyAccess",
        r#"{"Effect":"Allow","Action":["iam:Get*","iam:List*","kms:Describe*","kms:List*","s3:Get*","s3:List*","secretsmanager:DescribeSecret","secretsmanager:GetResourcePolicy","secretsmanager:List*"],"Resource":"*"}"#,
    ),
    (
        "SecretsManagerReadWrite",
        r#"{"Effect":"Allow","Action":["secretsmanager:*","kms:DescribeKey","kms:ListAliases","kms:ListKeys"],"Resource":"*"}"#,
    ),
    (
        "AmazonS3ReadOnlyAccess",
        r#"{"Effect":"Allow","Action":["s3:Get*","s3:List*","s3:Describe*"],"Resource":"*"}"#,
    ),
    ("AmazonEC2FullAccess", r#"{"Effect":"Allow","Action":"ec2:*","Resource":"*"}"#),
    (
        "AmazonEC2ReadOnlyAccess",
        r#"{"Effect":"Allow","Action":["ec2:Describe*","ec2:Get*"],"Resource":"*"}"#,
    ),
];

static PARSED: LazyLock<Vec<(String, Policy)>> = LazyLock::new(|| {
    DOCUMENTS
        .iter()
        .map(|(name, statement)| {
            let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
            let policy = Policy::parse(&text, DocumentKind::Identity)
                .expect("the policies written here are well formed");
            (format!("arn:aws:iam::aws:policy/{name}"), policy)
        })
        .collect()
});

/// The policy managed by AWS with this ARN.
pub(crate) fn find(arn: &str) -> Option<&'static Policy> {
    PARSED.iter().find(|(known, _)| known == arn).map(|(_, policy)| policy)
}
