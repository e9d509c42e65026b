//! How secrets with versions are shown to people: blocks under a headline.

use crate::{
    failure::Failure,
    output::{Output, Table, cell},
};
use serde_json::{Map, Value};

/// The path of the API that was asked.
pub(super) fn path(output: &mut Output, title: &str, path: &str) -> Result<(), Failure> {
    output.line(&headline(title, path.len()))?;
    output.line(path)?;
    output.line("")
}

/// A headline and the fields under it.
pub(super) fn block(
    output: &mut Output,
    title: &str,
    fields: &Map<String, Value>,
) -> Result<(), Failure> {
    let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
    fields.sort_by_key(|(name, _)| *name);
    let widest = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    // The gap between the columns, and the word "Value".
    output.line(&headline(title, widest + 4 + 5))?;
    let mut table = Table::of_fields();
    for (name, value) in fields {
        table.row([name.clone(), cell(name, value)]);
    }
    output.table(&table)
}

/// A title between equals signs, about as wide as what is below it.
fn headline(title: &str, width: usize) -> String {
    let free = width.saturating_sub(title.len() + 2);
    let free = if free == 0 { 4 } else { free };
    let signs = "=".repeat(free.div_ceil(2));
    format!("{signs} {title} {signs}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headlines_are_as_wide_as_their_block() {
        assert_eq!(headline("Secret Path", "secret/data/app".len()), "= Secret Path =");
        assert_eq!(headline("Metadata", "custom_metadata".len() + 9), "======= Metadata =======");
        assert_eq!(headline("Data", "user".len() + 9), "==== Data ====");
        assert_eq!(headline("Secret Path", 3), "== Secret Path ==");
    }
}
