//! How a secret is kept beside its value and tags: the key that encrypts it, and the regions it is
//! copied to.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The key that encrypts a secret where nobody chose another.
pub(super) const DEFAULT_KEY: &str = "alias/aws/secretsmanager";

/// Key and replicas of a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placement {
    /// KMS key in the secret's own region; the account's default key when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kms_key_id: Option<String>,
    /// Regions it is copied to, each with its KMS key; empty for the default key there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) replica_regions: BTreeMap<String, String>,
}

/// What leads from one placement to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    /// The key that is to encrypt from now on.
    pub(super) key: Option<String>,
    /// Regions to be copied to no more.
    pub(super) remove: Vec<String>,
    /// Regions to be copied to, with their keys.
    pub(super) add: BTreeMap<String, String>,
}

impl Placement {
    /// One text for one placement; empty for the plain one.
    pub(super) fn text(&self) -> String {
        if *self == Placement::default() {
            return String::new();
        }
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The placement that a text of ours stands for.
    pub(super) fn parse(text: &str) -> Placement {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// What leads here from there.
    pub(super) fn moves_from(&self, before: &Placement) -> Moves {
        let kept = |region: &str, key: &str| {
            before.replica_regions.get(region).is_some_and(|old| old == key)
        };
        let key = (self.kms_key_id != before.kms_key_id)
            .then(|| self.kms_key_id.clone().unwrap_or_else(|| DEFAULT_KEY.to_owned()));
        // A replica gets another key by being made anew.
        let stays = |region: &String| {
            let wanted = self.replica_regions.get(region);
            wanted.is_some_and(|wanted| kept(region, wanted))
        };
        let remove = before.replica_regions.keys().filter(|region| !stays(region)).cloned();
        let add = self.replica_regions.iter().filter(|(region, key)| !kept(region, key));
        Moves {
            key,
            remove: remove.collect(),
            add: add.map(|(region, key)| (region.clone(), key.clone())).collect(),
        }
    }

    /// What leads here from what the service shows of our own secret. It may name a key otherwise
    /// than we do, so copies that are there stay.
    pub(super) fn moves_from_shown(&self, shown: &Placement) -> Moves {
        let mut moves = self.moves_from(shown);
        moves.remove.retain(|region| !self.replica_regions.contains_key(region));
        moves.add.retain(|region, _| !shown.replica_regions.contains_key(region));
        moves
    }

    /// What leads here from what somebody else keeps, as far as it is shown: nothing is taken away.
    pub(super) fn moves_from_foreign(&self, shown: Option<&Placement>) -> Moves {
        let there =
            |region: &str| shown.is_some_and(|shown| shown.replica_regions.contains_key(region));
        let add = self.replica_regions.iter().filter(|(region, _)| !there(region));
        Moves {
            key: self.kms_key_id.clone(),
            remove: Vec::new(),
            add: add.map(|(region, key)| (region.clone(), key.clone())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(key: Option<&str>, regions: &[(&str, &str)]) -> Placement {
        Placement {
            kms_key_id: key.map(str::to_owned),
            replica_regions: regions
                .iter()
                .map(|(region, key)| ((*region).to_owned(), (*key).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn one_placement_is_one_text() {
        assert_eq!(Placement::default().text(), "");
        let placement = placed(Some("k"), &[("eu-west-1", ""), ("us-west-2", "k2")]);
        let text = placement.text();
        assert_eq!(
            text,
            r#"{"kms_key_id":"k","replica_regions":{"eu-west-1":"","us-west-2":"k2"}}"#
        );
        assert_eq!(Placement::parse(&text), placement);
        assert_eq!(Placement::parse(""), Placement::default());
    }

    #[test]
    fn only_what_differs_is_moved() {
        let before = placed(Some("k"), &[("a", ""), ("b", "k1"), ("c", "")]);
        let after = placed(None, &[("a", ""), ("b", "k2"), ("d", "")]);
        let moves = after.moves_from(&before);
        assert_eq!(moves.key.as_deref(), Some(DEFAULT_KEY));
        assert_eq!(moves.remove, ["b", "c"]);
        let add = BTreeMap::from([("b", "k2"), ("d", "")].map(|(k, v)| (k.into(), v.into())));
        assert_eq!(moves.add, add);
        assert_eq!(after.moves_from(&after), Moves::default());
        assert_eq!(Placement::default().moves_from_foreign(Some(&before)), Moves::default());
        let foreign = after.moves_from_foreign(Some(&before));
        assert_eq!((foreign.key, foreign.remove), (None, Vec::new()));
        assert_eq!(foreign.add, BTreeMap::from([("d".to_owned(), String::new())]));
        let shown = after.moves_from_shown(&before);
        assert_eq!(shown.remove, ["c"]);
        assert_eq!(shown.add, BTreeMap::from([("d".to_owned(), String::new())]));
    }
}
