//! Key Management Service: symmetric keys, their states, policies and aliases.

use std::collections::BTreeMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::clock::{DAY_MS, Millis, seconds};
use super::iam::evaluate::Context;
use super::iam::policy::DocumentKind;
use super::iam::store::Document;
use super::random;
use super::wire::{Failure, Outcome};
use super::world::{Ask, Call, World};

#[derive(Debug)]
struct Key {
    id: String,
    arn: String,
    account: String,
    description: String,
    created: Millis,
    state: State,
    policy: Document,
    tags: BTreeMap<String, String>,
    material: LessSafeKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Enabled,
    Disabled,
    PendingDeletion(Millis),
}

#[derive(Debug)]
struct Alias {
    arn: String,
    key_arn: String,
    created: Millis,
}

/// All keys and aliases.
#[derive(Debug, Default)]
pub(crate) struct Store {
    keys: BTreeMap<String, Key>,
    aliases: BTreeMap<String, Alias>,
}

const ID_LEN: usize = 36;

impl Store {
    /// The ARN of the key that an identifier, ARN or alias names.
    pub(crate) fn resolve(&self, account: &str, region: &str, id: &str) -> Option<&str> {
        let arn = if id.starts_with("arn:") {
            id.to_owned()
        } else if id.starts_with("alias/") {
            format!("arn:aws:kms:{region}:{account}:{id}")
        } else {
            format!("arn:aws:kms:{region}:{account}:key/{id}")
        };
        let arn = self.aliases.get(&arn).map_or(&arn, |alias| &alias.key_arn);
        self.keys.get(arn).map(|key| key.arn.as_str())
    }

    /// Gives a key an alias, by their ARNs.
    pub(crate) fn add_alias(&mut self, arn: String, key_arn: &str, now: Millis) {
        let alias = Alias { arn: arn.clone(), key_arn: key_arn.to_owned(), created: now };
        self.aliases.insert(arn, alias);
    }

    /// Whether a key exists and is enabled.
    pub(crate) fn is_usable(&self, arn: &str) -> bool {
        self.keys.get(arn).is_some_and(|key| key.state == State::Enabled)
    }

    /// Makes a key with the policy that leaves permissions to the account's own policies.
    pub(crate) fn create(&mut self, account: &str, region: &str, now: Millis) -> String {
        let policy = default_policy(account);
        let document = Document::parse(&policy, DocumentKind::Resource)
            .expect("the policy written here is well formed");
        self.add(account, region, document, now)
    }

    fn add(&mut self, account: &str, region: &str, policy: Document, now: Millis) -> String {
        let id = random::uuid();
        let arn = format!("arn:aws:kms:{region}:{account}:key/{id}");
        let mut bytes = [0u8; 32];
        random::fill(&mut bytes);
        let material = UnboundKey::new(&AES_256_GCM, &bytes).expect("32 bytes are an AES-256 key");
        let key = Key {
            id,
            arn: arn.clone(),
            account: account.to_owned(),
            description: String::new(),
            created: now,
            state: State::Enabled,
            policy,
            tags: BTreeMap::new(),
            material: LessSafeKey::new(material),
        };
        self.keys.insert(arn.clone(), key);
        arn
    }

    /// Enables or disables a key. Answers whether it exists.
    pub(crate) fn set_enabled(&mut self, arn: &str, enabled: bool) -> bool {
        let Some(key) = self.keys.get_mut(arn) else { return false };
        key.state = if enabled { State::Enabled } else { State::Disabled };
        true
    }

    /// Replaces the policy of a key. Errors say what is wrong with it.
    pub(crate) fn set_policy(&mut self, arn: &str, text: &str) -> Result<(), String> {
        let document = Document::parse(text, DocumentKind::Resource)?;
        let key = self.keys.get_mut(arn).ok_or("there is no such key")?;
        key.policy = document;
        Ok(())
    }
}

fn default_policy(account: &str) -> String {
    json!({
        "Version": "2012-10-17",
        "Id": "key-default-1",
        "Statement": [{
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": { "AWS": format!("arn:aws:iam::{account}:root") },
            "Action": "kms:*",
            "Resource": "*",
        }],
    })
    .to_string()
}

/// Checks that the caller may do `action` on the key of a secret, as Secrets Manager asks KMS in
/// the caller's name.
pub(crate) fn permit_through_secrets_manager(
    world: &World,
    call: &Call<'_>,
    action: &str,
    key_arn: &str,
    secret_arn: &str,
) -> Result<(), Failure> {
    let Some(key) = world.kms.keys.get(key_arn) else { return Ok(()) };
    let via = format!("secretsmanager.{}.amazonaws.com", call.region);
    let context = Context::new()
        .with("kms:ViaService", [via])
        .with("kms:CallerAccount", [call.account()])
        .with("kms:EncryptionContextKeys", ["SecretARN"])
        .with("kms:EncryptionContext:SecretARN", [secret_arn]);
    permit(world, call, action, key, context)
        .map_err(|_| Failure::new("AccessDeniedException", "Access to KMS is not allowed"))
}

