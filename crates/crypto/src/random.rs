//! Randomness from the operating system's generator, through aws-lc.

use zeroize::Zeroizing;

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Fills a buffer.
#[expect(clippy::disallowed_methods, reason = "the one place that asks for randomness")]
pub fn fill(buffer: &mut [u8]) {
    aws_lc_rs::rand::fill(buffer).expect("the system's random generator always answers");
}

/// That many random bytes, wiped when dropped.
pub fn bytes(length: usize) -> Zeroizing<Vec<u8>> {
    let mut buffer = Zeroizing::new(vec![0; length]);
    fill(&mut buffer);
    buffer
}

/// A random array.
pub fn array<const N: usize>() -> [u8; N] {
    let mut buffer = [0; N];
    fill(&mut buffer);
    buffer
}

/// That many letters and digits, each with the same probability.
pub fn alphanumeric(length: usize) -> String {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        for byte in bytes(2 * length).iter() {
            // 248 is the largest multiple of 62 in a byte: what lies above would skew the letters.
            if *byte < 248 && text.len() < length {
                text.extend(ALPHABET.get(usize::from(byte % 62)).map(|letter| char::from(*letter)));
            }
        }
    }
    text
}

/// A random (version 4) UUID.
pub fn uuid() -> uuid::Uuid {
    uuid::Builder::from_random_bytes(array()).into_uuid()
}

/// A number below `bound`, close enough to uniform for jitter; 0 for a bound of 0.
pub fn below(bound: u64) -> u64 {
    u64::from_le_bytes(array()).checked_rem(bound).unwrap_or(0)
}

/// An index into what has so many entries, each with the same probability; 0 when there is none.
pub fn index(count: usize) -> usize {
    let Some(bound) = u64::try_from(count).ok().filter(|bound| *bound > 0) else { return 0 };
    // What lies above the largest multiple of the bound would skew the choice.
    let fair = u64::MAX - u64::MAX % bound;
    loop {
        let drawn = u64::from_le_bytes(array());
        if drawn < fair {
            return usize::try_from(drawn % bound).unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_drawn_and_none_beyond() {
        let mut counts = [0; 5];
        for _ in 0..5000 {
            counts[index(5)] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
        assert_eq!((index(0), index(1)), (0, 0));
    }

    #[test]
    fn alphanumeric_has_the_length_and_the_letters_asked_for() {
        let text = alphanumeric(1000);
        assert_eq!(text.len(), 1000);
        assert!(text.bytes().all(|letter| letter.is_ascii_alphanumeric()));
        assert_ne!(text, alphanumeric(1000));
    }
}
