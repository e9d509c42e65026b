//! Randomness from the operating system's generator, through aws-lc.

use zeroize::Zeroizing;

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Fills a buffer.
#[expect(clippy::disallowed_methods, reason = "the one place that asks for randomness")]
pub fn fill(buffer: &mut [u8]) {
    #[cfg(feature = "testing")]
    if predictable::fill(buffer) {
        return;
    }
    aws_lc_rs::rand::fill(buffer).expect("the system's random generator always answers");
}

/// Randomness that is none, so that a simulation can be run again. It is compiled for tests only, and
/// then serves only a thread that asked for it.
#[cfg(feature = "testing")]
pub mod predictable {
    use std::cell::Cell;

    thread_local! {
        static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// What this thread draws from now on follows from the seed; `None` ends that.
    pub fn seed(seed: Option<u64>) {
        STATE.set(seed);
    }

    /// The next number after a state, which it moves on (SplitMix64).
    pub fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn fill(buffer: &mut [u8]) -> bool {
        let Some(mut state) = STATE.get() else { return false };
        for chunk in buffer.chunks_mut(8) {
            let drawn = next(&mut state).to_le_bytes();
            chunk.copy_from_slice(drawn.get(..chunk.len()).unwrap_or(&drawn));
        }
        STATE.set(Some(state));
        true
    }
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

    #[cfg(feature = "testing")]
    #[test]
    fn a_seed_makes_one_thread_predictable_and_no_other() {
        let draw = || {
            predictable::seed(Some(1));
            let drawn = array::<20>();
            predictable::seed(None);
            drawn
        };
        assert_eq!(draw(), draw());
        assert_ne!(array::<20>(), array::<20>());
        predictable::seed(Some(1));
        let elsewhere = std::thread::spawn(array::<20>).join().unwrap();
        assert_ne!(elsewhere, array::<20>());
        predictable::seed(None);
    }

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
