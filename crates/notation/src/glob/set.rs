//! Many patterns, compiled so that the deciding one for a path is found without trying all.
//!
//! An exact path is one look-up. Otherwise the first rule of precedence helps: the pattern with the
//! longest text before its first wildcard decides. Those texts ("heads") are kept sorted, so that
//! all heads of a path are found by one binary search; patterns with the same head share a tree of
//! segments.

use std::collections::{BTreeMap, HashMap};

use super::{Pattern, split_segment};

/// Patterns with what they stand for, ready to be asked for the one that decides.
#[derive(Clone, Debug)]
pub struct PatternSet<T> {
    /// Highest precedence first; elsewhere a pattern is named by its place here, its rank.
    entries: Vec<(Pattern, T)>,
    exact: HashMap<Box<str>, usize>,
    heads: Prefixes<Group>,
    nodes: Vec<Node>,
}

/// The entries decide: everything else follows from them.
impl<T: PartialEq> PartialEq for PatternSet<T> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<T> PatternSet<T> {
    /// Compiles patterns; what stands for the same pattern several times is merged, in order.
    pub fn new(
        patterns: impl IntoIterator<Item = (Pattern, T)>,
        mut merge: impl FnMut(&mut T, T),
    ) -> Self {
        let mut entries: Vec<(Pattern, T)> = patterns.into_iter().collect();
        entries.sort_by(|(one, _), (other, _)| other.precedence(one));
        let mut merged: Vec<(Pattern, T)> = Vec::with_capacity(entries.len());
        for (pattern, payload) in entries {
            match merged.last_mut() {
                Some((last, into)) if *last == pattern => merge(into, payload),
                _ => merged.push((pattern, payload)),
            }
        }
        let mut exact = HashMap::new();
        let mut drafts = Drafts::default();
        for (rank, (pattern, _)) in merged.iter().enumerate() {
            if pattern.is_exact() {
                exact.insert(pattern.as_str().into(), rank);
            } else {
                drafts.add(pattern, rank);
            }
        }
        let heads = Prefixes::new(drafts.groups);
        let nodes = drafts.nodes.into_iter().map(Node::from).collect();
        PatternSet { entries: merged, exact, heads, nodes }
    }

    /// The pattern that decides about a path, and what it stands for. The path has no leading
    /// slash.
    pub fn find(&self, path: &str) -> Option<(&Pattern, &T)> {
        let rank = match self.exact.get(path) {
            Some(rank) => Some(*rank),
            None => self.find_by_wildcard(path),
        };
        let (pattern, payload) = self.entries.get(rank?)?;
        Some((pattern, payload))
    }

    /// All patterns, the highest precedence first.
    pub fn iter(&self) -> impl Iterator<Item = (&Pattern, &T)> {
        self.entries.iter().map(|(pattern, payload)| (pattern, payload))
    }

    /// How many different patterns there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn find_by_wildcard(&self, path: &str) -> Option<usize> {
        self.heads.of(path).find_map(|(head, group)| {
            let mut best = group.any;
            if let (Some(root), Some(rest)) = (group.root, path.get(head.len()..)) {
                self.search(root, Some(rest), &mut best);
            }
            best
        })
    }

    /// Lowers `best` to the lowest rank below a node that matches the rest of a path; `None` is a
    /// path that has ended.
    fn search(&self, node: usize, rest: Option<&str>, best: &mut Option<usize>) {
        let Some(node) = self.nodes.get(node) else { return };
        let mut offer = |rank: Option<usize>| {
            *best = match (*best, rank) {
                (Some(best), Some(rank)) => Some(best.min(rank)),
                (best, rank) => best.or(rank),
            };
        };
        let Some(rest) = rest else { return offer(node.end) };
        // Below one node the longest text before the star has the highest precedence.
        offer(node.stars.of(rest).next().map(|(_, rank)| *rank));
        let (segment, rest) = split_segment(rest);
        if let Some(child) = node.literals.get(segment) {
            self.search(*child, rest, best);
        }
        if let Some(child) = node.plus {
            self.search(child, rest, best);
        }
    }
}

/// Patterns with the same head.
#[derive(Clone, Debug, Default)]
struct Group {
    /// The pattern that is the head and a star.
    any: Option<usize>,
    /// The node that is asked about what follows the head.
    root: Option<usize>,
}

/// A place between two segments of patterns.
#[derive(Clone, Debug)]
struct Node {
    /// The pattern that ends here.
    end: Option<usize>,
    /// Patterns that end with the segment's beginning and a star.
    stars: Prefixes<usize>,
    literals: HashMap<Box<str>, usize>,
    plus: Option<usize>,
}

/// Texts, sorted, to find those that a path begins with.
#[derive(Clone, Debug)]
struct Prefixes<V> {
    rows: Vec<Row<V>>,
}

#[derive(Clone, Debug)]
struct Row<V> {
    text: Box<str>,
    value: V,
    /// The longest other text that this one begins with.
    shorter: Option<usize>,
}

impl<V> Prefixes<V> {
    fn new(sorted: BTreeMap<String, V>) -> Self {
        let mut rows: Vec<Row<V>> = Vec::with_capacity(sorted.len());
        for (text, value) in sorted {
            // A text's beginnings all come before it, and the row before it knows the common ones.
            let mut shorter = rows.len().checked_sub(1);
            while let Some(row) = shorter.and_then(|at| rows.get(at)) {
                if text.starts_with(&*row.text) {
                    break;
                }
                shorter = row.shorter;
            }
            rows.push(Row { text: text.into(), value, shorter });
        }
        Prefixes { rows }
    }

