//! Whether an object that has the name we want may be written, or removed.

use crate::{
    destination::{Delivery, Owner, Ownership, Removal},
    failure::{Error, Failure},
    tags::MARK_TAG,
};

/// Whether what was found under the name may be written; the error says what is there and what to
/// do.
pub(super) fn may_write(delivery: &Delivery, owner: Owner) -> Result<(), Error> {
    let refused = |message: String| Err(Error::new(Failure::NotOurs, message));
    let name = &delivery.name;
    let what = match owner {
        Owner::Us => return Ok(()),
        Owner::Twin => {
            return refused(format!(
                "another server with this server's keys, a copy or one restored from its snapshot, \
                 owns {name:?}: stop that server and post sys/sync/takeover, or choose another \
                 secret_name_template"
            ));
        }
        Owner::Sibling => {
            return refused(format!(
                "this server itself keeps {name:?} for another purpose, a source or an association: \
                 remove it there, or choose other names"
            ));
        }
        Owner::Other => {
            "a secret that another server delivers, or this one for another destination, has that \
             name"
        }
        Owner::Vault => {
            "a secret with the mark of secrets sync, and not with this server's own, has that name"
        }
        Owner::Nobody => "a secret that nobody delivered has that name",
    };
    match (delivery.ownership, owner) {
        (Ownership::Overwrite, _) | (Ownership::Adopt, Owner::Vault | Owner::Nobody) => Ok(()),
        (Ownership::Adopt, _) => refused(format!(
            "{what}: {name:?} is not taken over; remove it there, choose another \
             secret_name_template, or set ownership=overwrite"
        )),
        (Ownership::Refuse, Owner::Vault | Owner::Nobody) => refused(format!(
            "{what}: {name:?} is left alone; delete it at the destination, choose another \
             secret_name_template, or set ownership=adopt to take it over"
        )),
        (Ownership::Refuse, _) => refused(format!(
            "{what}: {name:?} is left alone; remove it there, or choose another \
             secret_name_template"
        )),
    }
}

/// Why an object is not removed of which it cannot be told whose it is.
pub(super) fn unclear(removal: &Removal) -> Error {
    let what = if removal.repeated { "removal" } else { "delivery" };
    let name = &removal.name;
    let message = format!(
        "it is not known whether a {what} reached {name:?}, and it lacks this server's mark in the tag \
         {MARK_TAG}, so it is not deleted: delete it at the destination if it is not wanted, or set the \
         association again"
    );
    Error::new(Failure::NotOurs, message)
}
