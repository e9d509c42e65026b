//! Lists of names: pages of one folder, and of everything below one.

use bailee_sdk::{Error, Names, Reply, field::Integer};
use schemars::JsonSchema;
use serde::Deserialize;

/// Names that one answer gives at most when everything below a folder is asked for.
const SCAN_NAMES_MAX: usize = 100_000;

/// The part of a list that is asked for.
pub(crate) struct Page<'a> {
    /// Name after which it begins; it need not exist.
    pub(crate) after: &'a str,
    /// Names at most.
    pub(crate) limit: usize,
}

impl<'a> Page<'a> {
    /// What clients give: a limit of zero or less is none.
    pub(crate) fn new(after: &'a str, limit: Integer) -> Page<'a> {
        let limit = usize::try_from(limit.0).ok().filter(|limit| *limit > 0);
        Page { after, limit: limit.unwrap_or(usize::MAX) }
    }
}

/// Which names to list.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ListNames {
    /// Name after which the list begins.
    #[serde(default)]
    after: String,
    /// Names to give at most; 0 for all.
    #[serde(default)]
    limit: Integer,
}

impl ListNames {
    /// The names of the tree that were asked for.
    pub(crate) async fn of(&self, names: &Names) -> Result<Reply, Error> {
        let page = Page::new(&self.after, self.limit);
        Reply::keys(&names.list("", page.after, page.limit).await?)
    }
}

/// A folder as names are kept: empty, or ending in `/`.
pub(crate) fn folder(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => String::new(),
        path => format!("{path}/"),
    }
}

/// A folder on the way, with the names in it that are still to be looked at.
struct Open {
    /// Relative to where the scan began; empty, or ending in `/`.
    path: String,
    names: std::vec::IntoIter<String>,
}

/// Paths of all that lies below a folder, relative to it, in the order of their letters. Folders
/// themselves are not among them.
pub(crate) async fn scan(
    names: &Names,
    folder: &str,
    page: &Page<'_>,
) -> Result<Vec<String>, Error> {
    let open = async |path: String| -> Result<Open, Error> {
        let inside = names.list(&format!("{folder}{path}"), "", usize::MAX).await?;
        Ok(Open { path, names: inside.into_iter() })
    };
    let mut found = Vec::new();
    let mut way = vec![open(String::new()).await?];
    while let Some(top) = way.last_mut() {
        let Some(name) = top.names.next() else {
            way.pop();
            continue;
        };
        let path = format!("{}{name}", top.path);
        if name.ends_with('/') {
            // All in a folder that sorts before the beginning does so too, unless it begins inside.
            if path.as_str() > page.after || page.after.starts_with(&path) {
                way.push(open(path).await?);
            }
        } else if path.as_str() > page.after {
            if found.len() == SCAN_NAMES_MAX {
                return Err(Error::invalid(format!(
                    "more than {SCAN_NAMES_MAX} names are below this folder: ask for a part of \
                     them with \"limit\", and for the next with \"after\""
                )));
            }
            found.push(path);
            if found.len() == page.limit {
                break;
            }
        }
    }
    Ok(found)
}
