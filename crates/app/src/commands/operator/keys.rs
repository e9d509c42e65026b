//! `operator key-status`, `operator rotate`: the key that encrypts what is stored.

use crate::{
    arguments,
    context::Context,
    failure::Failure,
    output::{Order, cell},
};
use bailee_client::{Method, Outgoing};
use clap::Args;
use serde_json::Value;

/// Shows since when the newest encryption key is in use, and how often it was used.
#[derive(Args, Debug)]
pub(crate) struct KeyStatus {
    #[arg(value_name = "")]
    rest: Vec<String>,
}

/// Makes a new encryption key for what is written from now on.
#[derive(Args, Debug)]
pub(crate) struct Rotate {
    #[arg(value_name = "")]
    rest: Vec<String>,
}

impl KeyStatus {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        show(context).await
    }
}

impl Rotate {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let [] = arguments::exactly::<0>(&self.rest)?;
        context.send("Error rotating key", Outgoing::new(Method::Put, "sys/rotate")).await?;
        if context.output.is_table() {
            context.output.line("Success! Rotated key\n")?;
        }
        show(context).await
    }
}

async fn show(context: &mut Context) -> Result<(), Failure> {
    let outgoing = Outgoing::new(Method::Get, "sys/key-status");
    let found = context.send("Error reading key status", outgoing).await?;
    let data = found.data().cloned().unwrap_or_default();
    if !context.output.is_table() {
        const ORDER: Order = Order { first: &["term", "install_time", "encryptions"], inside: &[] };
        return context.output.document(&Value::Object(data), &ORDER);
    }
    let text = |name: &str| cell(name, data.get(name).unwrap_or(&Value::Null));
    context.output.line(&format!("Key Term            {}", text("term")))?;
    context.output.line(&format!("Install Time        {}", text("install_time")))?;
    context.output.line(&format!("Encryption Count    {}", text("encryptions")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::testing, output::Format};
    use serde_json::json;

    #[tokio::test]
    async fn a_rotation_shows_the_new_key() {
        let status = json!({"data": {"term": 2, "install_time": "t", "encryptions": 7}});
        let answers = vec![(204, Value::Null), (200, status)];
        let (mut context, out, _, asked) = testing::context(Format::Table, answers).await;
        Rotate { rest: Vec::new() }.run(&mut context).await.unwrap();
        assert_eq!(asked.text(), "PUT /v1/sys/rotate\nGET /v1/sys/key-status\n");
        let expected = "Success! Rotated key\n\nKey Term            2\n\
            Install Time        t\nEncryption Count    7\n";
        assert_eq!(out.text(), expected);
    }
}
