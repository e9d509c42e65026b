//! OpenAPI, made from declared paths.
//!
//! The inputs' schemas are JSON Schema of a later draft than OpenAPI 3.0 knows; they are translated
//! here, references resolved, so that generators of clients can read them.

use crate::{
    Path,
    path::{Endpoint, Operation, Part},
};
use schemars::Schema;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How deep schemas are followed: none that is not recursive comes near.
const SCHEMA_DEPTH_MAX: usize = 16;
/// Mounts that are always where they are.
const FIXED_MOUNTS: [&str; 4] = ["sys/", "identity/", "cubbyhole/", "auth/token/"];

/// The OpenAPI 3.0 document of these mounts: each one's path with a final `/`, and what it serves.
/// With `generic`, the place of a mount that can move is a parameter of the path.
pub fn document(version: &str, mounts: &[(String, Vec<Path>)], generic: bool) -> Value {
    let mut document = Document::default();
    for (mount, paths) in mounts {
        let prefix = Prefix::new(mount, generic);
        for path in paths.iter().filter(|path| !path.hidden) {
            document.add(&prefix, path);
        }
    }
    document.schemas.insert("ErrorResponse".to_owned(), error_schema());
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "bailee API",
            "description": "The API of a bailee server: its system paths and its mounted engines.",
            "version": version,
            "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
        },
        "paths": document.paths,
        "components": { "schemas": document.schemas },
    })
}

/// A field that some operation of a path takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type in words.
    pub kind: String,
    /// What it means; empty when the input's type does not say.
    pub description: String,
}

/// All fields of a path's operations, by name.
pub fn fields(path: &Path) -> Vec<Field> {
    let mut found = BTreeMap::new();
    for endpoint in path.endpoints.values() {
        for (name, schema) in properties(endpoint) {
            let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
            let kind = match (text("format"), text("type")) {
                ("duration", _) => "duration",
                (_, "") => "any",
                (_, kind) => kind,
            };
            let (kind, description) = (kind.to_owned(), text("description").to_owned());
            found.entry(name.clone()).or_insert(Field { name, kind, description });
        }
    }
    found.into_values().collect()
}

/// Where a mount's paths begin, in the three forms the document needs.
struct Prefix {
    /// Such as `/secret/` or `/{secret_mount_path}/`.
    path: String,
    /// Such as `secret`, first part of operation ids.
    id: String,
    tag: &'static str,
    parameter: Option<Value>,
}

impl Prefix {
    fn new(mount: &str, generic: bool) -> Prefix {
        let id = slug(mount);
        let tag = match mount.split('/').next().unwrap_or_default() {
            "sys" => "system",
            "auth" => "auth",
            "identity" => "identity",
            _ => "secrets",
        };
        if !generic || FIXED_MOUNTS.contains(&mount) {
            return Prefix { path: format!("/{mount}"), id, tag, parameter: None };
        }
        let place = mount.trim_end_matches('/');
        let (auth, place) = match place.strip_prefix("auth/") {
            Some(place) => ("auth/", place),
            None => ("", place),
        };
        let name = format!("{}_mount_path", slug(place).replace('-', "_"));
        let parameter = json!({
            "name": name,
            "in": "path",
            "required": true,
            "description": "Where the engine is mounted.",
            "schema": { "type": "string", "default": place },
        });
        Prefix { path: format!("/{auth}{{{name}}}/"), id, tag, parameter: Some(parameter) }
    }
}

/// A pattern as OpenAPI writes it: with or without its optional rest.
struct Template {
    path: String,
    captures: Vec<&'static str>,
    id: String,
}

impl Template {
    fn new(path: &Path, with_rest: bool) -> Template {
        let mut segments = Vec::new();
        let mut captures = Vec::new();
        let mut words = Vec::new();
        for part in &path.parts {
            match part {
                Part::Literal(text) => {
                    segments.push((*text).to_owned());
                    words.push(slug(text));
                }
                Part::Rest { optional: true, .. } if !with_rest => {}
                Part::Segment(name) | Part::Rest { name, .. } => {
                    segments.push(format!("{{{name}}}"));
                    captures.push(*name);
                    words.push(slug(name));
                }
            }
        }
        words.retain(|word| !word.is_empty());
        Template { path: segments.join("/"), captures, id: words.join("-") }
    }
}

#[derive(Default)]
struct Document {
    paths: Map<String, Value>,
    schemas: Map<String, Value>,
    ids: BTreeSet<String>,
}

