use super::{
    Bed, Fields, Settings, allow,
    identities::{OTHER, grant, of_instances},
    reader,
};
use crate::{
    aws::check::{Addition, Name, Outcome, PolicyKind, Report, Step, Wishes, check},
    manager::Wanted,
};
use bailee_fake_clouds::FakeInstance;
use serde_json::{Value, json};

const GET: &str = "secretsmanager:GetSecretValue";
const BATCH: &str = "secretsmanager:BatchGetSecretValue";

fn wishes(ids: &[&str]) -> Wishes {
    Wishes { secrets: ids.iter().copied().map(Wanted::current).collect(), tags: Vec::new() }
}

async fn examine(bed: &Bed, fields: &Fields, wishes: &Wishes) -> Report {
    check(&Settings::new(fields).unwrap(), &bed.surroundings(), wishes).await.unwrap()
}

/// The one step that went wrong, as it is printed.
fn wrong(report: &Report) -> String {
    let bad = |step: &&Step| matches!(step.outcome, Outcome::Failed | Outcome::Warning);
    let steps: Vec<&Step> = report.steps.iter().filter(bad).collect();
    assert_eq!(steps.len(), 1, "{report}");
    steps[0].to_string()
}

fn additions(report: &Report) -> Vec<&Addition> {
    report.steps.iter().flat_map(|step| &step.additions).collect()
}

