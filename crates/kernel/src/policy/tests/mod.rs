mod explain;
mod model;
mod rights;
mod sys;

use super::{Acl, Facts, parse};

/// The rights that these texts give together.
fn acl(texts: &[&str]) -> Acl {
    let policies: Vec<_> = texts.iter().map(|text| parse::parse(text).unwrap()).collect();
    let named = policies.iter().enumerate().map(|(index, policy)| (NAMES[index], policy));
    Acl::compile(named, &Facts::default())
}

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
