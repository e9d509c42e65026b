//! The steps.

use super::{
    Name, Outcome, Report, Step, Wishes,
    statements::{Addition, Caller, account_of},
};
use crate::{
    aws::{
        InvalidField, Settings, Surroundings,
        calls::{BATCH_MAX, Calls},
        connect::Identity,
        fetch::is_not_permitted,
        names, regions,
        settings::{Authentication, Role},
    },
    failure::{Cause, Failure},
    manager::Wanted,
};
use bailee_cloud::{
    CloudError, Kind,
    aws::{CallerIdentity, FoundCredentials, caller_identity, found_credentials},
};
use std::time::SystemTime;

const IDENTIFY: &str = "sts:GetCallerIdentity";
const ASSUME: &str = "sts:AssumeRole";
const LIST: &str = "secretsmanager:ListSecrets";
const BATCH: &str = "secretsmanager:BatchGetSecretValue";
const GET: &str = "secretsmanager:GetSecretValue";
const DECRYPT: &str = "kms:Decrypt";

/// Secrets of one check.
const SECRETS_MAX: usize = 1_000;

pub(super) async fn walk(
    settings: &Settings,
    surroundings: &Surroundings,
    wishes: &Wishes,
) -> Result<Report, InvalidField> {
    let identity = Identity::new(settings, surroundings).await?;
    let calls = Calls::new(identity.client(), &settings.region);
    let now = surroundings.clock.now();
    let mut walk = Walk { settings, identity, calls, now, steps: Vec::new() };
    if let Some(caller) = walk.become_somebody().await {
        walk.read(&caller, wishes).await;
    }
    Ok(Report {
        place: format!("aws-sm {} as {}", settings.region, settings.identity()),
        steps: walk.steps,
    })
}

struct Walk<'a> {
    settings: &'a Settings,
    identity: Identity,
    calls: Calls,
    now: SystemTime,
    steps: Vec<Step>,
}

impl Step {
    fn new(name: Name, outcome: Outcome, detail: impl Into<String>) -> Step {
        Step {
            name,
            subject: String::new(),
            outcome,
            detail: detail.into(),
            call: String::new(),
            missing: None,
            additions: Vec::new(),
            advice: None,
        }
    }

    fn about(mut self, subject: &str) -> Step {
        subject.clone_into(&mut self.subject);
        self
    }

    fn on(mut self, call: &str) -> Step {
        call.clone_into(&mut self.call);
        self
    }

    fn missing(mut self, permission: &str, additions: impl IntoIterator<Item = Addition>) -> Step {
        self.missing = Some(permission.to_owned());
        self.additions = additions.into_iter().collect();
        self
    }

    fn advised(mut self, advice: impl Into<String>) -> Step {
        self.advice = Some(advice.into());
        self
    }
}