/// A policy of these statements.
fn policy(additions: &[&Addition], kind: PolicyKind) -> String {
    let statements: Vec<Value> = additions
        .iter()
        .filter(|addition| addition.policy == kind)
        .map(|addition| serde_json::to_value(&addition.statement).unwrap())
        .collect();
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

impl Bed {
    /// Fields of user `app`, who signs with a key and asks the fake's STS.
    fn user_fields(&self, policies: &[&str]) -> Fields {
        let key = self.aws.create_user("app", policies);
        Fields { sts_endpoint: Some(self.aws.endpoint()), ..self.keys(&key) }
    }
}

#[tokio::test]
async fn a_whole_way_is_walked_and_printed() {
    let bed = Bed::new().await;
    let version = bed.aws.put_secret("prod/a", "1");
    bed.aws.put_secret("prod/b", "2");
    let fields = bed.user_fields(&[&reader()]);
    let mut wishes = wishes(&["prod/a", "prod/b"]);
    wishes.tags.push([("app".to_owned(), "orders".to_owned())].into());
    let report = examine(&bed, &fields, &wishes).await;
    assert!(report.is_ok(), "{report}");
    let key = fields.access_key_id.unwrap();
    let printed = report.to_string();
    let expected = format!(
        "aws-sm us-east-1 as {key}\n  \
         ok       credentials: {key} from the configuration\n  \
         ok       identity: {}\n  \
         ok       list: secrets may be listed\n  \
         ok       batch: many secrets are read in one call\n  \
         ok       get prod/a: version {version} with AWSCURRENT\n  \
         ok       decrypt prod/a: the value is read\n",
        bed.user_arn()
    );
    assert!(printed.starts_with(&expected), "{printed}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["steps"][0]["name"], "credentials");
    assert_eq!(json["steps"][1]["outcome"], "ok");
}

#[tokio::test]
async fn a_missing_permission_to_read_is_told_with_the_statement_that_is_enough() {
    let bed = Bed::new().await;
    bed.aws.put_secret("prod/a", "1");
    let fields = bed.user_fields(&[]);
    let report = examine(&bed, &fields, &wishes(&["prod/a"])).await;
    let account = bed.aws.account_id();
    assert_eq!(
        wrong(&report),
        format!(
            r#"  FAILED   get prod/a: AccessDeniedException: User: {user} is not authorized to perform: secretsmanager:GetSecretValue on resource: prod/a because no identity-based policy allows the secretsmanager:GetSecretValue action
           missing: secretsmanager:GetSecretValue
           add to the identity policy of user app in account {account}:
             {{
               "Effect": "Allow",
               "Action": "secretsmanager:GetSecretValue",
               "Resource": "arn:aws:secretsmanager:us-east-1:{account}:secret:prod/a-??????"
             }}
"#,
            user = bed.user_arn()
        )
    );
    bed.aws.set_user_policies("app", &[&policy(&additions(&report), PolicyKind::Identity)]);
    assert!(examine(&bed, &fields, &wishes(&["prod/a"])).await.is_ok());
}

#[tokio::test]
async fn missing_permissions_to_list_and_to_batch_are_told() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    bed.aws.put_secret("b", "2");
    let fields = bed.user_fields(&[&allow(&[GET], "*")]);
    let report = examine(&bed, &fields, &wishes(&["a", "b"])).await;
    let account = bed.aws.account_id();
    let user = bed.user_arn();
    assert_eq!(
        wrong(&report),
        format!(
            r#"  warning  batch: AccessDeniedException: User: {user} is not authorized to perform: secretsmanager:BatchGetSecretValue on resource: * because no identity-based policy allows the secretsmanager:BatchGetSecretValue action
           missing: secretsmanager:BatchGetSecretValue
           every secret costs a call of its own until then
           add to the identity policy of user app in account {account}:
             {{
               "Effect": "Allow",
               "Action": "secretsmanager:BatchGetSecretValue",
               "Resource": "*"
             }}
"#
        )
    );
    assert!(report.is_ok(), "secrets can be read all the same");
    bed.aws.set_user_policies("app", &[&allow(&[GET, BATCH], "*")]);
    let mut tagged = wishes(&["a"]);
    tagged.tags.push([("app".to_owned(), "orders".to_owned())].into());
    let report = examine(&bed, &fields, &tagged).await;
    assert!(!report.is_ok());
    assert_eq!(
        wrong(&report),
        format!(
            r#"  FAILED   list: AccessDeniedException: User: {user} is not authorized to perform: secretsmanager:ListSecrets on resource: * because no identity-based policy allows the secretsmanager:ListSecrets action
           missing: secretsmanager:ListSecrets
           add to the identity policy of user app in account {account}:
             {{
               "Effect": "Allow",
               "Action": "secretsmanager:ListSecrets",
               "Resource": "*"
             }}
"#
        )
    );
    bed.aws.set_user_policies(
        "app",
        &[&allow(&[GET, BATCH], "*"), &policy(&additions(&report), PolicyKind::Identity)],
    );
    assert!(examine(&bed, &fields, &tagged).await.is_ok());
}

#[tokio::test]
async fn a_key_that_may_not_be_used_is_told_and_each_statement_is_enough_inside_one_account() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    let arn = bed.aws.secret("a").unwrap().arn;
    let key = bed.aws.create_kms_key();
    bed.aws.set_secret_key(&arn, Some(&key));
    let policies = [allow(&[GET, "secretsmanager:DescribeSecret"], "*")];
    let fields = bed.user_fields(&[&policies[0]]);
    let report = examine(&bed, &fields, &wishes(&["a"])).await;
    let (account, user) = (bed.aws.account_id(), bed.user_arn());
    assert_eq!(
        wrong(&report),
        format!(
            r#"  FAILED   decrypt a: AccessDeniedException: Access to KMS is not allowed; the secret is encrypted with a customer's KMS key, and the caller lacks kms:Decrypt on it: the key's policy must name the caller, and in another account the caller's own policy must allow it, too
           missing: kms:Decrypt
           the first is enough where the key's policy leaves permissions to the account (its default), else the second is needed, and is enough
           add to the identity policy of user app in account {account}:
             {{
               "Effect": "Allow",
               "Action": "kms:Decrypt",
               "Resource": "{key}",
               "Condition": {{
                 "StringEquals": {{
                   "kms:ViaService": "secretsmanager.us-east-1.amazonaws.com"
                 }}
               }}
             }}
           add to the key policy of {key}:
             {{
               "Effect": "Allow",
               "Principal": {{
                 "AWS": "{user}"
               }},
               "Action": "kms:Decrypt",
               "Resource": "*",
               "Condition": {{
                 "StringEquals": {{
                   "kms:ViaService": "secretsmanager.us-east-1.amazonaws.com"
                 }}
               }}
             }}
"#
        )
    );
    let own = policy(&additions(&report), PolicyKind::Identity);
    bed.aws.set_user_policies("app", &[&policies[0], &own]);
    assert!(examine(&bed, &fields, &wishes(&["a"])).await.is_ok());
    bed.aws.set_user_policies("app", &[&policies[0]]);
    bed.aws.set_kms_key_policy(&key, &policy(&additions(&report), PolicyKind::Key));
    assert!(examine(&bed, &fields, &wishes(&["a"])).await.is_ok());
}

