//! IAM and STS as far as the engine calls them: strict about what hangs on a user, and as unreliable
//! as a test wants.

use async_trait::async_trait;
use bailee_cloud::{HttpError, query::Transport};
use bailee_crypto::clock::to_millis;
use bailee_sdk::{Clock, testing::TestClock};
use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

/// How unreliable it is: chances in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) throttled: u64,
    pub(super) away: u64,
    pub(super) reply_lost: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct TestUser {
    pub(super) id: String,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) keys: BTreeMap<String, u64>,
    pub(super) attached: BTreeSet<String>,
    pub(super) inline: BTreeSet<String>,
    pub(super) groups: BTreeSet<String>,
    pub(super) login: bool,
    pub(super) devices: BTreeSet<String>,
    pub(super) certificates: BTreeSet<String>,
    pub(super) created: u64,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) users: BTreeMap<String, TestUser>,
    pub(super) calls: Vec<String>,
    pub(super) faults: Faults,
    /// The most time that a new key takes to work, in milliseconds.
    pub(super) key_delay: u64,
    /// Refused, as by a policy.
    pub(super) denied: BTreeSet<&'static str>,
    seed: u64,
    next: u64,
}

pub(super) struct TestIam {
    clock: Arc<TestClock>,
    pub(super) state: Mutex<State>,
}

