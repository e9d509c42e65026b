//! Outputs with real processes and real files.

mod exec;
mod file;
mod run;
mod template;
mod value;

use crate::{
    connection::{Connection, Property, Reference},
    manager::Wanted,
    outputs::{template::Sources, value::Value},
    store::{Freshness, Store},
    testing::{FakeManager, store_over},
};
use parking_lot::Mutex;
use std::{
    cell::RefCell,
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Once},
};
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

/// What templates of the tests may ask for: the place is a server, and there is a connection `db`.
fn sources() -> Sources {
    let password = Reference {
        manager: "m".to_owned(),
        wanted: Wanted::current("db"),
        key: Some("password".to_owned()),
    };
    let properties = [
        ("host".to_owned(), Property::Plain("db.example".to_owned())),
        ("password".to_owned(), Property::Secret(password)),
    ];
    let db = Connection { name: "db".to_owned(), properties: properties.into() };
    Sources {
        vault: Some("m".to_owned()),
        connections: Arc::new([("db".to_owned(), db)].into()),
        env: Arc::default(),
    }
}

thread_local! {
    /// What this thread logs, where somebody takes it down.
    static LOG: RefCell<Option<Logged>> = const { RefCell::new(None) };
}

/// What is logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

/// Ends the taking down of what is logged.
struct Guard;

impl Logged {
    /// Takes down everything that this thread logs until the guard is dropped. The subscriber is one for all threads:
    /// with one for each, a line that another thread came to first may be left out.
    fn begin() -> (Logged, Guard) {
        static SUBSCRIBED: Once = Once::new();
        SUBSCRIBED.call_once(|| {
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .with_writer(|| LOG.with_borrow(Clone::clone).unwrap_or_default())
                .finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
        let logged = Logged::default();
        LOG.set(Some(logged.clone()));
        (logged, Guard)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        LOG.set(None);
    }
}

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn secret(id: &str, key: Option<&str>) -> Value {
    Value::secret(Reference {
        manager: "m".to_owned(),
        wanted: Wanted::current(id),
        key: key.map(str::to_owned),
    })
}
