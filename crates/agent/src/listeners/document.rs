//! A secret as the JSON document that AWS's agent gives: the same fields, in the same order, of the same types.

use crate::manager::{Fetched, Material};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    io::Write,
    time::{Duration, SystemTime},
};
use zeroize::Zeroizing;

/// Bytes of a document beside its texts.
const FRAME_BYTES: usize = 160;

/// The document. Its buffer never grows, as what it left behind would not be wiped.
pub(crate) fn of_secret(fetched: &Fetched) -> Zeroizing<Vec<u8>> {
    let stages: usize = fetched.stages.iter().map(|stage| quoted_length(stage) + 1).sum();
    let texts = [&fetched.id, &fetched.name, &fetched.version];
    let texts: usize = texts.iter().map(|text| quoted_length(text)).sum();
    let material = match &fetched.material {
        Material::Text(text) => quoted_length(text.expose()),
        Material::Binary(bytes) => bytes.expose().len().div_ceil(3) * 4,
    };
    let mut out = Zeroizing::new(Vec::with_capacity(FRAME_BYTES + stages + texts + material));
    out.extend_from_slice(b"{\"ARN\":");
    quote(&mut out, &fetched.id);
    out.extend_from_slice(b",\"Name\":");
    quote(&mut out, &fetched.name);
    out.extend_from_slice(b",\"VersionId\":");
    if fetched.version.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        quote(&mut out, &fetched.version);
    }
    match &fetched.material {
        Material::Text(text) => {
            out.extend_from_slice(b",\"SecretString\":");
            quote(&mut out, text.expose());
        }
        Material::Binary(bytes) => {
            out.extend_from_slice(b",\"SecretBinary\":\"");
            encode(&mut out, bytes.expose());
            out.push(b'"');
        }
    }
    if !fetched.stages.is_empty() {
        out.extend_from_slice(b",\"VersionStages\":[");
        for (nth, stage) in fetched.stages.iter().enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            quote(&mut out, stage);
        }
        out.push(b']');
    }
    out.extend_from_slice(b",\"CreatedDate\":");
    match fetched.created {
        Some(created) => write(&mut out, format_args!("\"{}\"", seconds(created))),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
    out
}

/// A JSON object of texts.
pub(crate) fn of_texts<'a, T>(fields: &'a T) -> Zeroizing<Vec<u8>>
where
    &'a T: IntoIterator<Item = (&'a String, &'a std::sync::Arc<bailee_crypto::Sensitive<String>>)>,
{
    let length: usize = fields
        .into_iter()
        .map(|(name, value)| quoted_length(name) + quoted_length(value.expose()) + 2)
        .sum();
    let mut out = Zeroizing::new(Vec::with_capacity(length + 2));
    out.push(b'{');
    for (nth, (name, value)) in fields.into_iter().enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        quote(&mut out, name);
        out.push(b':');
        quote(&mut out, value.expose());
    }
    out.push(b'}');
    out
}

/// Seconds since 1970 with their fraction, as AWS's agent writes them.
fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since.as_secs_f64()
}

/// Bytes of a text as a JSON text, quotes included.
fn quoted_length(text: &str) -> usize {
    let extra = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0..0x20 => 5,
        _ => 0,
    };
    text.len() + 2 + text.bytes().map(extra).sum::<usize>()
}

fn quote(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a text is written to memory");
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes all that is written");
}

fn encode(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    STANDARD.encode_slice(bytes, room).expect("there is room for four letters for three bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(material: Material) -> Fetched {
        Fetched {
            id: "arn:aws:secretsmanager:us-east-1:1:secret:a-AbCdEf".to_owned(),
            name: "a".to_owned(),
            version: "v1".to_owned(),
            stages: vec!["AWSCURRENT".to_owned(), "x".to_owned()],
            created: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_125)),
            material,
            versioned: false,
            lease: None,
        }
    }

    #[test]
    fn a_document_has_the_fields_of_awss_agent_in_their_order() {
        let text = of_secret(&fetched(Material::text("{\"a\":\"\u{1}\n\u{e9}\"}")));
        assert_eq!(
            std::str::from_utf8(&text).unwrap(),
            r#"{"ARN":"arn:aws:secretsmanager:us-east-1:1:secret:a-AbCdEf","Name":"a","VersionId":"v1","SecretString":"{\"a\":\"\u0001\né\"}","VersionStages":["AWSCURRENT","x"],"CreatedDate":"1700000000.125"}"#
        );
        let binary =
            of_secret(&Fetched { created: None, ..fetched(Material::binary(*b"ab\xff\x00")) });
        assert!(std::str::from_utf8(&binary).unwrap().ends_with(
            r#","SecretBinary":"YWL/AA==","VersionStages":["AWSCURRENT","x"],"CreatedDate":null}"#
        ));
    }

    #[test]
    fn a_document_fits_the_buffer_that_was_made_for_it() {
        for length in 0..200 {
            let text: String = (0..length).map(|nth| char::from(nth as u8)).collect();
            for material in [Material::text(text.clone()), Material::binary(text.clone())] {
                let fetched = fetched(material);
                let out = of_secret(&fetched);
                let whole = FRAME_BYTES + 2 * (fetched.stages.len() + text.len() * 6) + 100;
                assert!(out.len() <= out.capacity() && out.capacity() <= whole + text.len() * 6);
                let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
                if let Material::Text(_) = fetched.material {
                    assert_eq!(read["SecretString"], text);
                }
            }
            assert_eq!(serde_json::to_string(&text).unwrap().len(), quoted_length(&text));
        }
    }
}