struct Refusal(u16, &'static str, String);

type Fields = BTreeMap<String, String>;

impl TestIam {
    pub(super) fn new(clock: Arc<TestClock>) -> TestIam {
        let mut state = State { seed: 88_172_645_463_325_252, ..State::default() };
        let root = TestUser {
            id: "AIDAROOT".to_owned(),
            keys: BTreeMap::from([("AKIAROOT".to_owned(), 0)]),
            ..TestUser::default()
        };
        state.users.insert("root-user".to_owned(), root);
        TestIam { clock, state: Mutex::new(state) }
    }

    pub(super) fn seed(&self, seed: u64) {
        self.state.lock().seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    }

    /// A number below `bound`, repeatable.
    pub(super) fn below(&self, bound: u64) -> u64 {
        let mut state = self.state.lock();
        draw(&mut state.seed) % bound.max(1)
    }

    /// Names of the users that the engine made.
    pub(super) fn made(&self) -> Vec<String> {
        let state = self.state.lock();
        state.users.keys().filter(|name| *name != "root-user").cloned().collect()
    }

    fn now(&self) -> u64 {
        to_millis(self.clock.now())
    }

    fn answer(&self, action: &str, fields: &Fields, key: &str) -> Result<String, Refusal> {
        let mut state = self.state.lock();
        let now = self.now();
        let state = &mut *state;
        state.calls.push(action.to_owned());
        let known = state.users.values().find_map(|user| user.keys.get(key));
        if known.is_none_or(|usable| *usable > now) {
            let text = "The security token included in the request is invalid.";
            return Err(Refusal(403, "InvalidClientTokenId", text.to_owned()));
        }
        if state.denied.contains(action) {
            let text = format!("User: x is not authorized to perform: iam:{action}");
            return Err(Refusal(403, "AccessDenied", text));
        }
        if state.denied.contains("TagUser") && fields.keys().any(|name| name.starts_with("Tags.")) {
            let text = "User: x is not authorized to perform: iam:TagUser on resource: y";
            return Err(Refusal(403, "AccessDenied", text.to_owned()));
        }
        match action {
            "GetCallerIdentity" => Ok("<Arn>arn:aws:iam::1:user/x</Arn>".to_owned()),
            "AssumeRole" | "GetFederationToken" | "GetSessionToken" => Ok(session(fields, now)),
            "ListUsers" => {
                Ok(list("Users", state.users.iter().map(|(name, user)| shown(name, user))))
            }
            "CreateUser" => create(state, fields, now),
            _ => {
                let own = "root-user".to_owned();
                let name = fields.get("UserName").unwrap_or(&own).clone();
                state.next += 1;
                let (next, delay) = (state.next, draw(&mut state.seed) % (state.key_delay + 1));
                match state.users.get_mut(&name) {
                    None => Err(missing(&name)),
                    Some(_) if action == "DeleteUser" => delete(state, &name),
                    Some(user) => on_user(user, &name, action, fields, (next, now + delay)),
                }
            }
        }
    }
}

fn create(state: &mut State, fields: &Fields, now: u64) -> Result<String, Refusal> {
    let name = fields["UserName"].clone();
    if state.users.contains_key(&name) {
        let text = format!("User with name {name} already exists.");
        return Err(Refusal(409, "EntityAlreadyExists", text));
    }
    state.next += 1;
    let tags = (1..)
        .map_while(|number| {
            let key = fields.get(&format!("Tags.member.{number}.Key"))?;
            Some((key.clone(), fields[&format!("Tags.member.{number}.Value")].clone()))
        })
        .collect();
    let user =
        TestUser { id: format!("AIDA{}", state.next), tags, created: now, ..TestUser::default() };
    let answer = format!("<User>{}</User>", shown(&name, &user));
    state.users.insert(name, user);
    Ok(answer)
}

fn delete(state: &mut State, name: &str) -> Result<String, Refusal> {
    let user = &state.users[name];
    let hangs = user.login
        || !user.keys.is_empty()
        || [&user.attached, &user.inline, &user.groups, &user.devices, &user.certificates]
            .iter()
            .any(|set| !set.is_empty());
    if hangs {
        let text = "Cannot delete entity, must remove what hangs on it first.";
        return Err(Refusal(409, "DeleteConflict", text.to_owned()));
    }
    state.users.remove(name);
    Ok(String::new())
}

fn on_user(
    user: &mut TestUser,
    name: &str,
    action: &str,
    fields: &Fields,
    (next, usable): (u64, u64),
) -> Result<String, Refusal> {
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let listed =
        |list: &str, element: &str, set: &BTreeSet<String>| list_of(list, element, set.iter());
    let mut remove = |set: fn(&mut TestUser) -> &mut BTreeSet<String>, value: String| {
        if set(user).remove(&value) { Ok(String::new()) } else { Err(missing(&value)) }
    };
    match action {
        "DetachUserPolicy" => return remove(|user| &mut user.attached, field("PolicyArn")),
        "DeleteUserPolicy" => return remove(|user| &mut user.inline, field("PolicyName")),
        "RemoveUserFromGroup" => return remove(|user| &mut user.groups, field("GroupName")),
        "DeactivateMFADevice" => return remove(|user| &mut user.devices, field("SerialNumber")),
        "DeleteSigningCertificate" => {
            return remove(|user| &mut user.certificates, field("CertificateId"));
        }
        _ => {}
    }
    match action {
        "GetUser" => return Ok(format!("<User>{}</User>", shown(name, user))),
        "AttachUserPolicy" => drop(user.attached.insert(field("PolicyArn"))),
        "PutUserPolicy" => drop(user.inline.insert(field("PolicyName"))),
        "AddUserToGroup" => drop(user.groups.insert(field("GroupName"))),
        "CreateAccessKey" => {
            if user.keys.len() == 2 {
                let text = "Cannot exceed quota for AccessKeysPerUser: 2";
                return Err(Refusal(409, "LimitExceeded", text.to_owned()));
            }
            let id = format!("AKIA{next}");
            user.keys.insert(id.clone(), usable);
            return Ok(format!(
                "<AccessKey><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>s{next}\
                 </SecretAccessKey></AccessKey>"
            ));
        }
        "DeleteAccessKey" => {
            let id = field("AccessKeyId");
            if user.keys.remove(&id).is_none() {
                return Err(missing(&id));
            }
        }
        "DeleteLoginProfile" if !std::mem::take(&mut user.login) => return Err(missing(name)),
        "DeleteLoginProfile" => {}
        "ListAccessKeys" => {
            return Ok(list_of("AccessKeyMetadata", "AccessKeyId", user.keys.keys()));
        }
        "ListAttachedUserPolicies" => {
            return Ok(listed("AttachedPolicies", "PolicyArn", &user.attached));
        }
        "ListUserPolicies" => return Ok(list("PolicyNames", user.inline.iter().cloned())),
        "ListGroupsForUser" => return Ok(listed("Groups", "GroupName", &user.groups)),
        "ListMFADevices" => return Ok(listed("MFADevices", "SerialNumber", &user.devices)),
        "ListSigningCertificates" => {
            return Ok(listed("Certificates", "CertificateId", &user.certificates));
        }
        "ListSSHPublicKeys" | "ListServiceSpecificCredentials" => return Ok(String::new()),
        _ => return Err(Refusal(400, "InvalidAction", format!("no operation {action}"))),
    }
    Ok(String::new())
}

fn session(fields: &Fields, now: u64) -> String {
    let seconds: u64 = fields["DurationSeconds"].parse().unwrap();
    let name = fields.get("RoleSessionName").or(fields.get("Name"));
    let user = name.map(|name| format!("<U><Arn>arn:aws:sts::1:x/{name}</Arn></U>"));
    format!(
        "<Credentials><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
         <SessionToken>t</SessionToken><Expiration>{}</Expiration></Credentials>{}",
        date(now + seconds * 1000),
        user.unwrap_or_default()
    )
}

fn shown(name: &str, user: &TestUser) -> String {
    let mut text = format!(
        "<UserName>{name}</UserName><UserId>{}</UserId><CreateDate>{}</CreateDate><Tags>",
        user.id,
        date(user.created)
    );
    for (key, value) in &user.tags {
        write!(text, "<member><Key>{key}</Key><Value>{value}</Value></member>").unwrap();
    }
    text + "</Tags>"
}

fn date(millis: u64) -> String {
    Timestamp::from_millisecond(i64::try_from(millis).unwrap()).unwrap().to_string()
}

fn list(name: &str, members: impl Iterator<Item = String>) -> String {
    let members: String = members.map(|member| format!("<member>{member}</member>")).collect();
    format!("<{name}>{members}</{name}><IsTruncated>false</IsTruncated>")
}

fn list_of<'a>(name: &str, element: &str, values: impl Iterator<Item = &'a String>) -> String {
    list(name, values.map(|value| format!("<{element}>{value}</{element}>")))
}

