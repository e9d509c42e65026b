use super::world::{World, call, data, refused};
use crate::Answer;
use bailee_sdk::{Code, Error, Operation};
use futures_util::future::join_all;
use proptest::{collection::btree_set, prelude::*};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const DENIED: &str = "1 error occurred:\n\t* permission denied\n\n";

/// A server with a door at `auth/door/`; the accessor of that.
async fn world() -> (World, String) {
    let world = World::new().await;
    world.write("sys/auth/door", r#"{"type":"door"}"#).await.unwrap();
    let accessor = world.read("sys/auth/door").await.unwrap()["accessor"].clone();
    (world, accessor.as_str().unwrap().to_owned())
}

async fn log_in(world: &World, input: Value) -> Result<Answer, Error> {
    let mut input = input;
    input["policy"] = json!("default");
    let call = call(Operation::Update, "auth/door/login", &input.to_string(), None);
    world.core.handle(call).await
}

/// The token and the entity of a user who logs in.
async fn enter(world: &World, input: Value) -> (String, String) {
    let auth = log_in(world, input).await.unwrap().auth.unwrap();
    (auth.client_token.expose().clone(), auth.entity_id.clone())
}

async fn write(world: &World, path: &str, input: Value) -> Value {
    data(&world.write(path, &input.to_string()).await.unwrap())
}

async fn refusal(world: &World, path: &str, input: Value) -> String {
    let (code, text) = refused(world.write(path, &input.to_string()).await);
    assert_eq!(code, Code::InvalidRequest, "{path} {text}");
    text
}

fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap().to_owned()
}

async fn policy(world: &World, name: &str, rules: &str) {
    write(world, &format!("sys/policies/acl/{name}"), json!({ "policy": rules })).await;
}

