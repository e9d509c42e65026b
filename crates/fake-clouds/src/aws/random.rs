//! Randomness of the fake: identifiers, keys and suffixes.

/// Fills `bytes` with random data.
#[expect(clippy::disallowed_methods, reason = "a fake may know none of our crates")]
pub(crate) fn fill(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the system random source works");
}

/// A text of `length` characters, each drawn from `alphabet`.
pub(crate) fn text(length: usize, alphabet: &[u8]) -> String {
    let mut bytes = vec![0u8; length];
    fill(&mut bytes);
    let count = alphabet.len().max(1);
    bytes
        .iter()
        .filter_map(|byte| alphabet.get(usize::from(*byte) % count))
        .map(|byte| char::from(*byte))
        .collect()
}

/// A text of `length` letters and digits.
pub(crate) fn alphanumeric(length: usize) -> String {
    text(length, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
}

/// A text of `length` capital letters and digits, as in access key and user identifiers.
pub(crate) fn capitals(length: usize) -> String {
    text(length, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
}

/// A number from 0 to `bound`.
pub(crate) fn below(bound: i64) -> i64 {
    let mut bytes = [0u8; 8];
    fill(&mut bytes);
    let number = i64::from_le_bytes(bytes) & i64::MAX;
    number % bound.saturating_add(1).max(1)
}

/// A random UUID.
pub(crate) fn uuid() -> String {
    let mut bytes = [0u8; 16];
    fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}
