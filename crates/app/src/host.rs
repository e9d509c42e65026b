//! The machine and the log, for who asks the server about them.

use crate::config::{Config, Storage};
use bailee_kernel::{Host, LogLevel};
use bailee_server::tls::Certificate;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, OnceLock},
};

use crate::logs::Logs;

/// This process and its machine.
pub struct Machine {
    logs: Option<Arc<Logs>>,
    configuration: Map<String, Value>,
    pub(crate) certificates: OnceLock<Vec<Arc<Certificate>>>,
}

impl Machine {
    /// With the configuration as it was read.
    pub fn new(config: &Config, logs: Option<Arc<Logs>>) -> Machine {
        let configuration = sanitized(config);
        Machine { logs, configuration, certificates: OnceLock::new() }
    }
}

impl Host for Machine {
    fn info(&self) -> Map<String, Value> {
        let mut told = Map::new();
        told.insert("host".to_owned(), host());
        told.insert("cpu".to_owned(), cpus());
        told.insert("cpu_times".to_owned(), cpu_times());
        told.insert("disk".to_owned(), disks());
        told.insert("memory".to_owned(), memory());
        told
    }

    fn configuration(&self) -> Map<String, Value> {
        self.configuration.clone()
    }

    fn log_levels(&self) -> BTreeMap<String, String> {
        self.logs.as_ref().map(|logs| logs.levels()).unwrap_or_default()
    }

    fn set_log_level(&self, part: Option<&str>, level: Option<LogLevel>) -> bool {
        self.logs.as_ref().is_some_and(|logs| logs.set(part, level.map(LogLevel::name)))
    }

    fn reload(&self, part: &str) -> Option<Result<(), String>> {
        if part != "tls" {
            return None;
        }
        let certificates = self.certificates.get().map(Vec::as_slice).unwrap_or_default();
        let failed = certificates.iter().find_map(|certificate| certificate.reload().err());
        Some(failed.map_or(Ok(()), |error| Err(error.to_string())))
    }
}

