//! The documented evaluation logic as a table: each line is one request and what AWS says to it.

use super::*;
use crate::aws::iam::policy::DocumentKind;

const ACCOUNT: &str = "123456789012";
const OTHER: &str = "210987654321";
const SECRET: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:vault/a-AbCdEf";
const READ: &str = "secretsmanager:GetSecretValue";
const CREATE: &str = "secretsmanager:CreateSecret";
const TAG: &str = "secretsmanager:TagResource";

const ALLOW_ALL: &str = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
const ALLOW_READ: &str =
    r#"{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"*"}"#;
const DENY_READ: &str =
    r#"{"Effect":"Deny","Action":"secretsmanager:GetSecretValue","Resource":"*"}"#;

const NO_POLICY: Decision = Decision::ImplicitDeny(Layer::Identity);

#[derive(Default)]
struct Table {
    cases: usize,
    wrong: Vec<String>,
}

struct Case<'t> {
    table: &'t mut Table,
    name: &'static str,
    principal: Principal,
    identity: Vec<String>,
    boundary: Option<String>,
    session: Option<Vec<String>>,
    resource_policy: Option<String>,
    resource_decides: bool,
    action: &'static str,
    resource: &'static str,
    context: Context,
}

fn user() -> Principal {
    Principal {
        account: ACCOUNT.into(),
        arn: format!("arn:aws:iam::{ACCOUNT}:user/bob"),
        entity_arn: None,
        kind: PrincipalKind::User,
    }
}

fn role() -> Principal {
    Principal {
        account: ACCOUNT.into(),
        arn: format!("arn:aws:sts::{ACCOUNT}:assumed-role/sync/s1"),
        entity_arn: Some(format!("arn:aws:iam::{ACCOUNT}:role/sync")),
        kind: PrincipalKind::RoleSession,
    }
}

impl Table {
    fn case(&mut self, name: &'static str) -> Case<'_> {
        Case {
            table: self,
            name,
            principal: user(),
            identity: Vec::new(),
            boundary: None,
            session: None,
            resource_policy: None,
            resource_decides: false,
            action: READ,
            resource: SECRET,
            context: Context::new(),
        }
    }
}

fn document(statements: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#)
}

impl Case<'_> {
    fn identity(mut self, statements: &str) -> Self {
        self.identity.push(document(statements));
        self
    }
    fn boundary(mut self, statements: &str) -> Self {
        self.boundary = Some(document(statements));
        self
    }
    fn session(mut self, statements: &[&str]) -> Self {
        self.session = Some(statements.iter().map(|text| document(text)).collect());
        self
    }
    fn resource_policy(mut self, statements: &str) -> Self {
        self.resource_policy = Some(document(statements));
        self
    }
    fn resource_decides(mut self) -> Self {
        self.resource_decides = true;
        self
    }
    fn by(mut self, principal: Principal) -> Self {
        self.principal = principal;
        self
    }
    fn of_another_account(mut self) -> Self {
        self.principal.account = OTHER.into();
        self.principal.arn = self.principal.arn.replace(ACCOUNT, OTHER);
        self
    }
    fn to(mut self, action: &'static str) -> Self {
        self.action = action;
        self
    }
    fn on(mut self, resource: &'static str) -> Self {
        self.resource = resource;
        self
    }
    fn with(mut self, key: &str, values: &[&str]) -> Self {
        self.context.set(key, values.iter().copied());
        self
    }
    /// One identity statement that allows anything under a condition.
    fn given(self, condition: &str) -> Self {
        self.identity(&format!(
            r#"{{"Effect":"Allow","Action":"*","Resource":"*","Condition":{condition}}}"#
        ))
    }
    fn is(self, expected: Decision) {
        let parse = |text: &String, kind| Policy::parse(text, kind).expect(self.name);
        let identity: Vec<Policy> =
            self.identity.iter().map(|text| parse(text, DocumentKind::Identity)).collect();
        let boundary = self.boundary.as_ref().map(|text| parse(text, DocumentKind::Identity));
        let session: Option<Vec<Policy>> = self
            .session
            .as_ref()
            .map(|texts| texts.iter().map(|text| parse(text, DocumentKind::Identity)).collect());
        let resource =
            self.resource_policy.as_ref().map(|text| parse(text, DocumentKind::Resource));
        let policies = Policies {
            identity: identity.iter().collect(),
            boundary: boundary.as_ref(),
            session: session.as_ref().map(|policies| policies.iter().collect()),
            resource: resource.as_ref(),
            resource_decides: self.resource_decides,
        };
        let decision =
            decide(&policies, &self.principal, self.action, self.resource, ACCOUNT, &self.context);
        self.table.cases += 1;
        if decision != expected {
            self.table.wrong.push(format!("{}: {decision:?}, not {expected:?}", self.name));
        }
    }
    fn allowed(self) {
        self.is(Decision::Allow);
    }
    fn refused(self) {
        self.is(NO_POLICY);
    }
}