#[tokio::test]
async fn across_accounts_the_side_that_is_missing_is_told_one_after_the_other() {
    let bed = Bed::new().await;
    let arn = bed.aws.put_secret_of(OTHER, "us-east-1", "shared/db", "theirs");
    let key = bed.aws.create_kms_key_of(OTHER, "us-east-1");
    bed.aws.set_secret_key(&arn, Some(&key));
    bed.aws.set_kms_key_policy(&key, &grant(&format!("arn:aws:iam::{OTHER}:root"), "kms:*"));
    let fields = bed.user_fields(&[]);
    let wishes = wishes(&[&arn]);
    // The secret must allow it …
    let report = examine(&bed, &fields, &wishes).await;
    let printed = wrong(&report);
    let user = bed.user_arn();
    let expected = format!(
        r#"  FAILED   get {arn}: AccessDeniedException: User: {user} is not authorized to perform: secretsmanager:GetSecretValue on resource: {arn} because no resource-based policy allows the secretsmanager:GetSecretValue action
           missing: secretsmanager:GetSecretValue
           add to the resource policy of secret {arn}:
             {{
               "Effect": "Allow",
               "Principal": {{
                 "AWS": "{user}"
               }},
               "Action": "secretsmanager:GetSecretValue",
               "Resource": "*"
             }}
"#
    );
    assert_eq!(printed, expected);
    bed.aws.set_secret_policy(&arn, Some(&policy(&additions(&report), PolicyKind::Secret)));
    // … and the caller's own policy …
    let report = examine(&bed, &fields, &wishes).await;
    assert!(wrong(&report).contains("because no identity-based policy allows"), "{report}");
    let own = policy(&additions(&report), PolicyKind::Identity);
    bed.aws.set_user_policies("app", &[&own]);
    // … and the key, on both sides.
    let report = examine(&bed, &fields, &wishes).await;
    let printed = wrong(&report);
    assert!(
        printed.contains("the key is in another account: both statements are needed"),
        "{printed}"
    );
    let both = additions(&report);
    // Who may not describe the secret does not learn its key.
    assert!(printed.contains(&format!("arn:aws:kms:us-east-1:{OTHER}:key/<the secret's key>")));
    let known = policy(&both, PolicyKind::Identity)
        .replace(&format!("arn:aws:kms:us-east-1:{OTHER}:key/<the secret's key>"), &key);
    bed.aws.set_user_policies("app", &[&own, &known]);
    assert!(!examine(&bed, &fields, &wishes).await.is_ok());
    bed.aws.set_kms_key_policy(&key, &policy(&both, PolicyKind::Key));
    let report = examine(&bed, &fields, &wishes).await;
    assert!(report.is_ok(), "{report}");
}

