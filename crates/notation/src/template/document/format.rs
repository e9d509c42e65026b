//! Texts in Go's formats.

use super::{
    OUTPUT_BYTES_MAX, Value,
    buffer::{Buffer, TooLong},
    function::too_long,
};
use zeroize::Zeroizing;

/// The widest place of a format, in letters.
const WIDTH_MAX: usize = 1_000;

/// What Go's `printf` gives, for `%s`, `%d`, `%q`, `%t`, `%v` and `%%`, with a width, and with `-` or `0` before it.
pub(super) fn printf(format: &str, values: &[Value]) -> Result<Value, String> {
    let mut out = Buffer::new(OUTPUT_BYTES_MAX);
    let mut values = values.iter();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push(before).map_err(too_long)?;
        let (place, after) = Place::read(after)?;
        rest = after;
        if place.verb == '%' {
            out.push("%").map_err(too_long)?;
            continue;
        }
        let verb = place.verb;
        let Some(value) = values.next() else {
            return Err(format!("printf: there is no value for %{verb}"));
        };
        let text = match (verb, value) {
            ('d', Value::Integer(_)) | ('t', Value::Flag(_)) | ('s' | 'v', _) => value.plain(),
            ('q', Value::Text(text)) => Some(quoted(text)?),
            _ => None,
        };
        let text = text.ok_or_else(|| format!("printf: %{verb} is given {}", value.kind()))?;
        place.fill(&text, &mut out).map_err(too_long)?;
    }
    if values.next().is_some() {
        return Err("printf: there are more values than the format has places for".to_owned());
    }
    out.push(rest).map_err(too_long)?;
    Ok(out.into())
}

/// What follows a `%`.
struct Place {
    to_the_left: bool,
    zeros: bool,
    width: usize,
    verb: char,
}

impl Place {
    /// Reads what follows a `%`, and gives what is behind it.
    fn read(text: &str) -> Result<(Place, &str), String> {
        let digits = text.trim_start_matches(['-', '0']);
        let flags = text.get(..text.len() - digits.len()).unwrap_or_default();
        let rest = digits.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let width = digits.get(..digits.len() - rest.len()).unwrap_or_default();
        let width = if width.is_empty() { Some(0) } else { width.parse().ok() };
        let width = width.filter(|width| *width <= WIDTH_MAX);
        let width = width.ok_or_else(|| format!("printf: a width is above {WIDTH_MAX}"))?;
        let Some(verb) = rest.chars().next() else {
            return Err("printf: the format ends in a %; write %% for one".to_owned());
        };
        if !matches!(verb, 's' | 'd' | 'q' | 't' | 'v' | '%') {
            let known = "known are %s, %d, %q, %t, %v and %%, with a width as in %-8s and %05d";
            return Err(format!("printf: %{verb} is not there; {known}"));
        }
        let to_the_left = flags.contains('-');
        let zeros = flags.contains('0') && !to_the_left && verb == 'd';
        let after = rest.get(verb.len_utf8()..).unwrap_or_default();
        Ok((Place { to_the_left, zeros, width, verb }, after))
    }

    fn fill(&self, text: &str, out: &mut Buffer) -> Result<(), TooLong> {
        let missing = self.width.saturating_sub(text.chars().count());
        if self.to_the_left {
            out.push(text)?;
            return out.push(&" ".repeat(missing));
        }
        // Zeros stand behind the sign.
        let (sign, digits) = match text.strip_prefix('-').filter(|_| self.zeros) {
            Some(digits) => ("-", digits),
            None => ("", text),
        };
        out.push(sign)?;
        out.push(&if self.zeros { "0" } else { " " }.repeat(missing))?;
        out.push(digits)
    }
}

fn quoted(text: &str) -> Result<Zeroizing<String>, String> {
    let mut out = Buffer::new(OUTPUT_BYTES_MAX);
    quote(text, &mut out)?;
    Ok(out.into_text())
}

/// A text as HTML and XML show it.
pub(super) fn html(text: &str) -> Result<Value, String> {
    let mut out = Buffer::new(OUTPUT_BYTES_MAX);
    for letter in text.chars() {
        match letter {
            '&' => out.push("&amp;"),
            '<' => out.push("&lt;"),
            '>' => out.push("&gt;"),
            '"' => out.push("&#34;"),
            '\'' => out.push("&#39;"),
            '\0' => out.push_char('\u{fffd}'),
            letter => out.push_char(letter),
        }
        .map_err(too_long)?;
    }
    Ok(out.into())
}

/// A text as Go writes it in a program.
fn quote(text: &str, out: &mut Buffer) -> Result<(), String> {
    out.push("\"").map_err(too_long)?;
    for letter in text.chars() {
        match letter {
            '"' => out.push("\\\""),
            '\\' => out.push("\\\\"),
            '\n' => out.push("\\n"),
            '\r' => out.push("\\r"),
            '\t' => out.push("\\t"),
            '\x07' => out.push("\\a"),
            '\x08' => out.push("\\b"),
            '\x0b' => out.push("\\v"),
            '\x0c' => out.push("\\f"),
            control if control.is_ascii_control() => {
                out.push(&format!("\\x{:02x}", u32::from(control)))
            }
            letter if is_printed(letter) => out.push_char(letter),
            letter if u32::from(letter) <= 0xffff => {
                out.push(&format!("\\u{:04x}", u32::from(letter)))
            }
            letter => out.push(&format!("\\U{:08x}", u32::from(letter))),
        }
        .map_err(too_long)?;
    }
    out.push("\"").map_err(too_long)
}

/// Whether a letter shows itself: no space but the common one, no sign that only tells how to show others, none that is
/// for private use.
fn is_printed(letter: char) -> bool {
    let shows_others = matches!(
        letter,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    );
    let is_private = matches!(letter, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}');
    let is_space = letter.is_whitespace() && letter != ' ';
    !letter.is_control() && !is_space && !shows_others && !is_private
}

/// What Go's `url.QueryEscape` gives.
pub(super) fn url_query(text: &str) -> Result<Value, String> {
    let mut out = Buffer::new(OUTPUT_BYTES_MAX);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push_char(char::from(byte))
            }
            b' ' => out.push("+"),
            _ => out.push(&format!("%{byte:02X}")),
        }
        .map_err(too_long)?;
    }
    Ok(out.into())
}

impl From<Buffer> for Value {
    fn from(buffer: Buffer) -> Value {
        Value::Text(buffer.into_text().into())
    }
}
