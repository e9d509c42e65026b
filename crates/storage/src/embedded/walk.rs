//! Reads of many keys, in steps: children of a folder, and entries in key order.

use super::reader::{Snapshot, entry};
use crate::{Entry, Error};
use rusqlite::{Connection, Row, params, types::FromSqlError};

/// Steps of this size run on the calling thread; what is longer goes aside.
const INLINE_ROWS_MAX: usize = 64;
const INLINE_BYTES_MAX: usize = 64 << 10;
const PAGE_ROWS_MAX: usize = 512;
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Children found so far, and where to look on.
#[derive(Debug)]
pub(super) struct Listing {
    prefix: String,
    after: String,
    limit: usize,
    /// Keys before this one are dealt with.
    from: Vec<u8>,
    children: Vec<String>,
    done: bool,
}

impl Listing {
    pub(super) fn new(prefix: &str, after: &str, limit: usize) -> Listing {
        let from = if after.is_empty() {
            prefix.as_bytes().to_vec()
        } else {
            just_behind(&format!("{prefix}{after}"))
        };
        Listing {
            prefix: prefix.to_owned(),
            after: after.to_owned(),
            limit,
            from,
            children: Vec::new(),
            done: limit == 0,
        }
    }

    pub(super) async fn run(mut self, snapshot: Snapshot) -> Result<Vec<String>, Error> {
        self.advance(snapshot.connection(), INLINE_ROWS_MAX)
            .map_err(|error| super::failure::from_engine("list", &error))?;
        if self.done {
            return Ok(self.children);
        }
        let (_, children) = snapshot
            .aside(move |connection| {
                self.advance(connection, usize::MAX)?;
                Ok(self.children)
            })
            .await?;
        Ok(children)
    }

    /// Goes on for at most `rows_max` rows.
    fn advance(&mut self, connection: &Connection, rows_max: usize) -> Result<(), rusqlite::Error> {
        // Keys only: the index answers it, no value is read.
        let mut statement = connection
            .prepare_cached("SELECT k FROM entries WHERE k >= ?1 AND k < ?2 ORDER BY k")?;
        let end = end_of(&self.prefix);
        let mut visited = 0;
        while !self.done && visited < rows_max {
            let mut rows = statement.query(params![self.from, end])?;
            loop {
                let Some(row) = rows.next()? else {
                    self.done = true;
                    break;
                };
                visited += 1;
                let jumps = self.visit(key(row)?)?;
                self.done = self.children.len() >= self.limit;
                if jumps || self.done || visited >= rows_max {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Notes the child that a key belongs to; true when the next key of interest is a jump away.
    fn visit(&mut self, key: &str) -> Result<bool, rusqlite::Error> {
        let rest = key.strip_prefix(&self.prefix).ok_or(FromSqlError::InvalidType)?;
        let (child, jumps) = match rest.split_once('/') {
            Some((folder, _)) => {
                // '0' follows '/' in byte order: the first key behind the subtree.
                self.from = format!("{}{folder}0", self.prefix).into_bytes();
                (format!("{folder}/"), true)
            }
            None => {
                self.from = just_behind(key);
                (rest.to_owned(), false)
            }
        };
        if child > self.after {
            self.children.push(child);
        }
        Ok(jumps)
    }
}

/// Where a scan is. The snapshot is given back with the last page.
#[derive(Debug)]
pub(super) struct Scan {
    snapshot: Snapshot,
    from: Vec<u8>,
    end: Vec<u8>,
    /// Nothing has been read yet.
    fresh: bool,
}

struct Page {
    entries: Vec<(String, Entry)>,
    more: bool,
}

impl Scan {
    pub(super) fn new(snapshot: Snapshot, prefix: &str, after: &str) -> Scan {
        let from = if after < prefix { prefix.as_bytes().to_vec() } else { just_behind(after) };
        Scan { snapshot, from, end: end_of(prefix), fresh: true }
    }

    /// The next entries, and the rest of the scan if there is any.
    pub(super) async fn page(self) -> Result<(Vec<(String, Entry)>, Option<Scan>), Error> {
        let Scan { snapshot, from, end, fresh } = self;
        let (snapshot, page) = if fresh {
            let page = read(snapshot.connection(), &from, &end, INLINE_ROWS_MAX, INLINE_BYTES_MAX)
                .map_err(|error| super::failure::from_engine("scan", &error))?;
            (snapshot, page)
        } else {
            let until = end.clone();
            let work = move |connection: &Connection| {
                read(connection, &from, &until, PAGE_ROWS_MAX, PAGE_BYTES_MAX)
            };
            snapshot.aside(work).await?
        };
        let rest = match page.entries.last() {
            Some((last, _)) if page.more => {
                Some(Scan { snapshot, from: just_behind(last), end, fresh: false })
            }
            _ => None,
        };
        Ok((page.entries, rest))
    }
}

fn read(
    connection: &Connection,
    from: &[u8],
    end: &[u8],
    rows_max: usize,
    bytes_max: usize,
) -> Result<Page, rusqlite::Error> {
    let mut statement = connection
        .prepare_cached("SELECT k, revision, v FROM entries WHERE k >= ?1 AND k < ?2 ORDER BY k")?;
    let mut rows = statement.query([from, end])?;
    let (mut entries, mut bytes) = (Vec::new(), 0);
    while entries.len() < rows_max && bytes < bytes_max {
        let Some(row) = rows.next()? else { return Ok(Page { entries, more: false }) };
        let entry = entry(row, 1)?;
        bytes += entry.bytes.len();
        entries.push((key(row)?.to_owned(), entry));
    }
    Ok(Page { entries, more: true })
}

fn key<'a>(row: &'a Row<'_>) -> Result<&'a str, rusqlite::Error> {
    let bytes = row.get_ref(0)?.as_blob()?;
    std::str::from_utf8(bytes).map_err(|error| FromSqlError::other(error).into())
}

/// The least key greater than `key`.
fn just_behind(key: &str) -> Vec<u8> {
    let mut bytes = key.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// The least bytes behind every key that starts with `prefix`.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut bytes = prefix.as_bytes().to_vec();
    match bytes.last_mut() {
        // No byte of UTF-8 is 0xff, so there is always a next one.
        Some(last) => *last += 1,
        None => bytes.push(0xff),
    }
    bytes
}