impl Walk<'_> {
    /// Credentials, whose they are, and the role. `None` where secrets cannot be asked for.
    async fn become_somebody(&mut self) -> Option<Caller> {
        match found_credentials(&self.identity.base).await {
            Ok(found) => {
                let left = found.expires.and_then(|at| at.duration_since(self.now).ok());
                let left = left.map(|left| format!(", good for {} min", left.as_secs() / 60));
                let FoundCredentials { access_key_id, source, .. } = found;
                let detail = format!("{access_key_id} from {source}{}", left.unwrap_or_default());
                self.steps.push(Step::new(Name::Credentials, Outcome::Ok, detail));
            }
            Err(error) => {
                let step = Step::new(Name::Credentials, Outcome::Failed, error.to_string());
                self.steps.push(step.advised(self.without_credentials()));
                return None;
            }
        }
        let told = match caller_identity(&self.identity.base).await {
            Ok(told) => {
                let detail = told.arn.clone();
                self.steps.push(Step::new(Name::Identity, Outcome::Ok, detail).on(IDENTIFY));
                Some(told)
            }
            Err(error) => {
                if self.unidentified(&error) {
                    return None;
                }
                None
            }
        };
        let caller = |told: &CallerIdentity| Caller::new(&told.arn, &told.account, None);
        match &self.settings.authentication {
            Authentication::Role(role) => {
                let base = told.as_ref().map(caller);
                self.assume(role, base).await
            }
            Authentication::InstanceProfile | Authentication::AccessKey(_) => {
                Some(told.as_ref().map(caller).unwrap_or_else(unknown))
            }
        }
    }

    fn without_credentials(&self) -> &'static str {
        match self.settings.authentication {
            Authentication::InstanceProfile => {
                "attach an instance profile with a role to the instance, or a role to the task or pod; in a \
                 container with a network of its own raise the instance's metadata hop limit to 2: aws ec2 \
                 modify-instance-metadata-options --instance-id <id> --http-put-response-hop-limit 2"
            }
            Authentication::Role(_) | Authentication::AccessKey(_) => {
                "give access_key_id and secret_access_key, or attach a role to this machine"
            }
        }
    }

    /// Whether nothing can go on, as AWS does not know whose the credentials are.
    fn unidentified(&mut self, error: &CloudError) -> bool {
        let unknown = matches!(error.kind, Kind::Credentials | Kind::ClockSkew);
        let takes_role = matches!(self.settings.authentication, Authentication::Role(_));
        let fatal = unknown || takes_role;
        let outcome = if fatal { Outcome::Failed } else { Outcome::Warning };
        let step = Step::new(Name::Identity, outcome, error.to_string()).on(IDENTIFY);
        let step = match error.kind {
            Kind::ClockSkew => step.advised("set this machine's clock"),
            Kind::Credentials => step.advised(
                "AWS does not accept the key: it may be deleted, inactive, mistyped, or of another partition",
            ),
            _ if takes_role => step.advised(
                "STS must be reachable to take on a role: open the way to sts_endpoint, or give that of a VPC \
                 endpoint",
            ),
            _ => step.advised("STS is needed for this check alone: secrets are read without it"),
        };
        self.steps.push(step);
        fatal
    }

    async fn assume(&mut self, role: &Role, base: Option<Caller>) -> Option<Caller> {
        match caller_identity(&self.identity.sts).await {
            Ok(told) => {
                let step = Step::new(Name::AssumeRole, Outcome::Ok, told.arn.clone());
                self.steps.push(step.about(&role.arn).on(ASSUME));
                Some(Caller::new(&told.arn, &told.account, Some(&role.arn)))
            }
            Err(error) => {
                let step = Step::new(Name::AssumeRole, Outcome::Failed, error.to_string());
                let step = step.about(&role.arn).on(ASSUME);
                self.steps.push(refused_role(
                    step,
                    role,
                    base.as_ref(),
                    &error,
                    &self.settings.region,
                ));
                None
            }
        }
    }

    async fn read(&mut self, caller: &Caller, wishes: &Wishes) {
        self.list(caller, wishes).await;
        self.batch(caller, wishes).await;
        if wishes.secrets.is_empty() {
            let detail = "no secret is named in the configuration, so none is read";
            self.steps.push(Step::new(Name::Get, Outcome::Skipped, detail));
        }
        for wanted in wishes.secrets.iter().take(SECRETS_MAX) {
            self.get(caller, wanted).await;
        }
    }

    async fn list(&mut self, caller: &Caller, wishes: &Wishes) {
        if wishes.tags.is_empty() {
            let detail = "no secrets are prefetched by tag, so nothing is listed";
            self.steps.push(Step::new(Name::List, Outcome::Skipped, detail));
            return;
        }
        let step = match self.calls.list(&[], None).await {
            Ok(_) => Step::new(Name::List, Outcome::Ok, "secrets may be listed").on(LIST),
            Err(failure) => {
                let step = Step::new(Name::List, Outcome::Failed, failure.to_string()).on(LIST);
                match failure.cause {
                    Cause::Denied => step.missing(LIST, [caller.may(LIST, "*")]),
                    _ => self.advised(step, &failure),
                }
            }
        };
        self.steps.push(step);
    }

    async fn batch(&mut self, caller: &Caller, wishes: &Wishes) {
        let ids: Vec<String> =
            wishes.secrets.iter().take(BATCH_MAX).map(|wanted| wanted.id.clone()).collect();
        if ids.len() < 2 && wishes.tags.is_empty() {
            let detail = "fewer than two secrets are read, so there are no batches";
            self.steps.push(Step::new(Name::Batch, Outcome::Skipped, detail));
            return;
        }
        // A name that nobody uses does where none is named.
        let ids = if ids.is_empty() { vec!["bailee-agent-check".to_owned()] } else { ids };
        let step = match self.calls.batch(&ids).await {
            Ok(_) => {
                Step::new(Name::Batch, Outcome::Ok, "many secrets are read in one call").on(BATCH)
            }
            Err(failure) if is_not_permitted(&failure) => {
                let step = Step::new(Name::Batch, Outcome::Warning, failure.to_string()).on(BATCH);
                step.missing(BATCH, [caller.may(BATCH, "*")])
                    .advised("every secret costs a call of its own until then")
            }
            Err(failure) => {
                let step = Step::new(Name::Batch, Outcome::Failed, failure.to_string()).on(BATCH);
                self.advised(step, &failure)
            }
        };
        self.steps.push(step);
    }

    async fn get(&mut self, caller: &Caller, wanted: &Wanted) {
        let wanted = match names::normal(wanted, &self.settings.region) {
            Ok(wanted) => wanted,
            Err(failure) => {
                let step = Step::new(Name::Get, Outcome::Failed, failure.message);
                self.steps.push(step.about(&wanted.id));
                return;
            }
        };
        let failure = match self.calls.get(&wanted).await {
            Ok(fetched) => {
                let detail =
                    format!("version {} with {}", fetched.version, fetched.stages.join(", "));
                self.steps
                    .push(Step::new(Name::Get, Outcome::Ok, detail).about(&wanted.id).on(GET));
                let decrypted = Step::new(Name::Decrypt, Outcome::Ok, "the value is read");
                self.steps.push(decrypted.about(&wanted.id).on(DECRYPT));
                self.fail_over(caller, &wanted).await;
                return;
            }
            Err(failure) => failure,
        };
        if failure.cause == Cause::Decryption {
            let found = Step::new(Name::Get, Outcome::Ok, "the secret is there and may be read");
            self.steps.push(found.about(&wanted.id).on(GET));
            let step = self.undecrypted(caller, &wanted.id, &failure).await;
            self.steps.push(step.about(&wanted.id).on(DECRYPT));
            return;
        }
        let step =
            Step::new(Name::Get, Outcome::Failed, failure.to_string()).about(&wanted.id).on(GET);
        let step = match failure.cause {
            Cause::Denied => step.missing(GET, self.to_read(caller, &wanted.id, &failure)),
            Cause::NotFound => step.advised(format!(
                "there is no such secret in {} of account {}, or it has no such version, or it is scheduled for \
                 deletion",
                self.settings.region, caller.account
            )),
            _ => self.advised(step, &failure),
        };
        self.steps.push(step);
    }

    /// Whether the copy in `failover_region` would serve.
    async fn fail_over(&mut self, caller: &Caller, wanted: &Wanted) {
        let Some(failover) = &self.settings.failover else { return };
        let client = self.identity.client_in(&failover.region, failover.endpoint.as_deref());
        let replica = Calls::new(client, &failover.region);
        let id = names::in_region(&wanted.id, &failover.region);
        let abroad = Wanted { id: id.clone(), version: wanted.version.clone() };
        let step = match replica.get(&abroad).await {
            Ok(fetched) => {
                let detail = format!("version {} in {}", fetched.version, failover.region);
                Step::new(Name::Failover, Outcome::Ok, detail)
            }
            Err(failure) => {
                let step = Step::new(Name::Failover, Outcome::Warning, failure.to_string());
                let replicate = format!(
                    "replicate it: aws secretsmanager replicate-secret-to-regions --region {} --secret-id {} \
                     --add-replica-regions Region={}",
                    self.settings.region, wanted.id, failover.region
                );
                match failure.cause {
                    Cause::NotFound => step.advised(replicate),
                    // AWS says the same of a secret that is not there, where policies name secrets one by one.
                    Cause::Denied => step
                        .missing(GET, [caller.may(GET, &caller.secret(&id, &failover.region))])
                        .advised(format!("or there is no copy of it; {replicate}")),
                    _ => step,
                }
            }
        };
        self.steps.push(step.about(&wanted.id).on(GET));
    }

    /// What lets the caller read a secret: in another account both sides must say so.
    fn to_read(&self, caller: &Caller, id: &str, failure: &Failure) -> Vec<Addition> {
        let own = caller.may(GET, &caller.secret(id, &self.settings.region));
        if !caller.is_foreign(id) {
            return vec![own];
        }
        match lacking(&failure.message) {
            Some(Side::Identity) => vec![own],
            Some(Side::Resource) => vec![caller.reads(id)],
            None => vec![own, caller.reads(id)],
        }
    }

    async fn undecrypted(&self, caller: &Caller, id: &str, failure: &Failure) -> Step {
        let step = Step::new(Name::Decrypt, Outcome::Failed, failure.to_string());
        if failure.code != "AccessDeniedException" {
            return step;
        }
        let key = self.calls.key_of(id).await;
        let account =
            names::SecretArn::parse(id).map_or(caller.account.as_str(), |arn| arn.account);
        let unknown =
            format!("arn:aws:kms:{}:{account}:key/<the secret's key>", self.settings.region);
        let key = key.as_deref().unwrap_or(&unknown);
        let [own, of_key] = caller.decrypts(key, &self.settings.region);
        let foreign = account_of(key).is_some_and(|account| account != caller.account);
        let advice = if foreign {
            "the key is in another account: both statements are needed"
        } else {
            "the first is enough where the key's policy leaves permissions to the account (its default), else the \
             second is needed, and is enough"
        };
        step.missing(DECRYPT, [own, of_key]).advised(advice)
    }

    fn advised(&self, step: Step, failure: &Failure) -> Step {
        let region = &self.settings.region;
        match failure.cause {
            Cause::Throttled => step.advised("AWS answers too many calls: nothing is wrong with the permissions"),
            Cause::Unavailable => step.advised(format!(
                "open the way to {}, or give `endpoint` of a VPC endpoint",
                self.settings.endpoint.clone().unwrap_or_else(|| regions::secrets_endpoint(region))
            )),
            Cause::Credentials if self.is_global_session() && regions::is_opt_in(region) => {
                step.advised(format!(
                    "sessions of the global STS endpoint do not hold in {region}, which an account has to be opened \
                     for: write sts_endpoint = {:?}",
                    regions::sts_endpoint(region)
                ))
            }
            _ => step,
        }
    }

    fn is_global_session(&self) -> bool {
        matches!(&self.settings.authentication, Authentication::Role(_))
            && self.settings.sts.endpoint == regions::GLOBAL_STS_ENDPOINT
    }
}

