//! XML as STS answers it: elements and text. Whatever else XML knows is refused.

use xmlparser::{ElementEnd, Token, Tokenizer};

/// How deep elements may lie in each other.
const DEPTH_MAX: usize = 16;
/// How many elements an answer may have.
const ELEMENTS_MAX: usize = 2000;

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document {
    /// The namespace of its elements; empty for none.
    pub(super) namespace: String,
    /// The outermost element.
    pub(super) root: Element,
}

/// One element: it holds other elements, or text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// Its name, which has no prefix.
    pub(super) name: String,
    /// The elements in it.
    pub(super) children: Vec<Element>,
    /// The text in it, empty where there are elements.
    pub(super) text: String,
}

/// Text that is not such XML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidXml(pub(super) &'static str);

impl Element {
    /// The only element of that name in this one; none when there are several, too.
    pub(super) fn only(&self, name: &str) -> Option<&Element> {
        let mut found = self.children.iter().filter(|child| child.name == name);
        let only = found.next()?;
        found.next().is_none().then_some(only)
    }

    /// The text of the only element at the end of the way.
    pub(super) fn text_at(&self, way: &[&str]) -> Option<&str> {
        let end = way.iter().try_fold(self, |element, name| element.only(name))?;
        end.children.is_empty().then_some(end.text.as_str())
    }
}

/// Reads an answer.
pub(super) fn parse(text: &str) -> Result<Document, InvalidXml> {
    let mut reader = Reader::default();
    for token in Tokenizer::from(text) {
        reader.take(token.map_err(|_| InvalidXml("it is not well-formed"))?)?;
    }
    let root = reader.root.ok_or(InvalidXml("it ends within an element"))?;
    Ok(Document { namespace: reader.namespace.unwrap_or_default(), root })
}

#[derive(Default)]
struct Reader {
    open: Vec<Element>,
    root: Option<Element>,
    namespace: Option<String>,
    elements: usize,
}

impl Reader {
    fn take(&mut self, token: Token<'_>) -> Result<(), InvalidXml> {
        match token {
            Token::Declaration { encoding, .. } => {
                let utf8 = encoding.is_none_or(|name| name.as_str().eq_ignore_ascii_case("utf-8"));
                if utf8 { Ok(()) } else { Err(InvalidXml("it is not UTF-8")) }
            }
            Token::ElementStart { prefix, local, .. } => {
                if !prefix.as_str().is_empty() {
                    return Err(InvalidXml("a name has a prefix"));
                }
                self.start(local.as_str())
            }
            Token::Attribute { prefix, local, value, .. } => {
                if !prefix.as_str().is_empty() || local.as_str() != "xmlns" {
                    return Err(InvalidXml("an element has attributes"));
                }
                self.enter_namespace(value.as_str())
            }
            Token::ElementEnd { end, .. } => match end {
                ElementEnd::Open => Ok(()),
                ElementEnd::Empty => self.end(None),
                ElementEnd::Close(prefix, local) => {
                    if !prefix.as_str().is_empty() {
                        return Err(InvalidXml("a name has a prefix"));
                    }
                    self.end(Some(local.as_str()))
                }
            },
            Token::Text { text } => self.text(text.as_str()),
            Token::ProcessingInstruction { .. } => Err(InvalidXml("it has instructions")),
            Token::Comment { .. } => Err(InvalidXml("it has comments")),
            Token::Cdata { .. } => Err(InvalidXml("it has a CDATA section")),
            Token::DtdStart { .. }
            | Token::EmptyDtd { .. }
            | Token::EntityDeclaration { .. }
            | Token::DtdEnd { .. } => Err(InvalidXml("it declares a document type")),
        }
    }

