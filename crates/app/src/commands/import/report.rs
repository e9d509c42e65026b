//! What a copy came to, by name.

use crate::{
    context::Context,
    failure::Failure,
    output::{Order, Table},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Kinds of what is copied, as the report names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Policy,
    Engine,
    Secret,
    Login,
    Role,
}

impl Kind {
    fn plural(self) -> &'static str {
        match self {
            Kind::Policy => "policies",
            Kind::Engine => "secrets engines",
            Kind::Secret => "secrets",
            Kind::Login => "auth methods",
            Kind::Role => "roles and users",
        }
    }
}

/// What a copy came to.
#[derive(Debug, Default)]
pub(super) struct Report {
    copied: BTreeMap<Kind, u64>,
    there: BTreeMap<Kind, u64>,
    versions: u64,
    /// Is here and differs.
    left: Vec<(String, String)>,
    failed: Vec<(String, String)>,
    /// Cannot be copied by anybody.
    notes: Vec<(String, String)>,
}

impl Report {
    pub(super) fn copied(&mut self, kind: Kind) {
        *self.copied.entry(kind).or_default() += 1;
    }

    pub(super) fn versions(&mut self, count: u64) {
        self.versions += count;
    }

    pub(super) fn there(&mut self, kind: Kind) {
        *self.there.entry(kind).or_default() += 1;
    }

    pub(super) fn left(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.left.push((name.into(), why.into()));
    }

    pub(super) fn failed(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.failed.push((name.into(), why.into()));
    }

    pub(super) fn note(&mut self, name: impl Into<String>, what: impl Into<String>) {
        self.notes.push((name.into(), what.into()));
    }

    /// Whether all that can be copied is here.
    pub(super) fn is_whole(&self) -> bool {
        self.left.is_empty() && self.failed.is_empty()
    }

    pub(super) fn show(&self, context: &mut Context, written: bool) -> Result<(), Failure> {
        if !context.output.is_table() {
            return context.output.document(&self.document(written), &Order::SORTED);
        }
        let head = if written { "Copied" } else { "To be copied" };
        let mut table = Table::new(&["", head, "Here already"]);
        let count = |counts: &BTreeMap<Kind, u64>, kind| {
            counts.get(&kind).copied().unwrap_or_default().to_string()
        };
        for kind in [Kind::Policy, Kind::Engine, Kind::Secret, Kind::Login, Kind::Role] {
            let (copied, there) = (count(&self.copied, kind), count(&self.there, kind));
            table.row([kind.plural().to_owned(), copied, there]);
        }
        table.row(["versions of secrets".to_owned(), self.versions.to_string(), "-".to_owned()]);
        context.output.table(&table)?;
        for (title, list) in [
            ("Here and different, left as they are:", &self.left),
            ("Failed:", &self.failed),
            ("Not to be copied:", &self.notes),
        ] {
            if !list.is_empty() {
                context.output.line(&format!("\n{title}"))?;
            }
            for (name, why) in list {
                context.output.line(&format!("  {name}: {why}"))?;
            }
        }
        Ok(())
    }

    fn document(&self, written: bool) -> Value {
        let counts = |counts: &BTreeMap<Kind, u64>| {
            let entries =
                counts.iter().map(|(kind, count)| (kind.plural().replace(' ', "_"), *count));
            json!(entries.collect::<BTreeMap<String, u64>>())
        };
        let list = |list: &[(String, String)]| {
            let entry = |(name, why): &(String, String)| json!({ "name": name, "why": why });
            list.iter().map(entry).collect::<Vec<_>>()
        };
        json!({
            "written": written,
            "copied": counts(&self.copied),
            "versions": self.versions,
            "there": counts(&self.there),
            "left": list(&self.left),
            "failed": list(&self.failed),
            "notes": list(&self.notes),
        })
    }
}
