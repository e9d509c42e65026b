//! Tokens that were read, until a commit changes them.

use super::{Token, TokenId};
use lru::LruCache;
use parking_lot::Mutex;
use std::{num::NonZeroUsize, sync::Arc};

/// Tokens that are kept, all shards together.
const TOKENS_MAX: usize = 32_768;
/// A token with more text than this is read anew each time.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Bytes of text that the tokens of one shard have together.
const SHARD_BYTES_MAX: usize = 8 << 20;
/// Parts with a lock each, so that requests do not wait for one another.
const SHARDS: usize = 16;

/// A bounded cache. Commits only ever remove from it: what a reader puts in counts only if no
/// commit has touched its shard since it began to read.
#[derive(Debug)]
pub(crate) struct Cache(Vec<Mutex<Shard>>);

#[derive(Debug)]
struct Shard {
    tokens: LruCache<TokenId, Arc<Token>>,
    /// What their texts take.
    bytes: usize,
    /// Counts removals.
    generation: u64,
}

/// Proof of when a read began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(u64);

impl Default for Cache {
    fn default() -> Cache {
        let size = NonZeroUsize::new(TOKENS_MAX / SHARDS).expect("not zero");
        let shard = || Mutex::new(Shard { tokens: LruCache::new(size), bytes: 0, generation: 0 });
        Cache((0..SHARDS).map(|_| shard()).collect())
    }
}

impl Cache {
    /// The token, or the ticket under which it may be kept once it is read.
    pub(crate) fn look_up(&self, id: &TokenId) -> Result<Arc<Token>, Ticket> {
        let mut shard = self.shard(id).lock();
        match shard.tokens.get(id) {
            Some(token) => Ok(token.clone()),
            None => Err(Ticket(shard.generation)),
        }
    }

    pub(crate) fn keep(&self, token: &Arc<Token>, ticket: Ticket) {
        if token.text_bytes() > TOKEN_BYTES_MAX {
            return;
        }
        let mut shard = self.shard(&token.id).lock();
        if shard.generation == ticket.0 {
            shard.put(token);
        }
    }

    /// Removes a token after a commit that changed it.
    pub(crate) fn forget(&self, id: &TokenId) {
        let mut shard = self.shard(id).lock();
        shard.generation += 1;
        if let Some(gone) = shard.tokens.pop(id) {
            shard.bytes -= gone.text_bytes();
        }
    }

    fn shard(&self, id: &TokenId) -> &Mutex<Shard> {
        // The code is uniform: its letters spread evenly enough.
        let first = id.as_str().bytes().next().unwrap_or_default();
        self.0.get(usize::from(first) % SHARDS).expect("the remainder is below the length")
    }
}

impl Shard {
    fn put(&mut self, token: &Arc<Token>) {
        self.bytes += token.text_bytes();
        if let Some((_, gone)) = self.tokens.push(token.id.clone(), token.clone()) {
            self.bytes -= gone.text_bytes();
        }
        while self.bytes > SHARD_BYTES_MAX
            && let Some((_, gone)) = self.tokens.pop_lru()
        {
            self.bytes -= gone.text_bytes();
        }
    }
}
