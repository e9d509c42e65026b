//! Whether credentials are good, and what they permit; nothing is changed.

use super::{
    AwsSecretsManager,
    calls::{DESCRIBE, LIST},
};
use crate::{
    destination::{Checked, Note},
    failure::{Error, Failure},
};
use bailee_cloud::{Kind, aws::caller_identity};

const IDENTIFY: &str = "sts:GetCallerIdentity";

impl AwsSecretsManager {
    pub(super) async fn examine(&self) -> Result<Checked, Error> {
        let mut checked = Checked::default();
        checked.identity.insert("region".to_owned(), self.calls.region().to_owned());
        match caller_identity(&self.sts).await {
            Ok(caller) => {
                checked.identity.insert("account".to_owned(), caller.account);
                checked.identity.insert("arn".to_owned(), caller.arn);
            }
            Err(error) => match error.kind {
                // Deliveries need no STS, and it may be out of reach where they are not.
                Kind::Refused | Kind::Dns | Kind::Timeout | Kind::Io | Kind::Denied { .. }
                    if !self.takes_on_a_role =>
                {
                    checked.notes.push(Note {
                        missing_permission: IDENTIFY.to_owned(),
                        message: format!("would tell the account and the identity: {error}"),
                    });
                }
                _ => return Err(super::errors::failed(IDENTIFY, error)),
            },
        }
        let listed = self.calls.try_list().await;
        checked.notes.extend(note(
            listed,
            LIST,
            "would let reconciliation see what others changed at the destination, a hundred secrets \
             a call",
        )?);
        let described = self.calls.describe(&self.probe).await;
        let adds = format!(
            "would let reconciliation confirm and repair what others changed, and ownership=adopt \
             and ownership=refuse tell whose a secret is; tried with the name {:?}, a condition on \
             tags forbids that as well",
            self.probe
        );
        checked.notes.extend(note(described.map(|_| ()), DESCRIBE, &adds)?);
        Ok(checked)
    }
}

/// What a permission would add, where it is missing.
fn note(tried: Result<(), Error>, permission: &str, adds: &str) -> Result<Option<Note>, Error> {
    match tried {
        Ok(()) => Ok(None),
        Err(error) if error.failure == Failure::Forbidden => Ok(Some(Note {
            missing_permission: error.missing_permission.unwrap_or_else(|| permission.to_owned()),
            message: adds.to_owned(),
        })),
        Err(error) => Err(error),
    }
}
