//! `GetRandomPassword`.

use serde_json::json;

use crate::aws::random;
use crate::aws::wire::{Failure, Outcome};
use crate::aws::world::{Ask, Call, World};

pub(super) fn generate(world: &mut World, call: &Call<'_>) -> Outcome {
    let input = call.input;
    let length = input.bounded("PasswordLength", 1, 4096, 32)?;
    let excluded = input.text("ExcludeCharacters", 0, 4096)?.unwrap_or_default();
    let flag = |name: &str| input.boolean(name).map(|flag| flag.unwrap_or(false));
    let mut kinds: Vec<&str> = Vec::new();
    for (exclude, characters) in [
        ("ExcludeLowercase", "abcdefghijklmnopqrstuvwxyz"),
        ("ExcludeUppercase", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        ("ExcludeNumbers", "0123456789"),
        ("ExcludePunctuation", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    ] {
        if !flag(exclude)? {
            kinds.push(characters);
        }
    }
    if flag("IncludeSpace")? {
        kinds.push(" ");
    }
    let each = input.boolean("RequireEachIncludedType")?.unwrap_or(true);
    world.authorize(call, Ask::new("secretsmanager:GetRandomPassword", "*", call.account()))?;
    let kinds: Vec<Vec<u8>> = kinds
        .into_iter()
        .map(|kind| kind.bytes().filter(|byte| !excluded.as_bytes().contains(byte)).collect())
        .filter(|kind: &Vec<u8>| !kind.is_empty())
        .collect();
    let length = usize::try_from(length).unwrap_or_default();
    let required = if each { kinds.len() } else { 0 };
    if kinds.is_empty() || required > length {
        return Err(Failure::new(
            "InvalidParameterException",
            "The password length is too short for the required types of characters.",
        ));
    }
    let mut password: String =
        kinds.iter().take(required).map(|kind| random::text(1, kind)).collect();
    password.push_str(&random::text(length - required, &kinds.concat()));
    Ok(json!({ "RandomPassword": password }))
}
