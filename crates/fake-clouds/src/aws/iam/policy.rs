//! A policy document, parsed once when it is stored.

use serde_json::{Map, Value};

use super::condition::{Condition, texts};
use super::evaluate::{Context, Principal, PrincipalKind};
use super::pattern;

/// Where a document is attached decides what it must and must not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DocumentKind {
    /// Of a user, group, role or session: no `Principal`.
    Identity,
    /// Of a secret or a key: needs `Principal` and `Resource`.
    Resource,
    /// Of a role: needs `Principal`, has no `Resource`.
    Trust,
}

/// A parsed policy document.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    statements: Vec<Statement>,
    variables: bool,
}

#[derive(Clone, Debug)]
struct Statement {
    allow: bool,
    principal: Option<PrincipalElement>,
    actions: Element,
    resources: Element,
    conditions: Vec<Condition>,
}

/// `Action` or `NotAction`, `Resource` or `NotResource`.
#[derive(Clone, Debug)]
struct Element {
    patterns: Vec<String>,
    inverted: bool,
}

#[derive(Clone, Debug)]
struct PrincipalElement {
    anyone: bool,
    aws: Vec<String>,
    federated: Vec<String>,
    services: Vec<String>,
    inverted: bool,
}

/// How closely a resource policy names the caller; it decides what else must allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grant {
    /// Not at all.
    None,
    /// By account: the account's own policies must allow too.
    Account,
    /// The user, or the role behind the session, or anyone.
    Entity,
    /// This very session.
    Session,
}

const DOCUMENT_BYTES_MAX: usize = 131_072;

impl Policy {
    /// Parses a document. Errors say what is wrong with it.
    pub(crate) fn parse(document: &str, kind: DocumentKind) -> Result<Self, String> {
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err("the policy is too long".to_owned());
        }
        let root: Value = serde_json::from_str(document)
            .map_err(|_| "This policy contains invalid Json".to_owned())?;
        let root = root.as_object().ok_or("This policy contains invalid Json")?;
        only(root, &["Version", "Id", "Statement"])?;
        let variables = match root.get("Version") {
            None => false,
            Some(Value::String(version)) if version == "2012-10-17" => true,
            Some(Value::String(version)) if version == "2008-10-17" => false,
            Some(_) => return Err("Version must be 2012-10-17 or 2008-10-17".to_owned()),
        };
        let statements = match root.get("Statement") {
            Some(Value::Array(items)) => items.iter().map(|item| statement(item, kind)).collect(),
            Some(item @ Value::Object(_)) => statement(item, kind).map(|one| vec![one]),
            _ => Err("Missing required field Statement".to_owned()),
        }?;
        Ok(Self { statements, variables })
    }

    /// Whether a statement forbids the request outright.
    pub(crate) fn denies(
        &self,
        principal: &Principal,
        action: &str,
        resource: &str,
        context: &Context,
    ) -> bool {
        self.statements.iter().any(|statement| {
            !statement.allow
                && statement.concerns(principal) > Grant::None
                && statement.applies(action, resource, context, self.variables)
        })
    }

    /// Whether and how closely a statement allows the request. Identity policies answer `Entity`.
    pub(crate) fn allows(
        &self,
        principal: &Principal,
        action: &str,
        resource: &str,
        context: &Context,
    ) -> Grant {
        self.statements
            .iter()
            .filter(|statement| {
                statement.allow && statement.applies(action, resource, context, self.variables)
            })
            .map(|statement| statement.concerns(principal))
            .max()
            .unwrap_or(Grant::None)
    }

    /// Whether conditions or variables look at more than principal, action and resource.
    pub(crate) fn looks_at_context(&self) -> bool {
        self.statements.iter().any(|statement| {
            let variable = |pattern: &String| self.variables && pattern.contains("${");
            !statement.conditions.is_empty() || statement.resources.patterns.iter().any(variable)
        })
    }

    /// Whether an allowing statement without conditions is open to everyone.
    pub(crate) fn is_public(&self) -> bool {
        self.statements.iter().any(|statement| {
            statement.allow
                && statement.conditions.is_empty()
                && statement.principal.as_ref().is_some_and(|principal| principal.anyone)
        })
    }
}