/// The side that AWS names as the one that does not allow.
enum Side {
    Identity,
    Resource,
}

fn lacking(message: &str) -> Option<Side> {
    if message.contains("no resource-based policy allows") {
        Some(Side::Resource)
    } else if message.contains("no identity-based policy allows") {
        Some(Side::Identity)
    } else {
        None
    }
}

/// Of roles AWS says no more than that they may not be taken on: the caller's policy, the role's trust, or the external
/// id.
fn refused_role(
    step: Step,
    role: &Role,
    base: Option<&Caller>,
    error: &CloudError,
    region: &str,
) -> Step {
    let denied = matches!(error.kind, Kind::Denied { .. });
    let Some(base) = base.filter(|_| denied) else {
        return match &error.kind {
            Kind::InvalidRequest if error.message.contains("DurationSeconds") => step.advised(
                "lower session_duration, or raise the role's maximum session duration; a role that is taken on with \
                 another role's session holds for an hour at most",
            ),
            Kind::Credentials if error.message.contains("scoped to") => step.advised(format!(
                "sts_region is not that of sts_endpoint: write sts_endpoint = {:?}",
                regions::sts_endpoint(region)
            )),
            _ => step,
        };
    };
    let external_id = role.external_id.as_deref();
    let additions = [base.may(ASSUME, &role.arn), base.trusted_by(&role.arn, external_id)];
    let given = match external_id {
        Some(_) => "the external id may be another one than the role asks for",
        None => "the role may ask for an external id: set external_id",
    };
    let same_account = account_of(&role.arn) == Some(base.account.as_str());
    let both = if base.arn == role.arn {
        "a role takes itself on only where its own trust policy names it: the second statement is needed, and is enough"
    } else if same_account {
        "inside one account the second statement alone is enough"
    } else {
        "across accounts both statements are needed"
    };
    let advice = format!(
        "AWS does not say which of these is missing, or whether the role exists: {both}; {given}"
    );
    step.missing(ASSUME, additions).advised(advice)
}

fn unknown() -> Caller {
    Caller { arn: "arn:aws:iam::<account>:role/<name>".to_owned(), account: "<account>".to_owned() }
}