fn missing(what: &str) -> Refusal {
    Refusal(404, "NoSuchEntity", format!("{what} cannot be found."))
}

fn draw(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[async_trait]
impl Transport for TestIam {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let form = String::from_utf8(request.body().to_vec()).unwrap();
        let fields: Fields = form
            .split('&')
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(name, value)| {
                (name.to_owned(), percent_decode_str(value).decode_utf8().unwrap().into_owned())
            })
            .collect();
        let signature = request.headers()["authorization"].to_str().unwrap();
        let key = signature.split("Credential=").nth(1).unwrap().split('/').next().unwrap();
        let (luck, way, shape) = (self.below(1000), self.below(80), self.below(2));
        let faults = self.state.lock().faults;
        tokio::time::sleep(Duration::from_millis(way)).await;
        if luck < faults.throttled {
            return Ok(refusal(shape, &Refusal(400, "Throttling", "Rate exceeded".to_owned())));
        }
        if luck < faults.throttled + faults.away {
            return Ok(Response::builder().status(503).body(Bytes::new()).unwrap());
        }
        let action = &fields["Action"];
        let outcome = self.answer(action, &fields, key);
        tokio::time::sleep(Duration::from_millis(way)).await;
        if luck < faults.throttled + faults.away + faults.reply_lost {
            return Err(HttpError::Timeout("the service did not answer in time".to_owned()));
        }
        Ok(match outcome {
            Ok(result) => {
                let body = format!("<{action}Response><R>{result}</R></{action}Response>");
                Response::new(Bytes::from(body))
            }
            Err(refused) => refusal(shape, &refused),
        })
    }
}

/// In one of the two shapes that errors have.
fn refusal(shape: u64, Refusal(status, code, text): &Refusal) -> Response<Bytes> {
    let error = format!("<Error><Code>{code}</Code><Message>{text}</Message></Error>");
    let body = if shape == 0 {
        format!("<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>")
    } else {
        format!("<Response><Errors>{error}</Errors><RequestID>r</RequestID></Response>")
    };
    Response::builder().status(*status).body(Bytes::from(body)).unwrap()
}