#[tokio::test]
async fn a_role_that_is_refused_is_told_with_both_sides_and_the_external_id() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    let role = bed.aws.create_role("reader", &of_instances(), &[&reader()]);
    let key = bed.aws.create_user("app", &[]);
    let fields = Fields {
        role_arn: Some(role.clone()),
        external_id: Some("shared-word".to_owned()),
        ..bed.as_role(bed.keys(&key))
    };
    let report = examine(&bed, &fields, &wishes(&["a"])).await;
    let (account, user) = (bed.aws.account_id(), bed.user_arn());
    assert_eq!(
        wrong(&report),
        format!(
            r#"  FAILED   assume role {role}: AccessDenied: cannot assume the role {role}: User: {user} is not authorized to perform: sts:AssumeRole on resource: {role}
           missing: sts:AssumeRole
           AWS does not say which of these is missing, or whether the role exists: inside one account the second statement alone is enough; the external id may be another one than the role asks for
           add to the identity policy of user app in account {account}:
             {{
               "Effect": "Allow",
               "Action": "sts:AssumeRole",
               "Resource": "{role}"
             }}
           add to the trust policy of role reader in account {account}:
             {{
               "Effect": "Allow",
               "Principal": {{
                 "AWS": "{user}"
               }},
               "Action": "sts:AssumeRole",
               "Condition": {{
                 "StringEquals": {{
                   "sts:ExternalId": "shared-word"
                 }}
               }}
             }}
"#
        )
    );
    bed.aws.set_role_trust(&role, &policy(&additions(&report), PolicyKind::Trust));
    assert!(examine(&bed, &fields, &wishes(&["a"])).await.is_ok());
    // Another external id, or none.
    for (external_id, hint) in [
        (
            Some("other-word".to_owned()),
            "the external id may be another one than the role asks for",
        ),
        (None, "the role may ask for an external id: set external_id"),
    ] {
        let wrong_id = Fields { external_id, ..fields.clone() };
        let report = examine(&bed, &wrong_id, &wishes(&["a"])).await;
        assert!(wrong(&report).contains(hint), "{report}");
    }
}

#[tokio::test]
async fn a_role_of_another_account_needs_both_sides_and_that_is_told() {
    let bed = Bed::new().await;
    bed.aws.put_secret_of(OTHER, "us-east-1", "a", "theirs");
    let role = bed.aws.create_role_in(OTHER, "reader", &of_instances(), &[&reader()]);
    let key = bed.aws.create_user("app", &[]);
    let fields = Fields { role_arn: Some(role.clone()), ..bed.as_role(bed.keys(&key)) };
    let report = examine(&bed, &fields, &wishes(&["a"])).await;
    assert!(wrong(&report).contains("across accounts both statements are needed"), "{report}");
    let both = additions(&report);
    bed.aws.set_role_trust(&role, &policy(&both, PolicyKind::Trust));
    assert!(!examine(&bed, &fields, &wishes(&["a"])).await.is_ok());
    bed.aws.set_user_policies("app", &[&policy(&both, PolicyKind::Identity)]);
    assert!(examine(&bed, &fields, &wishes(&["a"])).await.is_ok());
}

#[tokio::test]
async fn a_role_that_does_not_trust_itself_is_told_so() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    let role = bed.aws.create_role("app", &of_instances(), &[&reader()]);
    let instance = FakeInstance::start(&bed.aws, "app").await;
    let fields = Fields {
        role_arn: Some(role.clone()),
        metadata_endpoint: Some(instance.metadata_endpoint()),
        ..bed.as_role(bed.fields())
    };
    let report = examine(&bed, &fields, &wishes(&["a"])).await;
    let printed = wrong(&report);
    assert!(
        printed.contains("a role takes itself on only where its own trust policy names it"),
        "{printed}"
    );
    bed.aws.set_role_trust(&role, &policy(&additions(&report), PolicyKind::Trust));
    let report = examine(&bed, &fields, &wishes(&["a"])).await;
    assert!(report.is_ok(), "{report}");
    assert!(report.steps[0].detail.contains("from the instance metadata, good for"), "{report}");
}