/// The configuration in the fields that clients know. What there is nothing of here is empty.
fn sanitized(config: &Config) -> Map<String, Value> {
    let listeners: Vec<Value> = config
        .listeners
        .iter()
        .map(|listener| {
            json!({
                "type": "tcp",
                "config": {
                    "address": listener.address.to_string(),
                    "cluster_address": "",
                    "tls_disable": listener.tls.is_none(),
                },
            })
        })
        .collect();
    let storage = match &config.storage {
        Storage::Embedded { .. } => "embedded",
        Storage::Memory => "inmem",
    };
    let pid_file = config.pid_file.as_ref().map(|path| path.display().to_string());
    let told = json!({
        "administrative_namespace_path": "",
        "allow_audit_log_prefixing": false,
        "api_addr": config.api_addr.clone().unwrap_or_default(),
        "cache_size": 0,
        "cluster_addr": "",
        "cluster_cipher_suites": "",
        "cluster_name": config.cluster_name.clone().unwrap_or_default(),
        "default_lease_ttl": config.default_lease_ttl.as_secs(),
        "default_max_request_duration": 0,
        "detect_deadlocks": "",
        "disable_cache": false,
        "disable_clustering": true,
        "disable_indexing": false,
        "disable_mlock": !config.lock_memory,
        "disable_performance_standby": true,
        "disable_printable_check": false,
        "disable_sealwrap": false,
        "disable_sentinel_trace": true,
        "enable_post_unseal_trace": false,
        "enable_response_header_hostname": false,
        "enable_response_header_raft_node_id": false,
        "enable_ui": false,
    });
    let more = json!({
        "experiments": null,
        "imprecise_lease_role_tracking": false,
        "introspection_endpoint": false,
        "listeners": listeners,
        "log_format": if config.log_json { "json" } else { "standard" },
        "log_level": config.log_level,
        "log_requests_level": "",
        "max_lease_ttl": config.max_lease_ttl.as_secs(),
        "pid_file": pid_file.unwrap_or_default(),
        "plugin_directory": "",
        "plugin_file_permissions": 0,
        "plugin_file_uid": 0,
        "plugin_tmpdir": "",
        "post_unseal_trace_directory": "",
        "raw_storage_endpoint": false,
        "remove_irrevocable_lease_after": 0,
        "seals": [{ "disabled": false, "name": "shamir", "priority": 1, "type": "shamir" }],
        "storage": {
            "type": storage,
            "cluster_addr": "",
            "disable_clustering": true,
            "redirect_addr": config.api_addr.clone().unwrap_or_default(),
        },
    });
    [told, more].iter().filter_map(Value::as_object).flat_map(Map::clone).collect()
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn host() -> Value {
    let system = rustix::system::uname();
    let release = text("/etc/os-release");
    let of_release = |name: &str| {
        let found = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().trim_matches('"').to_owned()
    };
    let uptime = text("/proc/uptime");
    let uptime = uptime.split('.').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let stat = text("/proc/stat");
    let of_stat = |name: &str| {
        let found = stat.lines().find_map(|line| line.strip_prefix(name));
        found.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let family = of_release("ID_LIKE");
    json!({
        "hostname": system.nodename().to_string_lossy(),
        "uptime": uptime,
        "bootTime": of_stat("btime"),
        "procs": fs::read_dir("/proc").map_or(0, |entries| {
            entries.filter_map(Result::ok).filter(|entry| {
                entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit())
            }).count()
        }),
        "os": system.sysname().to_string_lossy().to_lowercase(),
        "platform": of_release("ID"),
        "platformFamily": if family.is_empty() { of_release("ID") } else { family },
        "platformVersion": of_release("VERSION_ID"),
        "kernelVersion": system.release().to_string_lossy(),
        "kernelArch": system.machine().to_string_lossy(),
        "virtualizationSystem": "",
        "virtualizationRole": "",
        "hostid": "",
    })
}

fn cpus() -> Value {
    let cpuinfo = text("/proc/cpuinfo");
    let blocks = cpuinfo.split("\n\n").filter(|block| block.contains("processor"));
    blocks
        .map(|block| {
            let field = |name: &str| {
                block
                    .lines()
                    .find_map(|line| {
                        let (key, value) = line.split_once(':')?;
                        (key.trim() == name).then(|| value.trim().to_owned())
                    })
                    .unwrap_or_default()
            };
            let number = |name: &str| field(name).parse::<f64>().unwrap_or(0.0);
            let whole = |name: &str| field(name).parse::<i64>().unwrap_or(0);
            let cache = field("cache size");
            let cache = cache.split(' ').next().and_then(|size| size.parse::<i64>().ok());
            json!({
                "cpu": whole("processor"),
                "vendorId": field("vendor_id"),
                "family": field("cpu family"),
                "model": field("model"),
                "stepping": whole("stepping"),
                "physicalId": field("physical id"),
                "coreId": field("core id"),
                "cores": 1,
                "modelName": field("model name"),
                "mhz": number("cpu MHz"),
                "cacheSize": cache.unwrap_or(0),
                "flags": field("flags").split_whitespace().collect::<Vec<_>>(),
                "microcode": field("microcode"),
            })
        })
        .collect()
}

fn cpu_times() -> Value {
    /// Clock ticks of a second, as Linux shows times to all programs.
    const TICKS: f64 = 100.0;
    const NAMES: [&str; 10] = [
        "user",
        "nice",
        "system",
        "idle",
        "iowait",
        "irq",
        "softirq",
        "steal",
        "guest",
        "guestNice",
    ];
    let stat = text("/proc/stat");
    let lines = stat.lines().filter(|line| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let mut shown = Map::new();
            shown.insert("cpu".to_owned(), words.next().unwrap_or_default().into());
            for name in NAMES {
                let ticks = words.next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
                shown.insert(name.to_owned(), json!(ticks / TICKS));
            }
            Value::Object(shown)
        })
        .collect()
}