impl Statement {
    fn applies(&self, action: &str, resource: &str, context: &Context, variables: bool) -> bool {
        self.actions.covers_action(action)
            && self.resources.covers_resource(resource, context, variables)
            && self.conditions.iter().all(|condition| condition.holds(context))
    }

    fn concerns(&self, principal: &Principal) -> Grant {
        match &self.principal {
            None => Grant::Entity,
            Some(element) => element.concerns(principal, self.allow),
        }
    }
}

impl Element {
    fn covers_action(&self, action: &str) -> bool {
        let covered =
            self.patterns.iter().any(|pattern| pattern::wildcard_ignoring_case(pattern, action));
        covered != self.inverted
    }

    fn covers_resource(&self, resource: &str, context: &Context, variables: bool) -> bool {
        let mut covered = false;
        for pattern in &self.patterns {
            if variables && pattern.contains("${") {
                match pattern::wildcard_with_variables(pattern, resource, context) {
                    Some(matched) => covered |= matched,
                    // A variable without a value makes the statement apply to nothing.
                    None => return false,
                }
            } else {
                covered |= pattern::wildcard(pattern, resource);
            }
        }
        covered != self.inverted
    }
}

impl PrincipalElement {
    fn concerns(&self, principal: &Principal, allow: bool) -> Grant {
        let named = self.names(principal);
        match (self.inverted, named > Grant::None) {
            (false, _) => named,
            (true, true) => Grant::None,
            // `NotPrincipal` with Allow is refused by AWS's advice, not by its parser.
            (true, false) if allow => Grant::Account,
            (true, false) => Grant::Entity,
        }
    }

    fn names(&self, principal: &Principal) -> Grant {
        match &principal.kind {
            PrincipalKind::Federation { provider } => {
                let listed = self.federated.iter().any(|name| name == provider);
                if listed || self.anyone { Grant::Entity } else { Grant::None }
            }
            PrincipalKind::Service => {
                let listed = self.services.contains(&principal.arn);
                if listed { Grant::Entity } else { Grant::None }
            }
            PrincipalKind::Root
            | PrincipalKind::User
            | PrincipalKind::RoleSession
            | PrincipalKind::FederatedUser => {
                let base = if self.anyone { Grant::Entity } else { Grant::None };
                self.aws.iter().map(|name| closeness(name, principal)).fold(base, Grant::max)
            }
        }
    }
}

fn closeness(name: &str, principal: &Principal) -> Grant {
    let root = format!("arn:aws:iam::{}:root", principal.account);
    if name == "*" {
        Grant::Entity
    } else if name == principal.account || name == root {
        if principal.kind == PrincipalKind::Root { Grant::Entity } else { Grant::Account }
    } else if name == principal.arn {
        match principal.kind {
            PrincipalKind::RoleSession | PrincipalKind::FederatedUser => Grant::Session,
            _ => Grant::Entity,
        }
    } else if principal.entity_arn.as_deref() == Some(name) {
        Grant::Entity
    } else {
        Grant::None
    }
}

fn only(object: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("Syntax errors in policy: unknown element {key}")),
        None => Ok(()),
    }
}