fn permit(
    world: &World,
    call: &Call<'_>,
    action: &str,
    key: &Key,
    context: Context,
) -> Result<(), Failure> {
    let mut ask = Ask::new(action, &key.arn, &key.account);
    ask.policy = Some(&key.policy.policy);
    ask.policy_decides = true;
    ask.context = context;
    for (name, value) in &key.tags {
        ask.context.set(&format!("aws:ResourceTag/{name}"), [value.as_str()]);
    }
    world.authorize(call, ask)
}

/// Answers one call.
pub(crate) fn perform(world: &mut World, call: &Call<'_>) -> Outcome {
    world
        .kms
        .keys
        .retain(|_, key| !matches!(key.state, State::PendingDeletion(due) if due <= call.now));
    match call.operation {
        "CreateKey" => create_key(world, call),
        "DescribeKey" => {
            let key = open(world, call)?;
            Ok(json!({ "KeyMetadata": metadata(key) }))
        }
        "Encrypt" => encrypt(world, call),
        "Decrypt" => decrypt(world, call),
        "GenerateDataKey" => data_key(world, call, true),
        "GenerateDataKeyWithoutPlaintext" => data_key(world, call, false),
        "EnableKey" => set_state(world, call, State::Enabled),
        "DisableKey" => set_state(world, call, State::Disabled),
        "ScheduleKeyDeletion" => schedule_deletion(world, call),
        "CancelKeyDeletion" => {
            set_state(world, call, State::Disabled)?;
            let key = open(world, call)?;
            Ok(json!({ "KeyId": key.arn }))
        }
        "GetKeyPolicy" => {
            let key = open(world, call)?;
            Ok(json!({ "Policy": key.policy.text, "PolicyName": "default" }))
        }
        "PutKeyPolicy" => put_policy(world, call),
        "CreateAlias" => create_alias(world, call),
        "DeleteAlias" => delete_alias(world, call),
        "ListAliases" => Ok(list_aliases(world, call)),
        other => Err(Failure::unknown_operation(call.service, other)),
    }
}

fn key_not_found(id: &str) -> Failure {
    Failure::new("NotFoundException", format!("Key '{id}' does not exist"))
}

/// Finds the key of a request and checks that the caller may do the operation on it.
fn open<'w>(world: &'w World, call: &Call<'_>) -> Result<&'w Key, Failure> {
    let id = call.input.required_text("KeyId", 1, 2048)?;
    let arn = world.kms.resolve(call.account(), call.region, id);
    let key = arn.and_then(|arn| world.kms.keys.get(arn)).ok_or_else(|| key_not_found(id))?;
    permit(world, call, &format!("kms:{}", call.operation), key, encryption_context(call)?.1)?;
    Ok(key)
}

fn usable(key: &Key) -> Result<(), Failure> {
    let arn = &key.arn;
    match key.state {
        State::Enabled => Ok(()),
        State::Disabled => Err(Failure::new("DisabledException", format!("{arn} is disabled."))),
        State::PendingDeletion(_) => {
            Err(Failure::new("KMSInvalidStateException", format!("{arn} is pending deletion.")))
        }
    }
}

/// The encryption context as authenticated data, and as policies see it.
fn encryption_context(call: &Call<'_>) -> Result<(Vec<u8>, Context), Failure> {
    let mut context = Context::new().with("kms:CallerAccount", [call.account()]);
    let Some(Value::Object(pairs)) = call.input.member("EncryptionContext") else {
        return Ok((Vec::new(), context));
    };
    let sorted: BTreeMap<&String, &Value> = pairs.iter().collect();
    for (name, value) in &sorted {
        let value = value
            .as_str()
            .ok_or_else(|| Failure::new("SerializationException", "EncryptionContext"))?;
        context.set(&format!("kms:EncryptionContext:{name}"), [value]);
    }
    context.set("kms:EncryptionContextKeys", sorted.keys().map(|name| name.as_str()));
    let data = json!(sorted.iter().collect::<Vec<_>>()).to_string().into_bytes();
    Ok((data, context))
}

fn metadata(key: &Key) -> Value {
    let (state, due) = match key.state {
        State::Enabled => ("Enabled", None),
        State::Disabled => ("Disabled", None),
        State::PendingDeletion(due) => ("PendingDeletion", Some(due)),
    };
    let mut metadata = json!({
        "AWSAccountId": key.account,
        "KeyId": key.id,
        "Arn": key.arn,
        "CreationDate": seconds(key.created),
        "Enabled": key.state == State::Enabled,
        "Description": key.description,
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": state,
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "MultiRegion": false,
    });
    if let (Some(due), Some(members)) = (due, metadata.as_object_mut()) {
        members.insert("DeletionDate".to_owned(), json!(seconds(due)));
    }
    metadata
}

