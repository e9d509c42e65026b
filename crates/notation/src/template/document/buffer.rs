//! A text that grows within a bound and leaves no copy behind.

use zeroize::Zeroizing;

/// The bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

pub(super) struct Buffer {
    text: Zeroizing<String>,
    bytes_max: usize,
}

impl Buffer {
    pub(super) fn new(bytes_max: usize) -> Buffer {
        Buffer { text: Zeroizing::default(), bytes_max }
    }

    pub(super) fn push(&mut self, text: &str) -> Result<(), TooLong> {
        let length = self.text.len() + text.len();
        if length > self.bytes_max {
            return Err(TooLong);
        }
        if length > self.text.capacity() {
            // A text that grows by itself leaves its old bytes unwiped.
            let mut longer = String::with_capacity((2 * length).max(256));
            longer.push_str(&self.text);
            self.text = Zeroizing::new(longer);
        }
        self.text.push_str(text);
        Ok(())
    }

    pub(super) fn push_char(&mut self, letter: char) -> Result<(), TooLong> {
        self.push(letter.encode_utf8(&mut [0; 4]))
    }

    pub(super) fn into_text(self) -> Zeroizing<String> {
        self.text
    }
}
