//! Service or batch: which of the two a token becomes.

use bailee_sdk::TokenType;

/// How a token is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Stored; it can be prolonged, revoked and have children.
    #[default]
    Service,
    /// Sealed into its own text and stored nowhere: it ends by the clock or with its parent.
    Batch,
}

impl Kind {
    /// The word for it in answers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Service => "service",
            Kind::Batch => "batch",
        }
    }

    /// What a login gets. A mount that says `service` or `batch` has the last word; one that says
    /// `default-…` leaves it to the method, and decides where that has no opinion.
    pub(crate) fn of_login(asked: TokenType, mount: &str) -> Kind {
        match (mount, asked) {
            ("service", _) => Kind::Service,
            ("batch", _) => Kind::Batch,
            (_, TokenType::Service | TokenType::DefaultService) => Kind::Service,
            (_, TokenType::Batch | TokenType::DefaultBatch) => Kind::Batch,
            ("default-batch", TokenType::Default) => Kind::Batch,
            (_, TokenType::Default) => Kind::Service,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_decides_unless_it_only_has_a_default() {
        use TokenType::{Batch, Default, DefaultBatch, DefaultService, Service};
        let all = [Default, DefaultService, DefaultBatch, Service, Batch];
        for (mount, batches) in [
            ("", [false, false, true, false, true]),
            ("default-service", [false, false, true, false, true]),
            ("default-batch", [true, false, true, false, true]),
            ("service", [false; 5]),
            ("batch", [true; 5]),
        ] {
            for (asked, batch) in all.into_iter().zip(batches) {
                let kind = Kind::of_login(asked, mount);
                assert_eq!(kind == Kind::Batch, batch, "{asked:?} at {mount:?}");
            }
        }
    }
}