impl Document {
    fn add(&mut self, prefix: &Prefix, path: &Path) {
        let full = Template::new(path, true);
        for (operation, endpoint) in &path.endpoints {
            match operation {
                // Create is never declared; listing has the form of a folder.
                Operation::Create => {}
                // OpenAPI has no such method, and GET of a folder is its list.
                Operation::Scan => {}
                Operation::List => {
                    let short = Template::new(path, false);
                    if short.path != full.path {
                        self.add_operation(prefix, path, &short, *operation, endpoint);
                    }
                    self.add_operation(prefix, path, &full, *operation, endpoint);
                }
                Operation::Read | Operation::Update | Operation::Patch | Operation::Delete => {
                    self.add_operation(prefix, path, &full, *operation, endpoint);
                }
            }
        }
    }

    fn add_operation(
        &mut self,
        prefix: &Prefix,
        path: &Path,
        template: &Template,
        operation: Operation,
        endpoint: &Endpoint,
    ) {
        let (method, verb) = match operation {
            Operation::Read => ("get", "read"),
            Operation::List | Operation::Scan => ("get", "list"),
            Operation::Create | Operation::Update => ("post", "write"),
            Operation::Patch => ("patch", "patch"),
            Operation::Delete => ("delete", "delete"),
        };
        let id = self.unique_id(&format!("{}-{verb}-{}", prefix.id, template.id));
        let mut place = format!("{}{}", prefix.path, template.path);
        if operation.is_listing() && !place.ends_with('/') {
            place.push('/');
        }
        let described = self.described(operation, endpoint, template, &id, prefix.tag);
        let item = self.paths.entry(place).or_insert_with(|| path_item(prefix, path, template));
        if let Some(item) = item.as_object_mut() {
            item.insert(method.to_owned(), described);
        }
    }

    fn described(
        &mut self,
        operation: Operation,
        endpoint: &Endpoint,
        template: &Template,
        id: &str,
        tag: &str,
    ) -> Value {
        let mut described = json!({
            "summary": endpoint.summary,
            "operationId": id,
            "tags": [tag],
            "responses": responses(operation),
        });
        let mut schema = object_schema(endpoint);
        remove_fields(&mut schema, &template.captures);
        let has_fields = schema
            .get("properties")
            .and_then(Value::as_object)
            .is_some_and(|p| !p.is_empty())
            || schema.get("additionalProperties").is_some_and(|allowed| *allowed != json!(false));
        match operation {
            Operation::Create | Operation::Update | Operation::Patch if has_fields => {
                let name = format!("{}Request", pascal(id));
                let media = match operation {
                    Operation::Patch => "application/merge-patch+json",
                    _ => "application/json",
                };
                let reference = json!({ "$ref": format!("#/components/schemas/{name}") });
                self.schemas.insert(name, schema);
                let content = json!({ "content": { media: { "schema": reference } } });
                set(&mut described, "requestBody", content);
            }
            Operation::Create | Operation::Update | Operation::Patch => {}
            Operation::Read | Operation::Delete | Operation::List | Operation::Scan => {
                let parameters = query_parameters(operation, &schema);
                if !parameters.is_empty() {
                    set(&mut described, "parameters", Value::Array(parameters));
                }
            }
        }
        described
    }

    fn unique_id(&mut self, wanted: &str) -> String {
        let wanted = wanted.trim_end_matches('-');
        let mut id = wanted.to_owned();
        let mut number = 2;
        while !self.ids.insert(id.clone()) {
            id = format!("{wanted}-{number}");
            number += 1;
        }
        id
    }
}

fn path_item(prefix: &Prefix, path: &Path, template: &Template) -> Value {
    let described = fields(path);
    let mut parameters: Vec<Value> = prefix.parameter.iter().cloned().collect();
    for name in &template.captures {
        let description = described
            .iter()
            .find(|field| field.name == *name)
            .map(|field| field.description.as_str())
            .unwrap_or_default();
        parameters.push(json!({
            "name": name,
            "in": "path",
            "required": true,
            "description": description,
            "schema": { "type": "string" },
        }));
    }
    let mut item = Map::new();
    if !parameters.is_empty() {
        item.insert("parameters".to_owned(), Value::Array(parameters));
    }
    for (holds, name) in [
        (path.sudo, "x-vault-sudo"),
        (path.unauthenticated, "x-vault-unauthenticated"),
        (path.tells_existence(), "x-vault-createSupported"),
    ] {
        if holds {
            item.insert(name.to_owned(), Value::Bool(true));
        }
    }
    Value::Object(item)
}

fn query_parameters(operation: Operation, schema: &Value) -> Vec<Value> {
    let mut parameters = Vec::new();
    if operation.is_listing() {
        parameters.push(json!({
            "name": "list",
            "in": "query",
            "required": true,
            "description": "Must be `true`.",
            "schema": { "type": "string", "enum": ["true"] },
        }));
    }
    let required = schema.get("required").and_then(Value::as_array);
    for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let mut field = field.clone();
        let description = field.as_object_mut().and_then(|field| field.remove("description"));
        let mut parameter = json!({ "name": name, "in": "query", "schema": field });
        if let Some(description) = description {
            set(&mut parameter, "description", description);
        }
        if required.is_some_and(|required| required.iter().any(|field| field == name)) {
            set(&mut parameter, "required", Value::Bool(true));
        }
        parameters.push(parameter);
    }
    parameters
}