    fn start(&mut self, name: &str) -> Result<(), InvalidXml> {
        self.elements += 1;
        if self.elements > ELEMENTS_MAX || self.open.len() == DEPTH_MAX {
            return Err(InvalidXml("it has too many elements"));
        }
        if self.root.is_some() {
            return Err(InvalidXml("it has several outermost elements"));
        }
        if self.open.last().is_some_and(|parent| !parent.text.trim().is_empty()) {
            return Err(InvalidXml("text lies between elements"));
        }
        self.open.push(Element { name: name.to_owned(), ..Element::default() });
        Ok(())
    }

    /// Only the outermost element names a namespace, and once: no part can pose as another's.
    fn enter_namespace(&mut self, namespace: &str) -> Result<(), InvalidXml> {
        if self.open.len() != 1 || self.namespace.is_some() {
            return Err(InvalidXml("an inner element names a namespace"));
        }
        self.namespace = Some(namespace.to_owned());
        Ok(())
    }

    fn end(&mut self, name: Option<&str>) -> Result<(), InvalidXml> {
        let mut element =
            self.open.pop().ok_or(InvalidXml("an element ends that did not begin"))?;
        if name.is_some_and(|name| name != element.name) {
            return Err(InvalidXml("an element ends within another"));
        }
        if !element.children.is_empty() {
            if !element.text.trim().is_empty() {
                return Err(InvalidXml("text lies between elements"));
            }
            element.text.clear();
        }
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), InvalidXml> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(&plain(text)?),
            None if text.trim().is_empty() => {}
            None => return Err(InvalidXml("text lies outside of elements")),
        }
        Ok(())
    }
}

/// The text without the five escapes that need no declaration. Others are refused.
fn plain(text: &str) -> Result<String, InvalidXml> {
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split('&');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (name, rest) = part.split_once(';').ok_or(InvalidXml("an escape has no end"))?;
        plain.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => return Err(InvalidXml("it has escapes that nothing declares")),
        });
        plain.push_str(rest);
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_and_text_are_read() {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<A xmlns=\"urn:x\">\n  <B><C>a&amp;b</C></B>\n  <D/>\n</A>\n";
        let document = parse(text).unwrap();
        assert_eq!(document.namespace, "urn:x");
        assert_eq!(document.root.name, "A");
        assert_eq!(document.root.text_at(&["B", "C"]), Some("a&b"));
        assert_eq!(document.root.text_at(&["D"]), Some(""));
        assert_eq!(document.root.text_at(&["B"]), None, "it holds an element");
        assert_eq!(document.root.text_at(&["E"]), None);
    }

    #[test]
    fn what_stands_there_twice_is_not_found() {
        let document = parse("<A><B>1</B><B>2</B></A>").unwrap();
        assert_eq!(document.root.only("B"), None);
    }

    #[test]
    fn everything_else_of_xml_is_refused() {
        for text in [
            "",
            "<A>",
            "<A></B>",
            "<A/><A/>",
            "<A/>text",
            "<A><B></A></B>",
            "<A>text<B/></A>",
            "<A><B/>text</A>",
            "<A b=\"c\"/>",
            "<x:A xmlns:x=\"urn:x\"/>",
            "<A><B xmlns=\"urn:other\"/></A>",
            "<A><!-- note --></A>",
            "<A><?run it?></A>",
            "<A><![CDATA[text]]></A>",
            "<!DOCTYPE A><A/>",
            "<!DOCTYPE A [<!ENTITY e \"x\">]><A>&e;</A>",
            "<!DOCTYPE A SYSTEM \"http://127.0.0.1/\"><A/>",
            "<A>&e;</A>",
            "<A>&#65;</A>",
            "<A>&amp</A>",
            "<?xml version=\"1.0\" encoding=\"UTF-16\"?><A/>",
            "{\"A\": 1}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let deep = format!("{}{}", "<A>".repeat(17), "</A>".repeat(17));
        assert!(parse(&deep).is_err());
        assert!(parse(&format!("<A>{}</A>", "<B/>".repeat(2000))).is_err());
    }
}