#[test]
fn decisions_follow_the_documented_logic() {
    let mut table = Table::default();
    identity_policies(&mut table);
    elements(&mut table);
    limits(&mut table);
    resource_policies(&mut table);
    accounts(&mut table);
    text_conditions(&mut table);
    other_conditions(&mut table);
    tag_conditions(&mut table);
    variables(&mut table);
    assert!(table.wrong.is_empty(), "{}", table.wrong.join("\n"));
    assert!(table.cases >= 90, "{} cases", table.cases);
}

fn identity_policies(table: &mut Table) {
    table.case("nothing allows").refused();
    table.case("an allow suffices").identity(ALLOW_READ).allowed();
    table.case("another action is not allowed").identity(ALLOW_READ).to(CREATE).refused();
    table
        .case("any of several policies allows")
        .identity(ALLOW_READ)
        .identity(r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#)
        .allowed();
    let denied = Decision::ExplicitDeny(Layer::Identity);
    table.case("a deny beats an allow").identity(ALLOW_ALL).identity(DENY_READ).is(denied);
    table.case("order does not matter").identity(DENY_READ).identity(ALLOW_ALL).is(denied);
    table
        .case("a deny of something else is nothing")
        .identity(ALLOW_ALL)
        .identity(DENY_READ)
        .to(TAG)
        .allowed();
    table.case("a lone deny is still explicit").identity(DENY_READ).is(denied);
}

fn elements(table: &mut Table) {
    table
        .case("action wildcard")
        .identity(r#"{"Effect":"Allow","Action":"secretsmanager:Get*","Resource":"*"}"#)
        .allowed();
    table
        .case("action wildcard does not stretch")
        .identity(r#"{"Effect":"Allow","Action":"secretsmanager:Get*","Resource":"*"}"#)
        .to(CREATE)
        .refused();
    table
        .case("actions have no case")
        .identity(r#"{"Effect":"Allow","Action":"SecretsManager:getsecretvalue","Resource":"*"}"#)
        .allowed();
    table
        .case("question mark is one character")
        .identity(r#"{"Effect":"Allow","Action":"secretsmanager:?etSecretValue","Resource":"*"}"#)
        .allowed();
    table
        .case("list of actions")
        .identity(r#"{"Effect":"Allow","Action":["s3:*","secretsmanager:*"],"Resource":"*"}"#)
        .allowed();
    table
        .case("NotAction allows the rest")
        .identity(r#"{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}"#)
        .allowed();
    table
        .case("NotAction leaves out")
        .identity(r#"{"Effect":"Allow","NotAction":"secretsmanager:*","Resource":"*"}"#)
        .refused();
    table
        .case("deny with NotAction")
        .identity(ALLOW_ALL)
        .identity(r#"{"Effect":"Deny","NotAction":"iam:*","Resource":"*"}"#)
        .is(Decision::ExplicitDeny(Layer::Identity));
    table.case("resource prefix").identity(r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:secretsmanager:*:*:secret:vault/*"}"#).allowed();
    table.case("resource prefix of another").identity(r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:secretsmanager:*:*:secret:prod/*"}"#).refused();
    table.case("six question marks for the suffix").identity(r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:secretsmanager:us-east-1:123456789012:secret:vault/a-??????"}"#).allowed();
    table.case("name without suffix does not match").identity(r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:secretsmanager:us-east-1:123456789012:secret:vault/a"}"#).refused();
    table.case("resources have case").identity(r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:secretsmanager:*:*:secret:VAULT/*"}"#).refused();
    table.case("NotResource allows the rest").identity(r#"{"Effect":"Allow","Action":"*","NotResource":"arn:aws:secretsmanager:*:*:secret:prod/*"}"#).allowed();
    table.case("NotResource leaves out").identity(r#"{"Effect":"Allow","Action":"*","NotResource":"arn:aws:secretsmanager:*:*:secret:vault/*"}"#).refused();
    table.case("deny with NotResource fences in").identity(ALLOW_ALL).identity(r#"{"Effect":"Deny","Action":"secretsmanager:*","NotResource":"arn:aws:secretsmanager:*:*:secret:prod/*"}"#).is(Decision::ExplicitDeny(Layer::Identity));
    table.case("a list action needs the star resource").identity(r#"{"Effect":"Allow","Action":"secretsmanager:ListSecrets","Resource":"arn:aws:secretsmanager:*:*:secret:*"}"#).to("secretsmanager:ListSecrets").on("*").refused();
}

fn limits(table: &mut Table) {
    table.case("boundary allows too").identity(ALLOW_ALL).boundary(ALLOW_READ).allowed();
    table
        .case("outside the boundary")
        .identity(ALLOW_ALL)
        .boundary(ALLOW_READ)
        .to(CREATE)
        .is(Decision::ImplicitDeny(Layer::Boundary));
    table.case("a boundary grants nothing").boundary(ALLOW_ALL).refused();
    table
        .case("deny in the boundary")
        .identity(ALLOW_ALL)
        .boundary(&format!("{ALLOW_ALL},{DENY_READ}"))
        .is(Decision::ExplicitDeny(Layer::Boundary));
    table
        .case("session allows too")
        .by(role())
        .identity(ALLOW_ALL)
        .session(&[ALLOW_READ])
        .allowed();
    table
        .case("outside the session policy")
        .by(role())
        .identity(ALLOW_ALL)
        .session(&[ALLOW_READ])
        .to(CREATE)
        .is(Decision::ImplicitDeny(Layer::Session));
    table.case("a session policy grants nothing").by(role()).session(&[ALLOW_ALL]).refused();
    table
        .case("deny in the session policy")
        .by(role())
        .identity(ALLOW_ALL)
        .session(&[ALLOW_ALL, DENY_READ])
        .is(Decision::ExplicitDeny(Layer::Session));
    table
        .case("a session limited to nothing")
        .by(role())
        .identity(ALLOW_ALL)
        .session(&[])
        .is(Decision::ImplicitDeny(Layer::Session));
    table
        .case("the boundary is asked before the session")
        .by(role())
        .identity(ALLOW_ALL)
        .boundary(ALLOW_READ)
        .session(&[ALLOW_READ])
        .to(CREATE)
        .is(Decision::ImplicitDeny(Layer::Boundary));
}

/// A statement of a resource policy for a principal.
fn granting(principal: &str) -> String {
    format!(
        r#"{{"Effect":"Allow","Principal":{principal},"Action":"secretsmanager:GetSecretValue","Resource":"*"}}"#
    )
}

fn resource_policies(table: &mut Table) {
    let bob = granting(r#"{"AWS":"arn:aws:iam::123456789012:user/bob"}"#);
    let alice = granting(r#"{"AWS":"arn:aws:iam::123456789012:user/alice"}"#);
    let root = granting(r#"{"AWS":"arn:aws:iam::123456789012:root"}"#);
    let sync = granting(r#"{"AWS":"arn:aws:iam::123456789012:role/sync"}"#);
    let session = granting(r#"{"AWS":"arn:aws:sts::123456789012:assumed-role/sync/s1"}"#);
    let anyone = granting(r#""*""#);
    table.case("naming the user suffices").resource_policy(&bob).allowed();
    table.case("naming another user does not").resource_policy(&alice).refused();
    table.case("naming the account leaves it to the account").resource_policy(&root).refused();
    table.case("anyone includes the user").resource_policy(&anyone).allowed();
    table
        .case("a user named is beyond its boundary")
        .resource_policy(&bob)
        .boundary(r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#)
        .allowed();
    table.case("naming the role suffices").by(role()).resource_policy(&sync).allowed();
    table
        .case("a role named stays in its session policy")
        .by(role())
        .resource_policy(&sync)
        .identity(ALLOW_ALL)
        .session(&[])
        .is(Decision::ImplicitDeny(Layer::Session));
    table
        .case("a session named is beyond its policy")
        .by(role())
        .resource_policy(&session)
        .session(&[])
        .allowed();
    table
        .case("deny in the resource policy")
        .identity(ALLOW_ALL)
        .resource_policy(
            r#"{"Effect":"Deny","Principal":"*","Action":"secretsmanager:*","Resource":"*"}"#,
        )
        .is(Decision::ExplicitDeny(Layer::Resource));
    table.case("deny of another principal").identity(ALLOW_ALL).resource_policy(r#"{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::123456789012:user/alice"},"Action":"secretsmanager:*","Resource":"*"}"#).allowed();
    table.case("deny of the account reaches its users").identity(ALLOW_ALL).resource_policy(r#"{"Effect":"Deny","Principal":{"AWS":"123456789012"},"Action":"secretsmanager:*","Resource":"*"}"#).is(Decision::ExplicitDeny(Layer::Resource));
    table.case("deny of all but the user").identity(ALLOW_ALL).resource_policy(r#"{"Effect":"Deny","NotPrincipal":{"AWS":"arn:aws:iam::123456789012:user/bob"},"Action":"secretsmanager:*","Resource":"*"}"#).allowed();
    table.case("deny of all but another").identity(ALLOW_ALL).resource_policy(r#"{"Effect":"Deny","NotPrincipal":{"AWS":"arn:aws:iam::123456789012:user/alice"},"Action":"secretsmanager:*","Resource":"*"}"#).is(Decision::ExplicitDeny(Layer::Resource));
    let unnamed = Decision::ImplicitDeny(Layer::Resource);
    table
        .case("a key's policy must allow")
        .identity(ALLOW_ALL)
        .resource_policy(&alice)
        .resource_decides()
        .is(unnamed);
    table
        .case("a key's policy leaves it to the account")
        .identity(ALLOW_ALL)
        .resource_policy(&root)
        .resource_decides()
        .allowed();
    table.case("which then must allow").resource_policy(&root).resource_decides().refused();
    table
        .case("a key's policy that names the user")
        .resource_policy(&bob)
        .resource_decides()
        .allowed();
    let service = Principal {
        account: ACCOUNT.into(),
        arn: "lambda.amazonaws.com".into(),
        entity_arn: None,
        kind: PrincipalKind::Service,
    };
    table
        .case("a service named")
        .by(service.clone())
        .resource_policy(&granting(r#"{"Service":"lambda.amazonaws.com"}"#))
        .resource_decides()
        .allowed();
    table
        .case("a service not named")
        .by(service)
        .resource_policy(&anyone)
        .resource_decides()
        .is(unnamed);
}

fn accounts(table: &mut Table) {
    let foreign = granting(r#"{"AWS":"arn:aws:iam::210987654321:user/bob"}"#);
    let foreign_root = granting(r#"{"AWS":"210987654321"}"#);
    let unnamed = Decision::ImplicitDeny(Layer::Resource);
    table
        .case("another account, only its own policy")
        .of_another_account()
        .identity(ALLOW_ALL)
        .is(unnamed);
    table
        .case("another account, only the resource policy")
        .of_another_account()
        .resource_policy(&foreign)
        .refused();
    table
        .case("another account, both")
        .of_another_account()
        .identity(ALLOW_READ)
        .resource_policy(&foreign)
        .allowed();
    table
        .case("another account as a whole, both")
        .of_another_account()
        .identity(ALLOW_READ)
        .resource_policy(&foreign_root)
        .allowed();
    let root = |account: &str| Principal {
        account: account.into(),
        arn: format!("arn:aws:iam::{account}:root"),
        entity_arn: None,
        kind: PrincipalKind::Root,
    };
    table.case("root needs no policy").by(root(ACCOUNT)).allowed();
    table
        .case("root obeys a resource's deny")
        .by(root(ACCOUNT))
        .resource_policy(r#"{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}"#)
        .is(Decision::ExplicitDeny(Layer::Resource));
    table.case("root of another account").by(root(OTHER)).is(unnamed);
}

fn text_conditions(table: &mut Table) {
    let key = "secretsmanager:Name";
    table
        .case("StringEquals")
        .given(r#"{"StringEquals":{"secretsmanager:Name":"a"}}"#)
        .with(key, &["a"])
        .allowed();
    table
        .case("StringEquals has case")
        .given(r#"{"StringEquals":{"secretsmanager:Name":"A"}}"#)
        .with(key, &["a"])
        .refused();
    table
        .case("keys have no case")
        .given(r#"{"StringEquals":{"SecretsManager:name":"a"}}"#)
        .with(key, &["a"])
        .allowed();
    table
        .case("StringEquals without the key")
        .given(r#"{"StringEquals":{"secretsmanager:Name":"a"}}"#)
        .refused();
    table
        .case("StringEquals takes no wildcards")
        .given(r#"{"StringEquals":{"secretsmanager:Name":"a*"}}"#)
        .with(key, &["ab"])
        .refused();
    table
        .case("values are alternatives")
        .given(r#"{"StringEquals":{"secretsmanager:Name":["a","b"]}}"#)
        .with(key, &["b"])
        .allowed();
    table
        .case("StringEqualsIfExists without the key")
        .given(r#"{"StringEqualsIfExists":{"secretsmanager:Name":"a"}}"#)
        .allowed();
    table
        .case("StringEqualsIfExists with another value")
        .given(r#"{"StringEqualsIfExists":{"secretsmanager:Name":"a"}}"#)
        .with(key, &["b"])
        .refused();
    table
        .case("StringNotEquals")
        .given(r#"{"StringNotEquals":{"secretsmanager:Name":"a"}}"#)
        .with(key, &["b"])
        .allowed();
    table
        .case("StringNotEquals without the key")
        .given(r#"{"StringNotEquals":{"secretsmanager:Name":"a"}}"#)
        .allowed();
    table
        .case("StringNotEquals means none of them")
        .given(r#"{"StringNotEquals":{"secretsmanager:Name":["a","b"]}}"#)
        .with(key, &["b"])
        .refused();
    table
        .case("StringLike")
        .given(r#"{"StringLike":{"secretsmanager:Name":"vault/*"}}"#)
        .with(key, &["vault/x"])
        .allowed();
    table
        .case("StringNotLike")
        .given(r#"{"StringNotLike":{"secretsmanager:Name":"vault/*"}}"#)
        .with(key, &["vault/x"])
        .refused();
    table
        .case("StringEqualsIgnoreCase")
        .given(r#"{"StringEqualsIgnoreCase":{"secretsmanager:Name":"A"}}"#)
        .with(key, &["a"])
        .allowed();
    table.case("all operators must hold").given(r#"{"StringEquals":{"secretsmanager:Name":"a"},"StringLike":{"secretsmanager:Description":"x*"}}"#).with(key, &["a"]).refused();
}

fn other_conditions(table: &mut Table) {
    let days = "secretsmanager:RecoveryWindowInDays";
    table
        .case("NumericLessThan")
        .given(r#"{"NumericLessThan":{"secretsmanager:RecoveryWindowInDays":"8"}}"#)
        .with(days, &["7"])
        .allowed();
    table
        .case("NumericLessThan is strict")
        .given(r#"{"NumericLessThan":{"secretsmanager:RecoveryWindowInDays":7}}"#)
        .with(days, &["7"])
        .refused();
    table
        .case("NumericGreaterThanEquals")
        .given(r#"{"NumericGreaterThanEquals":{"secretsmanager:RecoveryWindowInDays":"7"}}"#)
        .with(days, &["30"])
        .allowed();
    table
        .case("a number that is none")
        .given(r#"{"NumericLessThan":{"secretsmanager:RecoveryWindowInDays":"8"}}"#)
        .with(days, &["x"])
        .refused();
    let force = "secretsmanager:ForceDeleteWithoutRecovery";
    table
        .case("Bool")
        .given(r#"{"Bool":{"secretsmanager:ForceDeleteWithoutRecovery":"false"}}"#)
        .with(force, &["false"])
        .allowed();
    table
        .case("Bool otherwise")
        .given(r#"{"Bool":{"secretsmanager:ForceDeleteWithoutRecovery":false}}"#)
        .with(force, &["true"])
        .refused();
    table
        .case("IpAddress")
        .given(r#"{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","127.0.0.1"]}}"#)
        .with("aws:SourceIp", &["10.1.2.3"])
        .allowed();
    table
        .case("IpAddress outside")
        .given(r#"{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#)
        .with("aws:SourceIp", &["11.0.0.1"])
        .refused();
    table
        .case("NotIpAddress")
        .given(r#"{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#)
        .with("aws:SourceIp", &["11.0.0.1"])
        .allowed();
    table
        .case("DateLessThan")
        .given(r#"{"DateLessThan":{"aws:CurrentTime":"2026-12-01T00:00:00Z"}}"#)
        .with("aws:CurrentTime", &["2026-11-22T03:30:00Z"])
        .allowed();
    table
        .case("DateGreaterThan in seconds")
        .given(r#"{"DateGreaterThan":{"aws:CurrentTime":"1798761600"}}"#)
        .with("aws:CurrentTime", &["2026-11-22T03:30:00Z"])
        .refused();
    let arn = "aws:PrincipalArn";
    table
        .case("ArnLike")
        .given(r#"{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/sync*"}}"#)
        .with(arn, &["arn:aws:iam::123456789012:role/sync-1"])
        .allowed();
    table
        .case("an ARN's star stays in its part")
        .given(r#"{"ArnLike":{"aws:PrincipalArn":"arn:aws:*:role/sync"}}"#)
        .with(arn, &["arn:aws:iam::123456789012:role/sync"])
        .refused();
    table
        .case("ArnNotEquals")
        .given(r#"{"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::123456789012:role/sync"}}"#)
        .with(arn, &["arn:aws:iam::123456789012:role/sync"])
        .refused();
    table
        .case("Null true: the key is absent")
        .given(r#"{"Null":{"aws:TokenIssueTime":"true"}}"#)
        .allowed();
    table
        .case("Null true: but it is present")
        .given(r#"{"Null":{"aws:TokenIssueTime":"true"}}"#)
        .with("aws:TokenIssueTime", &["x"])
        .refused();
    table
        .case("Null false: the key is present")
        .given(r#"{"Null":{"aws:TokenIssueTime":false}}"#)
        .with("aws:TokenIssueTime", &["x"])
        .allowed();
}

fn tag_conditions(table: &mut Table) {
    const MARK: &str = "secretsmanager:ResourceTag/hashicorp:vault";
    let marked = r#"{"StringEquals":{"secretsmanager:ResourceTag/hashicorp:vault":""}}"#;
    table.case("a mark with an empty value").given(marked).with(MARK, &[""]).allowed();
    table.case("without the mark").given(marked).refused();
    table
        .case("a resource tag cannot allow creation")
        .given(marked)
        .to(CREATE)
        .with("aws:RequestTag/hashicorp:vault", &[""])
        .refused();
    let requested = r#"{"StringEquals":{"aws:RequestTag/hashicorp:vault":""},"ForAllValues:StringEquals":{"aws:TagKeys":["hashicorp:vault","env"]}}"#;
    table
        .case("creation with the tag")
        .given(requested)
        .to(CREATE)
        .with("aws:RequestTag/hashicorp:vault", &[""])
        .with("aws:TagKeys", &["hashicorp:vault"])
        .allowed();
    table
        .case("creation with a foreign tag too")
        .given(requested)
        .to(CREATE)
        .with("aws:RequestTag/hashicorp:vault", &[""])
        .with("aws:TagKeys", &["hashicorp:vault", "x"])
        .refused();
    table.case("creation without tags").given(requested).to(CREATE).refused();
    table
        .case("ForAllValues holds of no values")
        .given(r#"{"ForAllValues:StringEquals":{"aws:TagKeys":"a"}}"#)
        .to(CREATE)
        .allowed();
    table
        .case("ForAnyValue holds of one")
        .given(r#"{"ForAnyValue:StringEquals":{"aws:TagKeys":"a"}}"#)
        .to(TAG)
        .with("aws:TagKeys", &["a", "b"])
        .allowed();
    table
        .case("ForAnyValue of no values")
        .given(r#"{"ForAnyValue:StringEquals":{"aws:TagKeys":"a"}}"#)
        .to(TAG)
        .refused();
    table
        .case("ForAllValues with a negation")
        .given(r#"{"ForAllValues:StringNotLike":{"aws:TagKeys":"aws*"}}"#)
        .to(TAG)
        .with("aws:TagKeys", &["a", "awsx"])
        .refused();
    table.case("deny where a tag is missing").identity(ALLOW_ALL).identity(r#"{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"Null":{"aws:RequestTag/owner":"true"}}}"#).to(CREATE).is(Decision::ExplicitDeny(Layer::Identity));
    table.case("and not where it is there").identity(ALLOW_ALL).identity(r#"{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"Null":{"aws:RequestTag/owner":"true"}}}"#).to(CREATE).with("aws:RequestTag/owner", &["me"]).allowed();
}

fn variables(table: &mut Table) {
    let own = r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:secretsmanager:*:*:secret:${aws:username}/*"}"#;
    table
        .case("a variable in the resource")
        .identity(own)
        .with("aws:username", &["vault"])
        .allowed();
    table
        .case("a variable with another value")
        .identity(own)
        .with("aws:username", &["bob"])
        .refused();
    table.case("a variable without a value").identity(own).refused();
    table
        .case("a value's star is no wildcard")
        .identity(own)
        .with("aws:username", &["*"])
        .refused();
    table
        .case("a variable in a condition")
        .given(r#"{"StringEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}}"#)
        .with("aws:ResourceTag/team", &["a"])
        .with("aws:PrincipalTag/team", &["a"])
        .allowed();
    table
        .case("a variable in a condition, different")
        .given(r#"{"StringEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}}"#)
        .with("aws:ResourceTag/team", &["a"])
        .with("aws:PrincipalTag/team", &["b"])
        .refused();
}

#[test]
fn refusals_are_worded_as_aws_words_them() {
    let message = |decision| refusal(decision, &user(), TAG, "vault/a").unwrap_or_default();
    let start = "User: arn:aws:iam::123456789012:user/bob is not authorized to perform: \
                 secretsmanager:TagResource on resource: vault/a ";
    for (decision, end) in [
        (
            NO_POLICY,
            "because no identity-based policy allows the secretsmanager:TagResource action",
        ),
        (
            Decision::ImplicitDeny(Layer::Boundary),
            "because no permissions boundary allows the secretsmanager:TagResource action",
        ),
        (
            Decision::ImplicitDeny(Layer::Session),
            "because no session policy allows the secretsmanager:TagResource action",
        ),
        (
            Decision::ExplicitDeny(Layer::Identity),
            "with an explicit deny in an identity-based policy",
        ),
        (
            Decision::ExplicitDeny(Layer::Resource),
            "with an explicit deny in a resource-based policy",
        ),
    ] {
        assert_eq!(message(decision), format!("{start}{end}"));
    }
    assert_eq!(refusal(Decision::Allow, &user(), TAG, "vault/a"), None);
}

#[test]
fn malformed_documents_are_refused() {
    use DocumentKind::{Identity, Resource, Trust};
    for (text, kind) in [
        ("{bad", Identity),
        ("[]", Identity),
        (r#"{"Version":"2012-10-17"}"#, Identity),
        (r#"{"Version":"2020-01-01","Statement":[]}"#, Identity),
        (r#"{"Statement":[{"Effect":"Maybe","Action":"*","Resource":"*"}]}"#, Identity),
        (r#"{"Statement":[{"Effect":"Allow","Resource":"*"}]}"#, Identity),
        (r#"{"Statement":[{"Effect":"Allow","Action":"*"}]}"#, Identity),
        (
            r#"{"Statement":[{"Effect":"Allow","Action":"GetSecretValue","Resource":"*"}]}"#,
            Identity,
        ),
        (r#"{"Statement":[{"Effect":"Allow","Action":"*","Resource":"vault*"}]}"#, Identity),
        (
            r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#,
            Identity,
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Conditon":{}}]}"#,
            Identity,
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringIs":{"a:b":"c"}}}]}"#,
            Identity,
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Action":"*","NotAction":"*","Resource":"*"}]}"#,
            Identity,
        ),
        (r#"{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#, Resource),
        (
            r#"{"Statement":[{"Effect":"Allow","Principal":{"AWS":"bob"},"Action":"*","Resource":"*"}]}"#,
            Resource,
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#,
            Trust,
        ),
    ] {
        assert!(Policy::parse(text, kind).is_err(), "{text}");
    }
}