fn responses(operation: Operation) -> Value {
    let error = json!({
        "description": "It failed; the errors tell why.",
        "content": {
            "application/json": { "schema": { "$ref": "#/components/schemas/ErrorResponse" } },
        },
    });
    let mut responses = json!({ "200": { "description": "OK" }, "default": error });
    match operation {
        Operation::Create | Operation::Update | Operation::Patch | Operation::Delete => {
            set(&mut responses, "204", json!({ "description": "Done, nothing to say" }));
        }
        Operation::Read | Operation::List | Operation::Scan => {}
    }
    responses
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "required": ["errors"],
        "properties": { "errors": { "type": "array", "items": { "type": "string" } } },
    })
}

fn object_schema(endpoint: &Endpoint) -> Value {
    let mut schema = translated(&endpoint.input);
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("description");
        schema.insert("type".to_owned(), "object".into());
    }
    schema
}

fn properties(endpoint: &Endpoint) -> Map<String, Value> {
    match translated(&endpoint.input).get_mut("properties").map(Value::take) {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    }
}

fn remove_fields(schema: &mut Value, names: &[&str]) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|name, _| !names.contains(&name.as_str()));
    }
    let Some(schema) = schema.as_object_mut() else { return };
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name.as_str().is_some_and(|name| !names.contains(&name)));
        if required.is_empty() {
            schema.remove("required");
        }
    }
}

/// JSON Schema as OpenAPI 3.0 knows it.
fn translated(schema: &Schema) -> Value {
    let root = schema.as_value();
    let definitions = root.get("$defs").and_then(Value::as_object);
    translate(root, definitions, SCHEMA_DEPTH_MAX)
}

fn translate(schema: &Value, definitions: Option<&Map<String, Value>>, depth: usize) -> Value {
    let (Some(schema), Some(depth)) = (schema.as_object(), depth.checked_sub(1)) else {
        return json!({}); // anything
    };
    let mut known = Map::new();
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let name = name.trim_start_matches("#/$defs/");
        let target = definitions.and_then(|definitions| definitions.get(name));
        if let Value::Object(target) = translate(target.unwrap_or(&json!({})), definitions, depth) {
            known = target;
        }
    }
    for (key, value) in schema {
        match key.as_str() {
            "type" => translate_type(value, &mut known),
            "const" => {
                known.insert("enum".to_owned(), json!([value]));
            }
            "items" => {
                known.insert(key.clone(), translate(value, definitions, depth));
            }
            "additionalProperties" => {
                let value = if value.is_object() {
                    translate(value, definitions, depth)
                } else {
                    value.clone()
                };
                known.insert(key.clone(), value);
            }
            "properties" => {
                let fields = value.as_object().into_iter().flatten();
                let fields: Map<_, _> = fields
                    .map(|(name, field)| (name.clone(), translate(field, definitions, depth)))
                    .collect();
                known.insert(key.clone(), Value::Object(fields));
            }
            "anyOf" | "oneOf" | "allOf" => {
                translate_choice(key, value, definitions, depth, &mut known);
            }
            "default" if !value.is_null() => {
                known.insert(key.clone(), value.clone());
            }
            "description" => {
                let text = value.as_str().unwrap_or_default().replace('\n', " ");
                known.insert(key.clone(), text.into());
            }
            "format" | "enum" | "required" | "minimum" | "maximum" | "minLength" | "maxLength"
            | "pattern" | "minItems" | "maxItems" | "uniqueItems" => {
                known.insert(key.clone(), value.clone());
            }
            // Of no use to clients, or unknown to OpenAPI 3.0.
            _ => {}
        }
    }
    Value::Object(known)
}

/// Several types become the first; `null` among them becomes `nullable`.
fn translate_type(value: &Value, known: &mut Map<String, Value>) {
    let types: Vec<&str> = match value {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().into_iter().collect(),
    };
    if types.contains(&"null") {
        known.insert("nullable".to_owned(), Value::Bool(true));
    }
    if let Some(first) = types.iter().find(|name| **name != "null") {
        known.insert("type".to_owned(), (*first).into());
    }
}

