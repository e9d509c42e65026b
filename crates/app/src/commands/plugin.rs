//! `plugin`: which engines and auth methods the server knows.

use crate::{
    arguments,
    context::Context,
    failure::Failure,
    output::{Order, Table},
};
use bailee_client::{Method, Outgoing};
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

/// Shows the engines and auth methods that the server knows. All of them are built in.
#[derive(Subcommand, Debug)]
pub(crate) enum Plugin {
    List(List),
    Info(Info),
}

/// Lists what the server knows; of one type, when one is given: auth, database or secret.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Show whether they are still supported.
    #[arg(long)]
    detailed: bool,
    #[arg(value_name = "TYPE")]
    arguments: Vec<String>,
}

/// Shows one of them.
#[derive(Args, Debug)]
pub(crate) struct Info {
    /// The version, where there are several.
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Show this field only.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    #[arg(value_name = "TYPE NAME")]
    arguments: Vec<String>,
}

impl Plugin {
    /// Runs the command.
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Plugin::List(arguments) => arguments.run(context).await,
            Plugin::Info(arguments) => arguments.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let kind = arguments::optional(&self.arguments)?.map(String::as_str);
        let outgoing = Outgoing::new(Method::Get, "sys/plugins/catalog");
        let found = context.send("Error listing available plugins", outgoing).await?;
        let mut data = found.data().cloned().unwrap_or_default();
        let details = data.remove("detailed").unwrap_or_default();
        let text = |one: &Value, name: &str| {
            one.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let wanted = |one: &&Value| kind.is_none_or(|kind| text(one, "type") == kind);
        let details: Vec<&Value> =
            details.as_array().into_iter().flatten().filter(wanted).collect();
        if !context.output.is_table() {
            let mut shown: Map<String, Value> =
                data.into_iter().filter(|(name, _)| kind.is_none_or(|kind| name == kind)).collect();
            if self.detailed {
                shown.insert("details".to_owned(), details.into_iter().cloned().collect());
            }
            return context.output.document(&Value::Object(shown), &Order::SORTED);
        }
        let columns = ["name", "type", "version", "deprecation_status"];
        let head = ["Name", "Type", "Version", "Deprecation Status"];
        let count = if self.detailed { 4 } else { 3 };
        let mut table = Table::new(head.get(..count).unwrap_or(&head));
        for one in details {
            table.row(columns.iter().take(count).map(|name| text(one, name)));
        }
        context.output.table(&table)
    }
}

impl Info {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [kind, name] = arguments::exactly(&self.arguments)?;
        let mut outgoing = Outgoing::new(Method::Get, format!("sys/plugins/catalog/{kind}/{name}"));
        if let Some(version) = self.version {
            outgoing = outgoing.query("version", version);
        }
        let mut found = context.send("Error reading plugin", outgoing).await?;
        found.fill("args", Value::Array(Vec::new()));
        context.output.secret(&found, self.field.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};
    use serde_json::json;

    #[tokio::test]
    async fn the_catalog_is_a_table_of_one_type_where_one_is_given() {
        let one = |name: &str, kind: &str| json!({"name": name, "type": kind, "version": "v1"});
        let detailed = json!([one("userpass", "auth"), one("kv", "secret")]);
        let catalog =
            json!({"data": {"auth": ["userpass"], "secret": ["kv"], "detailed": detailed}});
        let (mut context, out, ..) =
            testing::context(Format::Table, vec![(200, catalog.clone())]).await;
        let list = || List { detailed: false, arguments: vec!["secret".to_owned()] };
        list().run(&mut context).await.unwrap();
        assert_eq!(
            out.text(),
            "Name    Type      Version\n----    ----      -------\nkv      secret    v1\n"
        );
        let (mut context, out, ..) = testing::context(Format::Json, vec![(200, catalog)]).await;
        list().run(&mut context).await.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&out.text()).unwrap(), json!({"secret": ["kv"]}));
    }
}
