//! `sys/rotate` and `sys/rotate/config`: when a new key takes over the sealing of new values.

use super::{Nothing, System};
use bailee_barrier::{Barrier, KeyStatus};
use bailee_crypto::clock;
use bailee_notation::duration;
use bailee_sdk::{
    Error, Operation, Path, Reply, Request,
    field::{Flag, Integer, Ttl},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Where it is kept when the key changes by itself.
const PLACE: &str = "core/";
const KEY: &str = "rotation";
/// Most values that one key may seal: nine tenths of what random nonces allow. Also what holds when
/// rotation is switched off.
const OPERATIONS_MAX: u64 = 3_865_470_566;
/// Fewest values after which a key may be replaced.
const OPERATIONS_MIN: u64 = 1_000_000;
/// Shortest interval between two keys.
const INTERVAL_MIN: Duration = Duration::from_secs(24 * 3600);

/// When the key changes by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Rotation {
    enabled: bool,
    interval_secs: u64,
    max_operations: u64,
}

#[derive(Deserialize, JsonSchema)]
struct Change {
    /// Values that one key seals at most: from 1000000 to 3865470566.
    #[serde(default)]
    max_operations: Option<Integer>,
    /// Longest time that one key is in use, at least 24h; 0 for no limit.
    #[serde(default)]
    interval: Option<Ttl>,
    /// Whether keys change by themselves before they have to.
    #[serde(default)]
    enabled: Option<Flag>,
}

pub(super) fn paths(system: &Arc<System>) -> Vec<Path> {
    let rotate = |pattern| {
        let summary = "Make a new key for new values; older ones stay readable.";
        Path::new(pattern).on(Operation::Update, system, summary, System::rotate).sudo().root_only()
    };
    vec![
        rotate("rotate"),
        rotate("rotate/keyring"),
        config_path("rotate/config", system),
        config_path("rotate/keyring/config", system),
    ]
}

fn config_path(pattern: &'static str, system: &Arc<System>) -> Path {
    let read = "Tell when a new key takes over by itself.";
    let write = "Set when a new key takes over by itself.";
    Path::new(pattern)
        .on(Operation::Read, system, read, System::read_rotation)
        .on(Operation::Update, system, write, System::write_rotation)
        .root_only()
}

impl System {
    async fn rotate(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        self.barrier.rotate().await?;
        Ok(Reply::empty())
    }

    async fn read_rotation(self: Arc<Self>, request: Request<Nothing>) -> Result<Reply, Error> {
        let rotation: Option<Rotation> = request.view.at(PLACE).get(KEY).await?;
        let rotation = rotation.unwrap_or_default();
        let interval = match rotation.interval_secs {
            0 => Value::from(0),
            seconds => duration::format_go(Duration::from_secs(seconds)).into(),
        };
        Ok(Reply::data(&json!({
            "enabled": rotation.enabled,
            "interval": interval,
            "max_operations": rotation.max_operations,
        })))
    }

    async fn write_rotation(self: Arc<Self>, request: Request<Change>) -> Result<Reply, Error> {
        let view = request.view.at(PLACE);
        view.lock(KEY).await;
        let mut rotation: Rotation = view.get(KEY).await?.unwrap_or_default();
        if let Some(Integer(asked)) = request.input.max_operations {
            let asked = u64::try_from(asked).unwrap_or_default();
            if !(OPERATIONS_MIN..=OPERATIONS_MAX).contains(&asked) {
                return Err(Error::invalid(format!(
                    "max_operations must be in the range [{OPERATIONS_MIN},{OPERATIONS_MAX}]"
                )));
            }
            rotation.max_operations = asked;
        }
        if let Some(Ttl(interval)) = request.input.interval {
            if !interval.is_zero() && interval < INTERVAL_MIN {
                let least = duration::format_go(INTERVAL_MIN);
                return Err(Error::invalid(format!(
                    "interval must be greater or equal to {least}"
                )));
            }
            rotation.interval_secs = interval.as_secs();
        }
        if let Some(Flag(enabled)) = request.input.enabled {
            rotation.enabled = enabled;
        }
        view.put(KEY, &rotation);
        Ok(Reply::empty())
    }
}

impl Default for Rotation {
    fn default() -> Rotation {
        Rotation { enabled: true, interval_secs: 0, max_operations: OPERATIONS_MAX }
    }
}

impl Rotation {
    fn is_due(&self, status: &KeyStatus, now: SystemTime) -> bool {
        let most = if self.enabled { self.max_operations } else { OPERATIONS_MAX };
        if status.encryptions_max >= most {
            return true;
        }
        let age = now.duration_since(clock::from_millis(status.installed_at)).unwrap_or_default();
        self.enabled && self.interval_secs > 0 && age.as_secs() >= self.interval_secs
    }
}

/// Makes a new key when it is time; what the active one has sealed is noted.
pub(crate) async fn rotation_pass(barrier: &Arc<Barrier>, now: SystemTime) -> Result<(), Error> {
    let rotation: Option<Rotation> = barrier.view(PLACE).get(KEY).await?;
    if rotation.unwrap_or_default().is_due(&barrier.key_status(), now) {
        barrier.rotate().await?;
    }
    Ok(barrier.note_usage().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(encryptions_max: u64, installed_at: u64) -> KeyStatus {
        KeyStatus { term: 1, installed_at, encryptions: 0, encryptions_max }
    }

    #[test]
    fn a_key_is_replaced_by_use_or_by_age_and_switched_off_only_at_the_last_bound() {
        let now = clock::from_millis(200 * 3600 * 1000);
        let daily = Rotation { enabled: true, interval_secs: 86_400, max_operations: 1_000_000 };
        let fresh = 190 * 3600 * 1000;
        assert!(!daily.is_due(&status(999_999, fresh), now));
        assert!(daily.is_due(&status(1_000_000, fresh), now));
        assert!(daily.is_due(&status(0, 176 * 3600 * 1000), now));
        assert!(!Rotation::default().is_due(&status(1_000_000, 0), now));
        let off = Rotation { enabled: false, ..daily };
        assert!(!off.is_due(&status(1_000_000, 0), now));
        assert!(off.is_due(&status(OPERATIONS_MAX, fresh), now));
        // A clock that went back ages nothing.
        assert!(
            !Rotation { interval_secs: 86_400, ..Rotation::default() }
                .is_due(&status(0, 300 * 3600 * 1000), now)
        );
    }
}