fn create_key(world: &mut World, call: &Call<'_>) -> Outcome {
    let input = call.input;
    let description = input.text("Description", 0, 8192)?.unwrap_or_default();
    let tags = input.tags("Tags", "TagKey", "TagValue")?.unwrap_or_default();
    let spec = input.text("KeySpec", 0, 64)?.or(input.text("CustomerMasterKeySpec", 0, 64)?);
    let usage = input.text("KeyUsage", 0, 64)?;
    if spec.is_some_and(|spec| spec != "SYMMETRIC_DEFAULT")
        || usage.is_some_and(|usage| usage != "ENCRYPT_DECRYPT")
    {
        return Err(Failure::new("UnsupportedOperationException", "only symmetric keys are faked"));
    }
    world.authorize(call, Ask::new("kms:CreateKey", "*", call.account()))?;
    if !tags.is_empty() {
        world.authorize(call, Ask::new("kms:TagResource", "*", call.account()))?;
    }
    let policy = match input.text("Policy", 1, 131_072)? {
        Some(text) => text.to_owned(),
        None => default_policy(call.account()),
    };
    let document = Document::parse(&policy, DocumentKind::Resource)
        .map_err(|message| Failure::new("MalformedPolicyDocumentException", message))?;
    let arn = world.kms.add(call.account(), call.region, document, call.now);
    let key = world.kms.keys.get_mut(&arn).ok_or_else(|| key_not_found(&arn))?;
    key.description = description.to_owned();
    key.tags = tags;
    Ok(json!({ "KeyMetadata": metadata(key) }))
}

fn set_state(world: &mut World, call: &Call<'_>, state: State) -> Outcome {
    let key = open(world, call)?;
    let pending = matches!(key.state, State::PendingDeletion(_));
    if pending != (call.operation == "CancelKeyDeletion") {
        let what = if pending { "is pending deletion." } else { "is not pending deletion." };
        return Err(Failure::new("KMSInvalidStateException", format!("{} {what}", key.arn)));
    }
    let arn = key.arn.clone();
    if let Some(key) = world.kms.keys.get_mut(&arn) {
        key.state = state;
    }
    Ok(Value::Null)
}

fn schedule_deletion(world: &mut World, call: &Call<'_>) -> Outcome {
    let days = call.input.bounded("PendingWindowInDays", 7, 30, 30)?;
    let key = open(world, call)?;
    if matches!(key.state, State::PendingDeletion(_)) {
        let message = format!("{} is pending deletion.", key.arn);
        return Err(Failure::new("KMSInvalidStateException", message));
    }
    let arn = key.arn.clone();
    let due = call.now + days * DAY_MS;
    if let Some(key) = world.kms.keys.get_mut(&arn) {
        key.state = State::PendingDeletion(due);
    }
    Ok(json!({
        "KeyId": arn,
        "DeletionDate": seconds(due),
        "KeyState": "PendingDeletion",
        "PendingWindowInDays": days,
    }))
}

fn put_policy(world: &mut World, call: &Call<'_>) -> Outcome {
    let text = call.input.required_text("Policy", 1, 131_072)?;
    let arn = open(world, call)?.arn.clone();
    world
        .kms
        .set_policy(&arn, text)
        .map_err(|message| Failure::new("MalformedPolicyDocumentException", message))?;
    Ok(Value::Null)
}

fn seal(key: &Key, plaintext: &[u8], context: &[u8]) -> Vec<u8> {
    let mut nonce = [0u8; NONCE_LEN];
    random::fill(&mut nonce);
    let mut sealed = plaintext.to_vec();
    key.material
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context),
            &mut sealed,
        )
        .expect("a short text can be sealed");
    [key.id.as_bytes(), &nonce, &sealed].concat()
}

fn encrypt(world: &mut World, call: &Call<'_>) -> Outcome {
    let plaintext = call
        .input
        .blob("Plaintext", 1, 4096)?
        .ok_or_else(|| Failure::constraint(call.service, "plaintext", "not be null"))?;
    let key = open(world, call)?;
    usable(key)?;
    let (context, _) = encryption_context(call)?;
    Ok(json!({
        "CiphertextBlob": STANDARD.encode(seal(key, &plaintext, &context)),
        "KeyId": key.arn,
        "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
    }))
}

