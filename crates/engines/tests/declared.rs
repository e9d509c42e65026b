//! What is made from the declared paths of all engines: words, help, OpenAPI.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use bailee_engines::aws::Surroundings;
use bailee_sdk::{
    EngineKind, Path, help, openapi,
    testing::{EngineHarness, undescribed},
};
use serde_json::Value;
use std::collections::BTreeSet;

async fn kv_paths() -> Vec<Path> {
    let kind = bailee_engines::secret::kv::kind();
    EngineHarness::mount(&kind, &[("version", "2")]).await.paths().to_vec()
}

async fn paths(kind: EngineKind) -> Vec<Path> {
    EngineHarness::mount(&kind, &[]).await.paths().to_vec()
}

async fn paths_of_all_kinds() -> Vec<Path> {
    let mut all = kv_paths().await;
    for kind in bailee_engines::all(&Surroundings::default()) {
        all.extend(paths(kind).await);
    }
    all
}

/// Compares with the golden file; on a difference the new text is left where the answer says.
fn differs(name: &str, text: &str) -> Option<String> {
    let golden = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::fs::read_to_string(&golden).unwrap_or_default() == text {
        return None;
    }
    let new = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&new, text).unwrap();
    Some(format!("{golden} differs; when the change is meant: cp {new} {golden}"))
}

#[tokio::test]
async fn every_operation_has_a_summary_and_every_field_a_description() {
    assert_eq!(undescribed(&paths_of_all_kinds().await), Vec::<String>::new());
}

fn check_goldens(name: &str, mount: &str, paths: Vec<Path>) {
    let mut help = help::of_engine(&paths);
    for path in paths.iter().filter(|path| !path.hidden) {
        help.push_str(&format!("\n----\n{}", help::of_path(path)));
    }
    let document = openapi::document("0.0.0", &[(mount.to_owned(), paths)], false);
    let document = format!("{}\n", serde_json::to_string_pretty(&document).unwrap());
    let differences = [
        differs(&format!("{name}-help.txt"), &help),
        differs(&format!("{name}-openapi.json"), &document),
    ];
    assert_eq!(differences.into_iter().flatten().collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test]
async fn help_and_openapi_document_of_kv_are_the_golden_ones() {
    check_goldens("kv", "secret/", kv_paths().await);
}

#[tokio::test]
async fn help_and_openapi_document_of_kv_version_1_are_the_golden_ones() {
    check_goldens("kv-v1", "kv/", paths(bailee_engines::secret::kv::kind()).await);
}

#[tokio::test]
async fn help_and_openapi_document_of_approle_are_the_golden_ones() {
    check_goldens("approle", "auth/approle/", paths(bailee_engines::auth::approle::kind()).await);
}

#[tokio::test]
async fn help_and_openapi_document_of_userpass_are_the_golden_ones() {
    check_goldens(
        "userpass",
        "auth/userpass/",
        paths(bailee_engines::auth::userpass::kind()).await,
    );
}

#[tokio::test]
async fn generic_documents_name_the_mount_as_a_parameter() {
    let mounts = [
        ("team/kv/".to_owned(), kv_paths().await),
        ("auth/token/".to_owned(), vec![]),
        ("cubbyhole/".to_owned(), kv_paths().await),
    ];
    let document = openapi::document("0.0.0", &mounts, true);
    let item = &document["paths"]["/{team_kv_mount_path}/data/{path}"];
    assert_eq!(item["parameters"][0]["name"], "team_kv_mount_path");
    assert_eq!(item["parameters"][0]["schema"]["default"], "team/kv");
    assert_eq!(item["x-vault-createSupported"], true);
    assert!(document["paths"]["/cubbyhole/data/{path}"].is_object());
}

#[tokio::test]
async fn the_document_keeps_the_rules_of_openapi_3_0() {
    let mounts =
        [("secret/".to_owned(), kv_paths().await), ("secret-2/".to_owned(), kv_paths().await)];
    for generic in [false, true] {
        let document = openapi::document("0.0.0", &mounts, generic);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let mut ids = BTreeSet::new();
        for (place, item) in document["paths"].as_object().unwrap() {
            assert!(place.starts_with('/'));
            let named: BTreeSet<&str> = place
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
                .collect();
            let empty = Vec::new();
            let declared: BTreeSet<&str> = item["parameters"]
                .as_array()
                .unwrap_or(&empty)
                .iter()
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(named, declared, "{place}");
            for method in ["get", "post", "patch", "delete"] {
                if let Some(operation) = item.get(method) {
                    assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()));
                    assert!(operation["responses"]["200"].is_object());
                    check_references(operation, schemas);
                }
            }
        }
        assert!(ids.len() >= 28, "{ids:?}");
        check_types(&document["components"]);
    }
}

fn check_references(value: &Value, schemas: &serde_json::Map<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == "$ref" {
                    let target = value.as_str().unwrap().strip_prefix("#/components/schemas/");
                    assert!(schemas.contains_key(target.unwrap()), "{value}");
                }
                check_references(value, schemas);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| check_references(item, schemas)),
        _ => {}
    }
}

/// OpenAPI 3.0 knows one type a schema, and no null.
fn check_types(value: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(kind) = fields.get("type").filter(|kind| !kind.is_object()) {
                let known = ["object", "array", "string", "integer", "number", "boolean"];
                assert!(known.contains(&kind.as_str().unwrap()), "{kind}");
            }
            fields.values().for_each(check_types);
        }
        Value::Array(items) => items.iter().for_each(check_types),
        _ => {}
    }
}

#[tokio::test]
async fn names_that_are_kept_in_lower_case_are_declared_so() {
    for kind in [bailee_engines::auth::userpass::kind(), bailee_engines::auth::approle::kind()] {
        for path in paths(kind).await {
            let named =
                ["{username}", "{role_name}"].iter().any(|name| path.pattern.contains(name));
            assert!(path.ignores_case || path.unauthenticated || !named, "{}", path.pattern);
        }
    }
}
