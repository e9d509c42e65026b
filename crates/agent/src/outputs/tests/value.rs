use crate::{
    connection::{Connection, Property},
    outputs::value::Value,
};
use std::collections::BTreeMap;

fn connections() -> BTreeMap<String, Connection> {
    let connection = |name: &str| {
        let properties = [("host".to_owned(), Property::Plain(name.to_owned()))];
        (name.to_owned(), Connection { name: name.to_owned(), properties: properties.into() })
    };
    [connection("db"), connection("db.eu")].into()
}

fn refused(text: &str, manager: Option<&str>) -> String {
    Value::parse(text, &connections(), manager).unwrap_err().to_string()
}

#[test]
fn values_name_properties_of_connections_and_keys_of_secrets() {
    let read = |text: &str| Value::parse(text, &connections(), Some("m")).unwrap();
    assert!(read("connection.db.host").reference().is_none());
    // The longest name that fits is the connection's.
    assert_ne!(read("connection.db.host"), read("connection.db.eu.host"));
    let value = read("prod/api#key");
    let reference = value.reference().unwrap();
    assert_eq!((reference.wanted.id.as_str(), reference.key.as_deref()), ("prod/api", Some("key")));
    assert_eq!(read("prod/api").reference().unwrap().key, None);
}

#[test]
fn what_names_nothing_is_refused_with_what_there_is() {
    assert_eq!(
        refused("connection.nope.host", Some("m")),
        "connection.nope.host: no such connection; there are db, db.eu"
    );
    assert_eq!(
        refused("connection.db.port", Some("m")),
        "connection \"db\" has no property \"port\"; it has host"
    );
    assert!(refused("#key", Some("m")).contains("names no secret"));
    assert!(refused("prod/api#", Some("m")).contains("names no secret"));
    assert!(refused("prod/api#key", None).contains("set manager"));
}
