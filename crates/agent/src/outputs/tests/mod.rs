//! Outputs with real processes and real files.

mod exec;
mod value;

use crate::{
    connection::Reference,
    manager::Wanted,
    outputs::value::Value,
    store::{Freshness, Store},
    testing::{FakeManager, store_over},
};
use std::{path::PathBuf, sync::Arc};
use tempfile::TempDir;

/// A store over secrets, and a folder.
struct Scene {
    manager: Arc<FakeManager>,
    store: Arc<Store>,
    folder: TempDir,
}

impl Scene {
    fn with(secrets: &[(&str, &str)]) -> Scene {
        let manager = FakeManager::with(secrets);
        let store = store_over(manager.clone());
        Scene { manager, store, folder: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A secret becomes another one, and the store learns of it.
    async fn change(&self, id: &str, value: &str) {
        self.manager.set(id, value);
        self.store.get("m", &Wanted::current(id), Freshness::Now).await.unwrap();
    }
}

fn secret(id: &str, key: Option<&str>) -> Value {
    Value::secret(Reference {
        manager: "m".to_owned(),
        wanted: Wanted::current(id),
        key: key.map(str::to_owned),
    })
}
