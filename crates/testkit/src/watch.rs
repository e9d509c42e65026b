//! Looks for secrets where they must not come out.

use crate::{Answer, TestServer};
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Words that were put in are searched for, as they are and as formatting and encoding leave them.
#[derive(Debug, Default)]
pub struct Watch {
    /// What was found, and where.
    pub found: Vec<String>,
}

impl Watch {
    /// Searches bytes for words; `place` says where they are from.
    pub fn search(&mut self, place: &str, bytes: &[u8], words: &[&str]) {
        for word in words.iter().flat_map(|word| spellings(word)) {
            let hit = bytes.windows(word.len()).position(|window| window == word.as_bytes());
            if let Some(at) = hit {
                let end = (at + word.len() + 20).min(bytes.len());
                let around = bytes.get(at.saturating_sub(60)..end).unwrap_or_default();
                let around = String::from_utf8_lossy(around).into_owned();
                self.found.push(format!("{word} in {place}: …{around}…"));
            }
        }
    }

    /// Searches an answer.
    pub fn answer(&mut self, answer: &Answer, words: &[&str]) {
        self.search(&format!("{answer:?}"), &answer.body, words);
    }

    /// Searches all that the server has at rest; the write-ahead log is part of it.
    pub fn storage(&mut self, server: &TestServer, words: &[&str]) {
        let stored = files(&server.storage());
        assert!(!stored.is_empty(), "the server has stored nothing");
        for file in stored {
            let bytes = fs::read(&file).unwrap_or_default();
            self.search(&format!("storage {}", file.display()), &bytes, words);
        }
    }
}

/// A word as it is, and as formatting and encoding would leave it.
fn spellings(word: &str) -> [String; 4] {
    let numbers: Vec<String> = word.bytes().map(|byte| byte.to_string()).collect();
    let whole = word.as_bytes().get(..word.len() / 3 * 3).unwrap_or_default();
    [word.to_owned(), numbers.join(", "), hex::encode(word), BASE64_STANDARD_NO_PAD.encode(whole)]
}

/// All files in a folder and below.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