fn decrypt(world: &mut World, call: &Call<'_>) -> Outcome {
    let blob = call
        .input
        .blob("CiphertextBlob", 1, 6144)?
        .ok_or_else(|| Failure::constraint(call.service, "ciphertextBlob", "not be null"))?;
    let invalid = || Failure::new("InvalidCiphertextException", "");
    let (id, rest) = blob.split_at_checked(ID_LEN).ok_or_else(invalid)?;
    let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or_else(invalid)?;
    let id = std::str::from_utf8(id).map_err(|_| invalid())?;
    let key = world.kms.keys.values().find(|key| key.id == id).ok_or_else(invalid)?;
    let (data, context) = encryption_context(call)?;
    permit(world, call, "kms:Decrypt", key, context)?;
    if let Some(named) = call.input.text("KeyId", 1, 2048)?
        && world.kms.resolve(call.account(), call.region, named) != Some(key.arn.as_str())
    {
        return Err(Failure::new(
            "IncorrectKeyException",
            "The key ID in the request does not identify a CMK that can perform this operation.",
        ));
    }
    usable(key)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| invalid())?;
    let mut sealed = sealed.to_vec();
    let plaintext = key
        .material
        .open_in_place(nonce, Aad::from(data.as_slice()), &mut sealed)
        .map_err(|_| invalid())?;
    Ok(json!({
        "Plaintext": STANDARD.encode(plaintext),
        "KeyId": key.arn,
        "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
    }))
}

fn data_key(world: &mut World, call: &Call<'_>, show: bool) -> Outcome {
    let input = call.input;
    let length = match (input.text("KeySpec", 0, 16)?, input.has("NumberOfBytes")) {
        (Some("AES_256"), false) => 32,
        (Some("AES_128"), false) => 16,
        (None, true) => input.bounded("NumberOfBytes", 1, 1024, 32)?,
        _ => {
            return Err(Failure::validation(
                call.service,
                "Please specify either number of bytes or key spec.",
            ));
        }
    };
    let key = open(world, call)?;
    usable(key)?;
    let mut bytes = vec![0u8; usize::try_from(length).unwrap_or_default()];
    random::fill(&mut bytes);
    let (context, _) = encryption_context(call)?;
    let sealed = STANDARD.encode(seal(key, &bytes, &context));
    let mut reply = json!({ "CiphertextBlob": sealed, "KeyId": key.arn });
    if let (true, Some(members)) = (show, reply.as_object_mut()) {
        members.insert("Plaintext".to_owned(), json!(STANDARD.encode(&bytes)));
    }
    Ok(reply)
}

fn create_alias(world: &mut World, call: &Call<'_>) -> Outcome {
    let name = call.input.required_text("AliasName", 1, 256)?;
    let target = call.input.required_text("TargetKeyId", 1, 2048)?;
    if !name.starts_with("alias/") || name.starts_with("alias/aws/") {
        let message = "Alias must start with the prefix \"alias/\" and not with \"alias/aws/\".";
        return Err(Failure::validation(call.service, message));
    }
    let arn = format!("arn:aws:kms:{}:{}:{name}", call.region, call.account());
    let key_arn = world.kms.resolve(call.account(), call.region, target);
    let key_arn = key_arn.ok_or_else(|| key_not_found(target))?.to_owned();
    world.authorize(call, Ask::new("kms:CreateAlias", &arn, call.account()))?;
    if let Some(key) = world.kms.keys.get(&key_arn) {
        permit(world, call, "kms:CreateAlias", key, Context::new())?;
    }
    if world.kms.aliases.contains_key(&arn) {
        let message = format!("An alias with the name {arn} already exists");
        return Err(Failure::new("AlreadyExistsException", message));
    }
    world.kms.aliases.insert(arn.clone(), Alias { arn, key_arn, created: call.now });
    Ok(Value::Null)
}

fn delete_alias(world: &mut World, call: &Call<'_>) -> Outcome {
    let name = call.input.required_text("AliasName", 1, 256)?;
    let arn = format!("arn:aws:kms:{}:{}:{name}", call.region, call.account());
    world.authorize(call, Ask::new("kms:DeleteAlias", &arn, call.account()))?;
    match world.kms.aliases.remove(&arn) {
        Some(_) => Ok(Value::Null),
        None => Err(Failure::new("NotFoundException", format!("Alias {arn} is not found."))),
    }
}

fn list_aliases(world: &World, call: &Call<'_>) -> Value {
    let start = format!("arn:aws:kms:{}:{}:", call.region, call.account());
    let aliases: Vec<Value> = world
        .kms
        .aliases
        .values()
        .filter(|alias| alias.arn.starts_with(&start))
        .map(|alias| {
            json!({
                "AliasName": alias.arn.trim_start_matches(&start),
                "AliasArn": alias.arn,
                "TargetKeyId": alias.key_arn.rsplit('/').next(),
                "CreationDate": seconds(alias.created),
            })
        })
        .collect();
    json!({ "Aliases": aliases, "Truncated": false })
}
