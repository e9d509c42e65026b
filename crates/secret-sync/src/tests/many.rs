//! Many associations at once, written as requests would have left them.

use super::world::World;
use crate::store::{Claim, Mark, Store};
use serde_json::json;

/// Associations that one batch stores.
const BATCH: usize = 500;

/// Names that many associations go by: `app/0`, `app/1` and so on.
pub(super) fn secret(number: usize) -> String {
    format!("app/{number}")
}

/// Their names at the destination.
pub(super) fn external(number: usize) -> String {
    format!("vault/kv_1234/app/{number}")
}

/// Associates so many secrets with `in-mem/d1` and marks them dirty, as `set` does it; the first one
/// is set by a request and is the pattern of the others. Sync must be disabled.
pub(super) async fn associate(world: &World, count: usize) {
    let input = json!({ "mount": "kv", "secret_name": secret(0) });
    world.post("sync/destinations/in-mem/d1/associations/set", input).await.unwrap();
    let open = || Store::open(&world.barrier, &world.namespace);
    let id = open().destination_id("in-mem", "d1");
    let (_, pattern) = open().associations(&id).await.unwrap().remove(0);
    for first in (1..count).step_by(BATCH) {
        let store = open();
        for number in first..count.min(first + BATCH) {
            let mut association = pattern.clone();
            association.secret_name = secret(number);
            // As far as it was begun; where sync is disabled the pattern has no object yet.
            for object in &mut association.objects {
                object.name = external(number);
            }
            let code = store.secret_id(&association.mount, &association.secret_name);
            store.put_association(&id, &code, &association);
            if association.has_begun() {
                let claim = Claim { secret: code.clone(), sub_key: None };
                store.claim_name(&id, &external(number), &claim);
            }
            store.mark_dirty(&id, &code, Mark::default());
        }
        store.view.commit().await.unwrap();
    }
}
