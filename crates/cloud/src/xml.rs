//! The little of XML that answers of AWS need: elements and their text. No entities of a document's
//! own, so that a small answer cannot become a large one.

use xmlparser::{ElementEnd, Token, Tokenizer};

/// Elements within each other, at most.
const DEPTH_MAX: usize = 32;

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Xml {
    name: String,
    text: String,
    children: Vec<Xml>,
}

impl Xml {
    /// The root element of a document; `None` when it is not well formed.
    pub fn parse(document: &str) -> Option<Xml> {
        let mut open: Vec<Xml> = vec![Xml::default()];
        for token in Tokenizer::from(document) {
            match token.ok()? {
                Token::ElementStart { local, .. } => {
                    if open.len() > DEPTH_MAX {
                        return None;
                    }
                    open.push(Xml { name: local.to_string(), ..Xml::default() });
                }
                Token::ElementEnd { end: ElementEnd::Open, .. } | Token::Attribute { .. } => {}
                Token::ElementEnd { end: ElementEnd::Close(_, local), .. } => {
                    if open.last()?.name != local.as_str() {
                        return None;
                    }
                    close(&mut open)?;
                }
                Token::ElementEnd { end: ElementEnd::Empty, .. } => close(&mut open)?,
                Token::Text { text } => open.last_mut()?.text.push_str(&unescape(text.as_str())?),
                Token::Cdata { text, .. } => open.last_mut()?.text.push_str(text.as_str()),
                Token::EntityDeclaration { .. } => return None,
                _ => {}
            }
        }
        let [document] = <[Xml; 1]>::try_from(open).ok()?;
        let [root] = <[Xml; 1]>::try_from(document.children).ok()?;
        Some(root)
    }

    /// The element's name, without a namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The element's own text.
    pub fn text(&self) -> &str {
        self.text.trim()
    }

    /// The first child with this name.
    pub fn child(&self, name: &str) -> Option<&Xml> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The first element below with this name, however deep.
    pub fn find(&self, name: &str) -> Option<&Xml> {
        let deeper = || self.children.iter().find_map(|child| child.find(name));
        self.child(name).or_else(deeper)
    }

    /// The text of the first element below with this name; empty when there is none.
    pub fn value(&self, name: &str) -> &str {
        self.find(name).map(Xml::text).unwrap_or_default()
    }

    /// The members of the list with this name.
    pub fn members(&self, list: &str) -> impl Iterator<Item = &Xml> {
        let children = self.find(list).map(|list| list.children.as_slice()).unwrap_or_default();
        children.iter().filter(|child| child.name == "member")
    }
}

/// Puts the innermost open element into the one around it.
fn close(open: &mut Vec<Xml>) -> Option<()> {
    let done = open.pop()?;
    open.last_mut()?.children.push(done);
    Some(())
}

/// The text that an escaped text stands for; `None` for an entity that XML itself does not have.
fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let (entity, after) = after.split_once(';')?;
        plain.push(match entity {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let number = entity.strip_prefix('#')?;
                let code = match number.strip_prefix('x') {
                    Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                    None => number.parse().ok()?,
                };
                char::from_u32(code)?
            }
        });
        rest = after;
    }
    plain.push_str(rest);
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_with_their_text() {
        let xml = Xml::parse(
            "<?xml version=\"1.0\"?>\n<R xmlns=\"https://x/\"><L><member><K>a &amp; b</K></member>\
             <member><K><![CDATA[<c>]]></K></member></L><E/><T>&#65;&#x42;</T></R>",
        )
        .unwrap();
        assert_eq!(xml.name(), "R");
        let keys: Vec<&str> = xml.members("L").map(|member| member.value("K")).collect();
        assert_eq!(keys, ["a & b", "<c>"]);
        assert_eq!((xml.value("T"), xml.value("E"), xml.value("absent")), ("AB", "", ""));
    }

    #[test]
    fn what_is_not_well_formed_or_explodes_is_refused() {
        let deep = format!("{}{}", "<a>".repeat(40), "</a>".repeat(40));
        let bomb = "<!DOCTYPE a [<!ENTITY x \"yyyy\">]><a>&x;</a>";
        for bad in ["", "text", "<a>", "<a></b>", "<a/><b/>", "<a>&y;</a>", &deep, bomb] {
            assert_eq!(Xml::parse(bad), None, "{bad}");
        }
    }
}