#[tokio::test]
async fn an_instance_without_a_role_and_a_key_without_an_owner_are_told() {
    let bed = Bed::new().await;
    let instance = FakeInstance::start(&bed.aws, "app").await;
    instance.set_role(None);
    let fields = Fields { sts_endpoint: Some(bed.aws.endpoint()), ..bed.instance(&instance) };
    let report = examine(&bed, &fields, &wishes(&["a"])).await;
    assert_eq!(report.steps.len(), 1);
    let printed = wrong(&report);
    assert!(printed.starts_with("  FAILED   credentials: "), "{printed}");
    assert!(
        printed.contains("attach an instance profile with a role to the instance"),
        "{printed}"
    );

    let key = bed.aws.create_user("app", &[]);
    bed.aws.delete_access_key(&key.access_key_id);
    let fields = Fields { sts_endpoint: Some(bed.aws.endpoint()), ..bed.keys(&key) };
    let report = examine(&bed, &fields, &wishes(&["a"])).await;
    assert_eq!(
        wrong(&report),
        "  FAILED   identity: InvalidClientTokenId: The security token included in the request is invalid.\n           \
         AWS does not accept the key: it may be deleted, inactive, mistyped, or of another partition\n"
    );
}

#[tokio::test]
async fn names_and_regions_that_are_wrong_are_told_without_a_call() {
    let bed = Bed::new().await;
    let fields = bed.user_fields(&[&reader()]);
    let elsewhere = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:a-AbCdEf";
    let report = examine(&bed, &fields, &wishes(&["a b", elsewhere, "missing"])).await;
    let failed: Vec<&Step> =
        report.steps.iter().filter(|step| step.outcome == Outcome::Failed).collect();
    let [name, region, missing] = failed.as_slice() else { panic!("{report}") };
    assert_eq!(
        name.detail,
        "\"a b\" can be no secret's name: it has ' ', and AWS allows letters, digits and / _ + = . @ - only"
    );
    assert!(
        region.detail.contains("is in region eu-west-1, and this secret manager reads us-east-1")
    );
    assert_eq!((missing.name, missing.subject.as_str()), (Name::Get, "missing"));
    assert_eq!(
        missing.detail,
        "ResourceNotFoundException: Secrets Manager can't find the specified secret."
    );
    let asked = bed.aws.call_count(GET);
    assert_eq!(asked, 1);
}

#[tokio::test(start_paused = true)]
async fn metadata_that_are_too_many_hops_away_are_told_with_the_hop_limit() {
    let bed = Bed::new().await;
    bed.aws.create_role("app", &of_instances(), &[&reader()]);
    let instance = FakeInstance::start(&bed.aws, "app").await;
    instance.set_hops(1, 2);
    let report = examine(&bed, &bed.instance(&instance), &wishes(&["a"])).await;
    assert_eq!(report.steps.len(), 1, "{report}");
    let printed = wrong(&report);
    assert!(printed.contains("raise the instance's metadata hop limit to 2"), "{printed}");
}

#[tokio::test]
async fn a_copy_that_could_not_take_over_is_told() {
    let bed = Bed::new().await;
    bed.aws.put_secret("a", "1");
    let here = allow(&[GET], "arn:aws:secretsmanager:us-east-1:*:secret:*");
    let fields = Fields {
        failover_region: Some("us-west-2".to_owned()),
        failover_endpoint: Some(bed.aws.endpoint()),
        ..bed.user_fields(&[&here])
    };
    let report = examine(&bed, &fields, &wishes(&["a"])).await;
    assert!(report.is_ok(), "the region itself serves");
    let printed = wrong(&report);
    assert!(printed.starts_with("  warning  failover a: AccessDeniedException: "), "{printed}");
    assert!(
        printed.contains(
            "or there is no copy of it; replicate it: aws secretsmanager replicate-secret-to-regions --region \
             us-east-1 --secret-id a --add-replica-regions Region=us-west-2\n"
        ),
        "{printed}"
    );
    let there = policy(&additions(&report), PolicyKind::Identity);
    bed.aws.set_user_policies("app", &[&here, &there]);
    bed.aws.put_secret_in("us-west-2", "a", "1");
    let report = examine(&bed, &fields, &wishes(&["a"])).await;
    let step = report.steps.last().unwrap();
    assert_eq!((step.name, step.outcome), (Name::Failover, Outcome::Ok), "{report}");
    bed.aws.set_user_policies("app", &[&allow(&[GET], "*")]);
    let unreplicated = examine(&bed, &fields, &wishes(&["a", "b"])).await;
    assert!(!unreplicated.is_ok(), "b is in neither region");
}