    /// The texts that a path begins with, the longest first.
    fn of<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a str, &'a V)> + use<'a, V> {
        let after = self.rows.partition_point(|row| *row.text <= *path);
        let last = after.checked_sub(1).and_then(|at| self.rows.get(at));
        let common = last.map_or(0, |row| {
            row.text.bytes().zip(path.bytes()).take_while(|(one, other)| one == other).count()
        });
        std::iter::successors(last, |row| self.rows.get(row.shorter?))
            .filter(move |row| row.text.len() <= common)
            .map(|row| (&*row.text, &row.value))
    }
}

/// The tree while it grows.
#[derive(Default)]
struct Drafts {
    groups: BTreeMap<String, Group>,
    nodes: Vec<Draft>,
}

#[derive(Default)]
struct Draft {
    end: Option<usize>,
    stars: BTreeMap<String, usize>,
    literals: HashMap<Box<str>, usize>,
    plus: Option<usize>,
}

impl Drafts {
    fn add(&mut self, pattern: &Pattern, rank: usize) {
        let (head, stem) = pattern.split();
        let group = self.groups.entry(head.to_owned()).or_default();
        if stem.is_empty() {
            group.any = Some(rank);
            return;
        }
        let mut node = *group.root.get_or_insert_with(|| {
            self.nodes.push(Draft::default());
            self.nodes.len() - 1
        });
        let mut segments = stem.split('/').peekable();
        while let Some(segment) = segments.next() {
            let starred = pattern.ends_with_star && segments.peek().is_none();
            let next = self.nodes.len();
            let draft = self.nodes.get_mut(node).expect("nodes are never taken away");
            if starred {
                draft.stars.insert(segment.to_owned(), rank);
                return;
            }
            node = if segment == "+" {
                *draft.plus.get_or_insert(next)
            } else {
                *draft.literals.entry(segment.into()).or_insert(next)
            };
            if node == next {
                self.nodes.push(Draft::default());
            }
        }
        self.nodes.get_mut(node).expect("nodes are never taken away").end = Some(rank);
    }
}

impl From<Draft> for Node {
    fn from(draft: Draft) -> Self {
        let Draft { end, stars, literals, plus } = draft;
        Node { end, stars: Prefixes::new(stars), literals, plus }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::pattern;
    use super::*;

    fn set(texts: &[&str]) -> PatternSet<String> {
        let patterns = texts.iter().map(|text| (pattern(text), (*text).to_owned()));
        PatternSet::new(patterns, |into, other| into.push_str(&other))
    }

    /// What `find` must answer, found by trying all.
    fn find_slowly<'a, T>(set: &'a PatternSet<T>, path: &str) -> Option<&'a str> {
        let matching = set.iter().map(|(pattern, _)| pattern).filter(|p| p.matches(path));
        matching.max_by(|one, other| one.precedence(other)).map(Pattern::as_str)
    }

    #[test]
    fn the_deciding_pattern_is_found() {
        let set =
            set(&["kv/*", "kv/secret", "kv/+/x", "sys/capabilities*", "patchme", "+/+/y", "*"]);
        for (path, expected) in [
            ("kv/a", "kv/*"),
            ("kv/secret", "kv/secret"),
            ("kv/b/x", "kv/+/x"),
            ("kv/b/y", "kv/*"),
            ("other/b/y", "+/+/y"),
            ("sys/capabilities-self", "sys/capabilities*"),
            ("patchme", "patchme"),
            ("patchme/not", "*"),
            ("", "*"),
        ] {
            assert_eq!(
                set.find(path).map(|(pattern, _)| pattern.as_str()),
                Some(expected),
                "{path}"
            );
        }
    }

    #[test]
    fn the_same_pattern_twice_is_merged_in_order() {
        let set = set(&["a/*", "b", "/a/*", "a/*"]);
        assert_eq!(set.len(), 2);
        assert_eq!(set.find("a/x").unwrap().1, "a/*/a/*a/*");
    }

    #[test]
    fn an_empty_set_finds_nothing() {
        let set = set(&[]);
        assert!(set.is_empty());
        assert!(set.find("a").is_none());
        assert!(set.find("").is_none());
    }

    #[test]
    fn thousands_of_patterns_answer_as_trying_all_does() {
        let texts: Vec<String> = (0..2000)
            .map(|n| match n % 5 {
                0 => format!("kv/data/team-{n}/*"),
                1 => format!("kv/+/team-{n}/+/config"),
                2 => format!("kv/data/team-{n}/app"),
                3 => format!("+/data/team-{n}*"),
                _ => format!("kv/data/{}*", "x".repeat(n % 97)),
            })
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let set = set(&texts);
        for n in 0..100 {
            for path in [
                format!("kv/data/team-{n}/app"),
                format!("kv/data/team-{n}/other/config"),
                format!("kv/metadata/team-{n}/a/config"),
                format!("kv/data/{}y", "x".repeat(n)),
            ] {
                let found = set.find(&path).map(|(pattern, _)| pattern.as_str());
                assert_eq!(found, find_slowly(&set, &path), "{path}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn finding_is_the_same_as_trying_all(
            texts in proptest::collection::vec(
                "((a|b|ab|\\+|é|a\\+)?/){0,3}(a|b|ab|\\+|\\*|a\\*|ab\\*|é\\*)?", 0..24),
            paths in proptest::collection::vec("((a|b|ab|abc|é|\\+)?/){0,3}(a|b|ab|é|\\*)?", 1..12),
        ) {
            let patterns: Vec<_> =
                texts.iter().filter_map(|text| Pattern::parse(text).ok()).map(|p| (p, ())).collect();
            let set = PatternSet::new(patterns, |(), ()| {});
            for path in paths {
                let found = set.find(&path).map(|(pattern, ())| pattern.as_str());
                prop_assert_eq!(found, find_slowly(&set, &path), "{} {:?}", path, texts);
            }
        }
    }
}