#[tokio::test]
async fn a_first_login_makes_an_entity_and_the_next_finds_it() {
    let (world, accessor) = world().await;
    let (_, first) = enter(&world, json!({"user": "ann", "known": {"mail": "a@b"}})).await;
    let entity = world.read(&format!("identity/entity/id/{first}")).await.unwrap();
    let alias = &entity["aliases"][0];
    assert_eq!(alias["name"], "ann");
    assert_eq!(alias["metadata"], json!({"mail": "a@b"}));
    assert_eq!(
        (&alias["mount_accessor"], &alias["mount_path"]),
        (&json!(accessor), &json!("auth/door/"))
    );
    assert!(entity["name"].as_str().unwrap().starts_with("entity_"));
    // The same user, also with capitals; what the method knows is brought up to date.
    let (_, second) = enter(&world, json!({"user": "Ann", "known": {"mail": "c@d"}})).await;
    assert_eq!(first, second);
    let entity = world.read(&format!("identity/entity/id/{first}")).await.unwrap();
    assert_eq!(entity["aliases"][0]["metadata"], json!({"mail": "c@d"}));
    assert_eq!(entity["aliases"].as_array().unwrap().len(), 1);
    let (_, other) = enter(&world, json!({"user": "bob"})).await;
    assert_ne!(first, other);
    // A user without a name has no entity, and all of it survives a restart.
    assert_eq!(enter(&world, json!({})).await.1, "");
    let world = world.restart().await;
    assert_eq!(enter(&world, json!({"user": "ann"})).await.1, first);
    assert_eq!(world.list("identity/entity/id/").await.unwrap().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn first_logins_at_once_make_one_entity() {
    let (world, _) = world().await;
    let logins = (0..16).map(|number| {
        let user = if number % 2 == 0 { "ann" } else { "ANN" };
        log_in(&world, json!({"user": user, "known": {"number": number}}))
    });
    let entities: BTreeSet<String> = join_all(logins)
        .await
        .into_iter()
        .map(|answer| answer.unwrap().auth.unwrap().entity_id)
        .collect();
    assert_eq!(entities.len(), 1);
    assert_eq!(world.list("identity/entity/id/").await.unwrap().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_login_that_is_refused_makes_nothing() {
    let (world, _) = world().await;
    let input = r#"{"policy":"root","user":"ann"}"#;
    let call = call(Operation::Update, "auth/door/login", input, None);
    assert!(world.core.handle(call).await.is_err());
    assert_eq!(refused(world.list("identity/entity/id/").await).0, Code::NotFound);
}

#[tokio::test]
async fn policies_of_entity_and_groups_add_to_the_tokens() {
    let (world, _) = world().await;
    for name in ["own", "team", "all"] {
        let rules = format!(r#"path "boxes/box/{name}" {{ capabilities = ["update", "read"] }}"#);
        policy(&world, name, &rules).await;
        world.write(&format!("boxes/box/{name}"), r#"{"value":1}"#).await.unwrap();
    }
    let (token, entity) = enter(&world, json!({"user": "ann"})).await;
    let may = async |name: &str| match world.read_by(&token, &format!("boxes/box/{name}")).await {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.to_string(), DENIED);
            false
        }
    };
    assert!(!may("own").await && !may("team").await && !may("all").await);
    write(&world, &format!("identity/entity/id/{entity}"), json!({"policies": "own"})).await;
    assert!(may("own").await && !may("team").await);
    let team = json!({"name": "team", "policies": ["team"], "member_entity_ids": [entity]});
    let team = id(&write(&world, "identity/group", team).await);
    let all = json!({"name": "all", "policies": ["all"], "member_group_ids": [team]});
    let all = id(&write(&world, "identity/group", all).await);
    assert!(may("own").await && may("team").await && may("all").await);
    let shown = world.read_by(&token, "auth/token/lookup-self").await.unwrap();
    assert_eq!(shown["policies"], json!(["default"]));
    assert_eq!(shown["identity_policies"], json!(["all", "own", "team"]));
    assert_eq!(shown["entity_id"], json!(entity));
    let auth = log_in(&world, json!({"user": "ann"})).await.unwrap().auth.unwrap();
    assert_eq!(auth.policies, ["all", "default", "own", "team"]);
    assert_eq!(auth.token_policies, ["default"]);
    assert_eq!(auth.identity_policies, ["all", "own", "team"]);
    let shown = world.read(&format!("identity/entity/id/{entity}")).await.unwrap();
    assert_eq!(shown["direct_group_ids"], json!([team]));
    assert_eq!(shown["inherited_group_ids"], json!([all]));
    // Each is gone with the answer to what took it away.
    write(&world, &format!("identity/group/id/{all}"), json!({"member_group_ids": []})).await;
    assert!(may("team").await && !may("all").await);
    world.delete("identity/group/name/TEAM").await.unwrap();
    assert!(may("own").await && !may("team").await);
    write(&world, "identity/entity/name/x", json!({})).await;
    write(&world, &format!("identity/entity/id/{entity}"), json!({"policies": []})).await;
    assert!(!may("own").await);
}

#[tokio::test]
async fn a_change_of_policies_holds_at_once_for_those_who_ask_meanwhile() {
    let (world, _) = world().await;
    policy(&world, "own", r#"path "boxes/box/x" { capabilities = ["read"] }"#).await;
    world.write("boxes/box/x", r#"{"value":1}"#).await.unwrap();
    let (token, entity) = enter(&world, json!({"user": "ann"})).await;
    let path = format!("identity/entity/id/{entity}");
    for _ in 0..20 {
        write(&world, &path, json!({"policies": "own"})).await;
        assert!(world.read_by(&token, "boxes/box/x").await.is_ok());
        let readers = (0..8).map(|_| world.read_by(&token, "boxes/box/x"));
        let (_, _) = tokio::join!(join_all(readers), write(&world, &path, json!({"policies": ""})));
        assert!(world.read_by(&token, "boxes/box/x").await.is_err());
    }
}

#[tokio::test]
async fn templates_of_policies_stand_for_the_caller() {
    let (world, accessor) = world().await;
    let (token, entity) = enter(&world, json!({"user": "ann", "known": {"dept": "ops"}})).await;
    let input = json!({"name": "ann", "metadata": {"team": "red"}});
    write(&world, &format!("identity/entity/id/{entity}"), input).await;
    let alias = world.read(&format!("identity/entity/id/{entity}")).await.unwrap();
    let alias = id(&alias["aliases"][0]);
    let input = json!({"custom_metadata": {"desk": "7"}});
    write(&world, &format!("identity/entity-alias/id/{alias}"), input).await;
    let group = json!({"name": "ops.eu", "metadata": {"floor": "3"}, "member_entity_ids": entity});
    let group = id(&write(&world, "identity/group", group).await);
    let aliases = format!("identity.entity.aliases.{accessor}");
    let templates = [
        ("identity.entity.id".to_owned(), entity.clone()),
        ("identity.entity.name".to_owned(), "ann".to_owned()),
        ("identity.entity.metadata.team".to_owned(), "red".to_owned()),
        (format!("{aliases}.id"), alias),
        (format!("{aliases}.name"), "ann".to_owned()),
        (format!("{aliases}.metadata.dept"), "ops".to_owned()),
        (format!("{aliases}.custom_metadata.desk"), "7".to_owned()),
        (format!("identity.groups.ids.{group}.name"), "ops.eu".to_owned()),
        (format!("identity.groups.ids.{group}.metadata.floor"), "3".to_owned()),
        ("identity.groups.names.ops.eu.id".to_owned(), group.clone()),
        ("identity.groups.names.ops.eu.metadata.floor".to_owned(), "3".to_owned()),
    ];
    let rule = |(number, (name, _)): (usize, &(String, String))| {
        format!("path \"boxes/box/{number}/{{{{{name}}}}}/*\" {{ capabilities = [\"read\"] }}\n")
    };
    let rules: String = templates.iter().enumerate().map(rule).collect();
    policy(&world, "mine", &rules).await;
    write(&world, &format!("identity/entity/id/{entity}"), json!({"policies": "mine"})).await;
    let (stranger, other) = enter(&world, json!({"user": "bob"})).await;
    write(&world, &format!("identity/entity/id/{other}"), json!({"policies": "mine"})).await;
    for (number, (name, value)) in templates.iter().enumerate() {
        let path = format!("boxes/box/{number}/{value}/x");
        world.write(&path, r#"{"value":1}"#).await.unwrap();
        assert!(world.read_by(&token, &path).await.is_ok(), "{name}");
        assert!(world.read_by(&stranger, &path).await.is_err(), "{name}");
        assert!(world.read_by(&token, &format!("boxes/box/{number}/other/x")).await.is_err());
    }
}

#[tokio::test]
async fn who_is_disabled_or_deleted_is_refused() {
    let (world, _) = world().await;
    for kind in ["service", "batch"] {
        write(&world, "sys/auth/door/tune", json!({ "token_type": kind })).await;
        let (token, entity) = enter(&world, json!({"user": "ann"})).await;
        assert_eq!(token.starts_with("hvb."), kind == "batch");
        let path = format!("identity/entity/id/{entity}");
        let look = async || world.read_by(&token, "auth/token/lookup-self").await;
        assert!(look().await.is_ok());
        write(&world, &path, json!({"disabled": true})).await;
        let denied = (Code::PermissionDenied, "permission denied".to_owned());
        assert_eq!(refused(look().await), denied);
        assert_eq!(refused(log_in(&world, json!({"user": "ann"})).await), denied);
        write(&world, &path, json!({"disabled": false})).await;
        assert!(look().await.is_ok());
        // A token that is made with it is as it is.
        let input = call(Operation::Update, "auth/token/create", "{}", Some(&token));
        assert!(world.core.handle(input).await.is_err());
        world.delete(&path).await.unwrap();
        assert_eq!(refused(look().await), denied);
        let (_, again) = enter(&world, json!({"user": "ann"})).await;
        assert_ne!(again, entity);
    }
}

#[tokio::test]
async fn external_groups_follow_the_logins() {
    let (world, accessor) = world().await;
    policy(&world, "ext", r#"path "boxes/box/x" { capabilities = ["read"] }"#).await;
    world.write("boxes/box/x", r#"{"value":1}"#).await.unwrap();
    let group = json!({"name": "ext", "type": "external", "policies": "ext"});
    let group = id(&write(&world, "identity/group", group).await);
    let alias = json!({"name": "Staff", "mount_accessor": accessor, "canonical_id": group});
    write(&world, "identity/group-alias", alias).await;
    let (token, entity) = enter(&world, json!({"user": "ann", "groups": "staff,other"})).await;
    assert!(world.read_by(&token, "boxes/box/x").await.is_ok());
    let shown = world.read(&format!("identity/group/id/{group}")).await.unwrap();
    assert_eq!(shown["member_entity_ids"], json!([entity]));
    // An internal group is not touched by what the source says.
    let own = json!({"name": "own", "member_entity_ids": entity});
    let own = id(&write(&world, "identity/group", own).await);
    let auth = log_in(&world, json!({"user": "ann"})).await.unwrap().auth.unwrap();
    assert!(auth.identity_policies.is_empty());
    assert!(world.read_by(&token, "boxes/box/x").await.is_err());
    let shown = world.read(&format!("identity/entity/id/{entity}")).await.unwrap();
    assert_eq!(shown["group_ids"], json!([own]));
    let text = refusal(
        &world,
        &format!("identity/group/id/{group}"),
        json!({"member_entity_ids": [entity]}),
    )
    .await;
    assert_eq!(text, "member entities can't be set manually for external groups");
}

#[tokio::test]
async fn a_role_makes_tokens_for_an_alias_that_it_allows() {
    let (world, _) = world().await;
    let role = json!({"allowed_entity_aliases": "ci-*", "allowed_policies": "default"});
    write(&world, "auth/token/roles/ci", role).await;
    let make = async |alias: &str| {
        let input = json!({"entity_alias": alias}).to_string();
        world.write("auth/token/create/ci", &input).await.map(|answer| answer.auth.unwrap())
    };
    let first = make("ci-one").await.unwrap();
    assert_eq!(make("CI-ONE").await.unwrap().entity_id, first.entity_id);
    assert_ne!(make("ci-two").await.unwrap().entity_id, first.entity_id);
    assert!(refused(make("other").await).1.contains("invalid 'entity_alias' value"));
    let shown = world.read(&format!("identity/entity/id/{}", first.entity_id)).await.unwrap();
    assert_eq!(shown["aliases"][0]["mount_type"], "token");
    let counted = world.read("sys/internal/counters/entities").await.unwrap();
    assert_eq!(counted, json!({"counters": {"entities": {"total": 2}}}));
}

#[tokio::test]
async fn a_mount_takes_its_aliases_with_it() {
    let (world, accessor) = world().await;
    let (_, entity) = enter(&world, json!({"user": "ann"})).await;
    let group = json!({"name": "ext", "type": "external"});
    let group = id(&write(&world, "identity/group", group).await);
    let alias = json!({"name": "staff", "mount_accessor": accessor, "canonical_id": group});
    write(&world, "identity/group-alias", alias).await;
    world.delete("sys/auth/door").await.unwrap();
    let shown = world.read(&format!("identity/entity/id/{entity}")).await.unwrap();
    assert_eq!(shown["aliases"], json!([]));
    let shown = world.read("identity/group/name/ext").await.unwrap();
    assert_eq!(shown["alias"], json!({}));
    for list in ["identity/entity-alias/id/", "identity/group-alias/id/"] {
        assert_eq!(refused(world.list(list).await).0, Code::NotFound);
    }
}

#[tokio::test]
async fn entities_that_are_one_share_tokens_aliases_and_groups() {
    let (world, _) = world().await;
    world.write("sys/auth/gate", r#"{"type":"door"}"#).await.unwrap();
    policy(&world, "team", r#"path "boxes/box/x" { capabilities = ["read"] }"#).await;
    world.write("boxes/box/x", r#"{"value":1}"#).await.unwrap();
    let (token, part) = enter(&world, json!({"user": "ann"})).await;
    let input = r#"{"policy":"default","user":"ann2"}"#;
    let answer = world.core.handle(call(Operation::Update, "auth/gate/login", input, None)).await;
    let whole = answer.unwrap().auth.unwrap().entity_id;
    let team = json!({"name": "team", "policies": "team", "member_entity_ids": [whole]});
    write(&world, "identity/group", team).await;
    assert!(world.read_by(&token, "boxes/box/x").await.is_err());
    let input = json!({"from_entity_ids": [part], "to_entity_id": whole});
    write(&world, "identity/entity/merge", input).await;
    assert!(world.read_by(&token, "boxes/box/x").await.is_ok());
    assert_eq!(enter(&world, json!({"user": "ann"})).await.1, whole);
    let shown = world.read(&format!("identity/entity/id/{whole}")).await.unwrap();
    assert_eq!(shown["merged_entity_ids"], json!([part]));
    assert_eq!(shown["aliases"].as_array().unwrap().len(), 2);
    assert_eq!(refused(world.read(&format!("identity/entity/id/{part}")).await).0, Code::NotFound);
    // Two aliases at one mount: the operator says which one stays.
    let (_, third) = enter(&world, json!({"user": "annie"})).await;
    let input = json!({"from_entity_ids": third, "to_entity_id": whole});
    let text = refusal(&world, "identity/entity/merge", input).await;
    assert!(text.contains("conflicting_alias_ids_to_keep"), "{text}");
    let annie = world.read(&format!("identity/entity/id/{third}")).await.unwrap();
    let annie = annie["aliases"][0]["id"].clone();
    let input = json!({"from_entity_ids": third, "to_entity_id": whole,
        "conflicting_alias_ids_to_keep": annie});
    write(&world, "identity/entity/merge", input).await;
    assert_eq!(enter(&world, json!({"user": "annie"})).await.1, whole);
    assert_ne!(enter(&world, json!({"user": "ann"})).await.1, whole);
    world.delete(&format!("identity/entity/id/{whole}")).await.unwrap();
    assert!(world.read_by(&token, "auth/token/lookup-self").await.is_err());
}

#[tokio::test]
async fn names_that_users_chose_are_in_no_storage_key() {
    let (world, accessor) = world().await;
    enter(&world, json!({"user": "secretuser"})).await;
    write(&world, "identity/entity", json!({"name": "secretentity"})).await;
    let group = json!({"name": "secretgroup", "type": "external"});
    let group = id(&write(&world, "identity/group", group).await);
    let alias = json!({"name": "secretalias", "mount_accessor": accessor, "canonical_id": group});
    write(&world, "identity/group-alias", alias).await;
    use futures_util::StreamExt;
    let mut entries = world.backend.scan("", "");
    while let Some(entry) = entries.next().await {
        let (key, _) = entry.unwrap();
        assert!(!key.contains("secret"), "{key}");
    }
}

#[tokio::test]
async fn names_lead_to_one_and_can_be_given_away() {
    let (world, _) = world().await;
    let ann = id(&write(&world, "identity/entity", json!({"name": "Ann"})).await);
    let bob = id(&write(&world, "identity/entity", json!({"name": "bob"})).await);
    let shown = world.read("identity/entity/name/aNN").await.unwrap();
    assert_eq!((&shown["id"], &shown["name"]), (&json!(ann), &json!("Ann")));
    let path = format!("identity/entity/id/{bob}");
    assert_eq!(
        refusal(&world, &path, json!({"name": "ANN"})).await,
        "entity name is already in use"
    );
    write(&world, &path, json!({"name": "team/bob"})).await;
    assert_eq!(world.read("identity/entity/name/team/bob").await.unwrap()["id"], json!(bob));
    assert!(world.read("identity/entity/name/bob").await.is_err());
    write(&world, &format!("identity/entity/id/{ann}"), json!({"name": "bob"})).await;
    assert_eq!(world.read("identity/entity/name/bob").await.unwrap()["id"], json!(ann));
    assert_eq!(world.list("identity/entity/name/").await.unwrap(), json!(["bob", "team/bob"]));
    // An alias that moves is found under its new name only.
    let accessor = world.read("sys/auth/door").await.unwrap()["accessor"].clone();
    let input = json!({"name": "a", "mount_accessor": accessor, "canonical_id": ann});
    let alias = id(&write(&world, "identity/entity-alias", input.clone()).await);
    assert_eq!(write(&world, "identity/entity-alias", input).await, Value::Null);
    let input = json!({"name": "b", "canonical_id": bob});
    write(&world, &format!("identity/entity-alias/id/{alias}"), input).await;
    let found = async |name: &str| {
        let input = json!({"alias_name": name, "alias_mount_accessor": accessor});
        write(&world, "identity/lookup/entity", input).await["id"].clone()
    };
    assert_eq!((found("a").await, found("B").await), (Value::Null, json!(bob)));
    let input = json!({"entity_ids": [ann, bob]});
    write(&world, "identity/entity/batch-delete", input).await;
    assert_eq!(found("b").await, Value::Null);
}

#[tokio::test]
async fn a_group_is_in_no_circle_and_has_only_who_is_there() {
    let (world, _) = world().await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        let children: Vec<&String> = ids.last().into_iter().collect();
        let input = json!({"name": name, "member_group_ids": children});
        ids.push(id(&write(&world, "identity/group", input).await));
    }
    for (group, child, text) in [
        (&ids[0], ids[2].as_str(), "cyclic relationship detected for member group ID"),
        (&ids[0], &ids[0], "is same as the ID of the group"),
        (&ids[0], "nope", "invalid group ID"),
    ] {
        let path = format!("identity/group/id/{group}");
        let found = refusal(&world, &path, json!({"member_group_ids": [child]})).await;
        assert!(found.contains(text), "{found}");
        let found = refusal(&world, &path, json!({"member_entity_ids": ["nope"]})).await;
        assert!(found.contains("invalid entity ID \"nope\""), "{found}");
    }
    let path = format!("identity/group/id/{}", ids[0]);
    assert_eq!(
        refusal(&world, &path, json!({"type": "external"})).await,
        "group type cannot be changed"
    );
    assert_eq!(refusal(&world, &path, json!({"name": "B"})).await, "group name is already in use");
}

/// What a namespace of groups comes to, computed without storage.
#[derive(Debug, Default)]
struct Model {
    members: BTreeMap<usize, BTreeSet<usize>>,
    children: BTreeMap<usize, BTreeSet<usize>>,
}

impl Model {
    /// Everyone in a group, however deep.
    fn all(&self, group: usize) -> BTreeSet<usize> {
        let mut all = self.members.get(&group).cloned().unwrap_or_default();
        for child in self.children.get(&group).into_iter().flatten() {
            all.extend(self.all(*child));
        }
        all
    }
}

const ENTITIES: usize = 3;
const GROUPS: usize = 4;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn an_entity_has_the_policies_of_all_groups_above_it(
        changes in prop::collection::vec(
            (0..GROUPS, btree_set(0..ENTITIES, 0..ENTITIES), btree_set(0..GROUPS, 0..GROUPS)),
            1..8,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (world, _) = world().await;
            let mut entities = Vec::new();
            for number in 0..ENTITIES {
                entities.push(enter(&world, json!({"user": format!("u{number}")})).await);
            }
            let mut groups = Vec::new();
            for number in 0..GROUPS {
                let input = json!({"name": format!("g{number}"), "policies": format!("p{number}")});
                groups.push(id(&write(&world, "identity/group", input).await));
            }
            let mut model = Model::default();
            for (group, members, children) in changes {
                // Children have higher numbers: no circles.
                let children: BTreeSet<usize> =
                    children.into_iter().filter(|child| *child > group).collect();
                let input = json!({
                    "member_entity_ids": members.iter().map(|n| &entities[*n].1).collect::<Vec<_>>(),
                    "member_group_ids": children.iter().map(|n| &groups[*n]).collect::<Vec<_>>(),
                });
                write(&world, &format!("identity/group/id/{}", groups[group]), input).await;
                model.members.insert(group, members);
                model.children.insert(group, children);
                for (number, (token, _)) in entities.iter().enumerate() {
                    let expected: Vec<String> = (0..GROUPS)
                        .filter(|group| model.all(*group).contains(&number))
                        .map(|group| format!("p{group}"))
                        .collect();
                    let shown = world.read_by(token, "auth/token/lookup-self").await.unwrap();
                    let found = shown.get("identity_policies").cloned().unwrap_or(json!([]));
                    assert_eq!(found, json!(expected), "{model:?}");
                }
            }
        });
    }
}

#[tokio::test]
async fn a_denial_of_a_name_holds_for_all_its_spellings() {
    let (world, _) = world().await;
    for path in ["identity/entity/name/Ann", "identity/group/name/ann", "sys/policies/acl/ann"] {
        let input =
            if path.starts_with("sys/") { json!({"policy": "path \"x\" {}"}) } else { json!({}) };
        write(&world, path, input).await;
        let (folder, name) = path.rsplit_once('/').unwrap();
        let rules = format!(
            r#"path "{folder}/*" {{ capabilities = ["read", "delete"] }}
               path "{folder}/{name}" {{ capabilities = ["deny"] }}"#
        );
        let token = world.token_with(&rules).await;
        for spelled in ["ann", "Ann", "ANN"] {
            for operation in [Operation::Read, Operation::Delete] {
                let call = call(operation, &format!("{folder}/{spelled}"), "{}", Some(&token));
                assert_eq!(refused(world.core.handle(call).await).1, DENIED, "{path} {spelled}");
            }
        }
        world.read(&format!("{folder}/ANN")).await.unwrap();
    }
}
