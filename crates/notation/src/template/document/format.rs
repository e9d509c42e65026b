//! Texts in Go's formats.

use super::{OUTPUT_BYTES_MAX, Value, buffer::Buffer, function::too_long};

/// What Go's `printf` gives, for `%s`, `%d`, `%q`, `%v` and `%%`.
pub(super) fn printf(format: &str, values: &[Value]) -> Result<Value, String> {
    let mut out = Buffer::new(OUTPUT_BYTES_MAX);
    let mut values = values.iter();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push(before).map_err(too_long)?;
        let Some(verb) = after.chars().next() else {
            return Err("printf: the format ends in a %; write %% for one".to_owned());
        };
        rest = after.get(verb.len_utf8()..).unwrap_or_default();
        if verb == '%' {
            out.push("%").map_err(too_long)?;
            continue;
        }
        if !matches!(verb, 's' | 'd' | 'q' | 'v') {
            return Err(format!("printf: %{verb} is not there; known are %s, %d, %q, %v and %%"));
        }
        let Some(value) = values.next() else {
            return Err(format!("printf: there is no value for %{verb}"));
        };
        let text = match (verb, value) {
            ('d', Value::Integer(_)) | ('s' | 'v', _) => value.plain(),
            ('q', Value::Text(text)) => {
                quote(text, &mut out)?;
                continue;
            }
            _ => None,
        };
        let text = text.ok_or_else(|| format!("printf: %{verb} is given {}", value.kind()))?;
        out.push(&text).map_err(too_long)?;
    }
    if values.next().is_some() {
        return Err("printf: there are more values than the format has places for".to_owned());
    }
    out.push(rest).map_err(too_long)?;
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