fn disks() -> Value {
    /// Most disks that are told of.
    const DISKS_MAX: usize = 64;
    let mounts = text("/proc/self/mounts");
    let mut seen = std::collections::BTreeSet::new();
    let devices = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (device, place, kind) = (words.next()?, words.next()?, words.next()?);
        let is_disk = device.starts_with('/') || place == "/";
        (is_disk && seen.insert(device.to_owned())).then(|| (place.to_owned(), kind.to_owned()))
    });
    devices.take(DISKS_MAX).filter_map(|(place, kind)| disk(&place, &kind)).collect()
}

fn disk(place: &str, kind: &str) -> Option<Value> {
    let told = rustix::fs::statvfs(place).ok()?;
    let (total, free) = (told.f_blocks * told.f_frsize, told.f_bavail * told.f_frsize);
    let used = total.saturating_sub(told.f_bfree * told.f_frsize);
    let inodes_used = told.f_files.saturating_sub(told.f_ffree);
    #[expect(clippy::cast_precision_loss, reason = "a share of a hundred needs few digits")]
    let share = |part: u64, whole: u64| {
        if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
    };
    Some(json!({
        "path": place,
        "fstype": kind,
        "total": total,
        "free": free,
        "used": used,
        "usedPercent": share(used, used + free),
        "inodesTotal": told.f_files,
        "inodesUsed": inodes_used,
        "inodesFree": told.f_ffree,
        "inodesUsedPercent": share(inodes_used, told.f_files),
    }))
}

fn memory() -> Value {
    /// Our name of a fact, the kernel's, in bytes or not.
    const FIELDS: [(&str, &str); 27] = [
        ("total", "MemTotal"),
        ("available", "MemAvailable"),
        ("free", "MemFree"),
        ("active", "Active"),
        ("inactive", "Inactive"),
        ("buffers", "Buffers"),
        ("cached", "Cached"),
        ("writeback", "Writeback"),
        ("dirty", "Dirty"),
        ("writebacktmp", "WritebackTmp"),
        ("shared", "Shmem"),
        ("slab", "Slab"),
        ("sreclaimable", "SReclaimable"),
        ("sunreclaim", "SUnreclaim"),
        ("pagetables", "PageTables"),
        ("swapcached", "SwapCached"),
        ("swapfree", "SwapFree"),
        ("swaptotal", "SwapTotal"),
        ("commitlimit", "CommitLimit"),
        ("committedas", "Committed_AS"),
        ("mapped", "Mapped"),
        ("vmalloctotal", "VmallocTotal"),
        ("vmallocused", "VmallocUsed"),
        ("vmallocchunk", "VmallocChunk"),
        ("hugepagestotal", "HugePages_Total"),
        ("hugepagesfree", "HugePages_Free"),
        ("hugepagesize", "Hugepagesize"),
    ];
    let meminfo = text("/proc/meminfo");
    let field = |name: &str| {
        let found = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let mut words = found.unwrap_or_default().split_whitespace();
        let number = words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        if words.next() == Some("kB") { number * 1024 } else { number }
    };
    let mut shown: Map<String, Value> =
        FIELDS.iter().map(|(ours, theirs)| ((*ours).to_owned(), field(theirs).into())).collect();
    let (total, available) = (field("MemTotal"), field("MemAvailable"));
    let used = total.saturating_sub(available);
    #[expect(clippy::cast_precision_loss, reason = "a share of a hundred needs few digits")]
    let share = if total == 0 { 0.0 } else { used as f64 * 100.0 / total as f64 };
    shown.insert("used".to_owned(), used.into());
    shown.insert("usedPercent".to_owned(), json!(share));
    for none in ["wired", "laundry", "highfree", "hightotal", "lowfree", "lowtotal"] {
        shown.insert(none.to_owned(), 0.into());
    }
    Value::Object(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_told_in_numbers_that_add_up() {
        let told = Machine::new(&Config::dev(([127, 0, 0, 1], 0).into()), None).info();
        let memory = &told["memory"];
        assert!(memory["total"].as_u64().unwrap() >= memory["free"].as_u64().unwrap());
        assert!(!told["cpu_times"].as_array().unwrap().is_empty());
        assert!(!told["host"]["hostname"].as_str().unwrap().is_empty());
    }
}
