//! Tables as `vault` prints them: columns four spaces apart, the head underlined by dashes.

use std::fmt;

const GAP: &str = "    ";

/// Rows under a head.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(head: &[&str]) -> Table {
        Table { head: head.iter().map(|&name| name.to_owned()).collect(), rows: Vec::new() }
    }

    /// Rows alone, with so many columns.
    pub(crate) fn without_head(columns: usize) -> Table {
        Table { head: vec![String::new(); columns], rows: Vec::new() }
    }

    /// The table of a document's fields.
    pub(crate) fn of_fields() -> Table {
        Table::new(&["Key", "Value"])
    }

    /// Adds a row. An empty cell shows as `n/a`.
    pub(crate) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells.into_iter().map(|cell| match cell.into() {
            empty if empty.is_empty() => "n/a".to_owned(),
            text => text,
        });
        self.rows.push(cells.collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line: Vec<String> = self.head.iter().map(|name| "-".repeat(name.len())).collect();
        let head = if line.iter().all(String::is_empty) { 0 } else { 2 };
        let all = || [&self.head, &line].into_iter().take(head).chain(&self.rows);
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| all().filter_map(|row| row.get(column)).map(|cell| width(cell)).max())
            .map(Option::unwrap_or_default)
            .collect();
        for row in all() {
            let mut cells = row.iter().zip(&widths).peekable();
            while let Some((cell, width_max)) = cells.next() {
                f.write_str(cell)?;
                if cells.peek().is_some() {
                    let missing = width_max.saturating_sub(width(cell));
                    write!(f, "{}{GAP}", " ".repeat(missing))?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_the_last_one_is_not_padded() {
        let mut table = Table::of_fields();
        table.row(["user", "bob"]);
        table.row(["a", ""]);
        assert_eq!(table.to_string(), "Key     Value\n---     -----\nuser    bob\na       n/a\n");
    }
}