fn translate_choice(
    key: &str,
    value: &Value,
    definitions: Option<&Map<String, Value>>,
    depth: usize,
    known: &mut Map<String, Value>,
) {
    let choices = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_null = |choice: &&Value| choice.get("type").is_some_and(|kind| kind == "null");
    if choices.iter().any(|choice| is_null(&choice)) {
        known.insert("nullable".to_owned(), Value::Bool(true));
    }
    let mut choices: Vec<Value> = choices
        .iter()
        .filter(|choice| !is_null(choice))
        .map(|choice| translate(choice, definitions, depth))
        .collect();
    match (choices.len(), choices.pop()) {
        (1, Some(Value::Object(only))) => {
            for (key, value) in only {
                known.entry(key).or_insert(value);
            }
        }
        (_, Some(last)) => {
            choices.push(last);
            known.insert(key.to_owned(), Value::Array(choices));
        }
        (_, None) => {}
    }
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// Letters and digits, joined by `-`.
fn slug(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    words.join("-").to_ascii_lowercase()
}

fn pascal(id: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    id.split('-').map(capital).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Engine, Error, Reply, Request,
        field::{CommaList, Flag, Ttl},
    };
    use schemars::{JsonSchema, schema_for};
    use serde::Deserialize;
    use std::sync::Arc;

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Input {
        /// Name of the
        /// role.
        name: String,
        /// How long.
        ttl: Option<Ttl>,
        /// Which kind.
        kind: Option<Kind>,
        /// Parts.
        parts: Vec<Part>,
        /// Names.
        names: CommaList,
        #[serde(default)]
        count: u32,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        First,
        Second,
    }

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Part {
        /// Whether it is on.
        on: Flag,
    }

    struct Roles;

    impl Engine for Roles {
        fn paths(self: Arc<Roles>) -> Vec<Path> {
            async fn done(_: Arc<Roles>, _: Request<Input>) -> Result<Reply, Error> {
                Ok(Reply::empty())
            }
            vec![
                Path::new("roles/{name}").sudo().on(Operation::Read, &self, "Read", done).on(
                    Operation::Update,
                    &self,
                    "Write",
                    done,
                ),
                Path::new("roles").unauthenticated().on(Operation::List, &self, "List", done),
                Path::new("{rest...?}").hidden().on(Operation::Read, &self, "Explain", done),
            ]
        }
    }

    #[test]
    fn schemas_are_translated_to_what_openapi_3_0_knows() {
        let schema = translated(&schema_for!(Input));
        let mut properties = schema["properties"].clone();
        assert_eq!(
            properties["name"],
            json!({ "type": "string", "description": "Name of the role." })
        );
        assert_eq!(properties["ttl"]["nullable"], true);
        assert_eq!(properties["ttl"]["type"], "string");
        assert_eq!(properties["kind"]["enum"], json!(["first", "second"]));
        assert_eq!(properties["kind"]["nullable"], true);
        let on = json!({ "type": "boolean", "description": "Whether it is on." });
        assert_eq!(properties["parts"]["items"]["properties"]["on"], on);
        assert_eq!(properties["names"]["items"]["type"], "string");
        assert_eq!(properties["count"].take()["default"], 0);
        assert!(!schema.to_string().contains("$ref"));
    }

    #[test]
    fn marks_captures_and_lists_are_told() {
        let mounts = [("auth/roles/".to_owned(), Arc::new(Roles).paths())];
        let document = document("1.2.3", &mounts, false);
        assert_eq!(document["info"]["version"], "1.2.3");
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(
            paths.keys().collect::<Vec<_>>(),
            ["/auth/roles/roles/", "/auth/roles/roles/{name}"]
        );
        let role = &paths["/auth/roles/roles/{name}"];
        assert_eq!(role["x-vault-sudo"], true);
        assert_eq!(role["get"]["tags"], json!(["auth"]));
        assert_eq!(role["get"]["operationId"], "auth-roles-read-roles-name");
        assert_eq!(role["parameters"][0]["description"], "Name of the role.");
        let body = &document["components"]["schemas"]["AuthRolesWriteRolesNameRequest"];
        assert_eq!(body["required"], json!(["parts", "names"]));
        assert!(body["properties"].get("name").is_none());
        let list = &paths["/auth/roles/roles/"];
        assert_eq!(list["x-vault-unauthenticated"], true);
        let parameters = list["get"]["parameters"].as_array().unwrap();
        assert_eq!(parameters[0]["name"], "list");
        assert!(
            parameters.iter().any(|field| field["name"] == "names" && field["required"] == true)
        );
    }

    #[test]
    fn operation_ids_are_never_given_twice() {
        let mounts = [
            ("a-b/".to_owned(), Arc::new(Roles).paths()),
            ("a/b/".to_owned(), Arc::new(Roles).paths()),
        ];
        let document = document("", &mounts, false);
        let id = |place: &str| document["paths"][place]["get"]["operationId"].clone();
        assert_eq!(id("/a-b/roles/"), "a-b-list-roles");
        assert_eq!(id("/a/b/roles/"), "a-b-list-roles-2");
    }
}