fn statement(value: &Value, kind: DocumentKind) -> Result<Statement, String> {
    let object = value.as_object().ok_or("a statement must be an object")?;
    only(
        object,
        &[
            "Sid",
            "Effect",
            "Principal",
            "NotPrincipal",
            "Action",
            "NotAction",
            "Resource",
            "NotResource",
            "Condition",
        ],
    )?;
    let allow = match object.get("Effect").and_then(Value::as_str) {
        Some("Allow") => true,
        Some("Deny") => false,
        _ => return Err("Missing required field Effect".to_owned()),
    };
    let actions = element(object, "Action", "NotAction")?.ok_or("Missing required field Action")?;
    for action in &actions.patterns {
        if action != "*" && !action.contains(':') {
            return Err("Actions/Conditions must be prefaced by a vendor".to_owned());
        }
    }
    let resources = element(object, "Resource", "NotResource")?;
    let principal = principal(object)?;
    let resources = match (kind, resources, &principal) {
        (DocumentKind::Identity, _, Some(_)) => {
            return Err("Policy document should not specify a principal.".to_owned());
        }
        (DocumentKind::Resource | DocumentKind::Trust, _, None) => {
            return Err("Missing required field Principal".to_owned());
        }
        (DocumentKind::Identity | DocumentKind::Resource, None, _) => {
            return Err("Missing required field Resource".to_owned());
        }
        (DocumentKind::Trust, Some(_), _) => {
            return Err("Has prohibited field Resource".to_owned());
        }
        (DocumentKind::Trust, None, _) => {
            Element { patterns: vec!["*".to_owned()], inverted: false }
        }
        (_, Some(resources), _) => resources,
    };
    for resource in &resources.patterns {
        if resource != "*" && !resource.starts_with("arn:") && !resource.starts_with('*') {
            return Err(format!("Resource {resource} must be in ARN format or \"*\"."));
        }
    }
    let conditions = match object.get("Condition") {
        Some(block) => Condition::parse_all(block)?,
        None => Vec::new(),
    };
    Ok(Statement { allow, principal, actions, resources, conditions })
}

fn element(
    object: &Map<String, Value>,
    plain: &str,
    inverted: &str,
) -> Result<Option<Element>, String> {
    match (object.get(plain), object.get(inverted)) {
        (Some(_), Some(_)) => Err(format!("{plain} and {inverted} exclude each other")),
        (None, None) => Ok(None),
        (Some(value), None) => read_patterns(plain, value, false).map(Some),
        (None, Some(value)) => read_patterns(inverted, value, true).map(Some),
    }
}

fn read_patterns(name: &str, value: &Value, inverted: bool) -> Result<Element, String> {
    let patterns = texts(value).ok_or_else(|| format!("{name} must hold texts"))?;
    if patterns.is_empty() {
        return Err(format!("{name} must not be empty"));
    }
    Ok(Element { patterns, inverted })
}

fn principal(object: &Map<String, Value>) -> Result<Option<PrincipalElement>, String> {
    let (value, inverted) = match (object.get("Principal"), object.get("NotPrincipal")) {
        (Some(_), Some(_)) => return Err("Principal and NotPrincipal exclude each other".into()),
        (Some(value), None) => (value, false),
        (None, Some(value)) => (value, true),
        (None, None) => return Ok(None),
    };
    let mut element = PrincipalElement {
        anyone: false,
        aws: Vec::new(),
        federated: Vec::new(),
        services: Vec::new(),
        inverted,
    };
    match value {
        Value::String(text) if text == "*" => element.anyone = true,
        Value::Object(kinds) => {
            for (kind, names) in kinds {
                let names = texts(names).ok_or("Invalid principal in policy")?;
                match kind.as_str() {
                    "AWS" => element.aws = names,
                    "Federated" => element.federated = names,
                    "Service" => element.services = names,
                    _ => return Err("Invalid principal in policy".to_owned()),
                }
            }
            element.anyone = element.aws.iter().any(|name| name == "*");
            if !element.aws.iter().all(|name| valid_aws_principal(name)) {
                return Err("Invalid principal in policy".to_owned());
            }
        }
        _ => return Err("Invalid principal in policy".to_owned()),
    }
    Ok(Some(element))
}

fn valid_aws_principal(name: &str) -> bool {
    let account = name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_digit());
    let arn = name.starts_with("arn:aws:iam::") || name.starts_with("arn:aws:sts::");
    name == "*" || account || (arn && !name.contains('*'))
}
