//! `server`: runs until it is told to stop.

use crate::{
    assemble::assemble,
    config::{self, Config, Faults, ServerEnvironment, Storage},
    dev,
    logs::Logs,
};
use anyhow::{Context, Result, bail};
use bailee_crypto::Sensitive;
use bailee_kernel::Core;
use bailee_server::tls::Certificate;
use clap::Args;
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Weak},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Where a development server listens.
const DEV_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8200);

/// Runs a server.
#[derive(Args, Clone, Debug)]
pub(crate) struct Server {
    /// Configuration file, or folder with one file ending in .hcl or .json.
    #[arg(long = "config", value_name = "PATH")]
    config: Vec<PathBuf>,
    /// Run in memory, unsealed, on loopback. Never for secrets that matter.
    #[arg(long)]
    dev: bool,
    /// Root token of the development server; generated when absent.
    #[arg(long, value_name = "TOKEN", requires = "dev")]
    dev_root_token_id: Option<String>,
    /// Address of the development server; 127.0.0.1:8200 by default (VAULT_DEV_LISTEN_ADDRESS).
    #[arg(long, value_name = "ADDRESS")]
    dev_listen_address: Option<SocketAddr>,
    /// Mount version 1 of the kv engine in the development server.
    #[arg(long)]
    dev_kv_v1: bool,
    /// Mount no kv engine in the development server.
    #[arg(long)]
    dev_no_kv: bool,
    /// Do not write the development server's token to the token file.
    #[arg(long)]
    dev_no_store_token: bool,
    /// Least severe messages that are logged: trace, debug, info, warn, error.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Form of log lines: standard or json.
    #[arg(long, value_name = "FORMAT", value_parser = ["standard", "json"])]
    log_format: Option<String>,
}

/// Runs the server to its end.
pub(crate) fn run(arguments: &Server) -> Result<()> {
    let environment = ServerEnvironment::read();
    let mut config = configuration(arguments)?;
    if let Some(level) = arguments.log_level.as_ref().or(environment.log_level.as_ref()) {
        config.log_level.clone_from(level);
    }
    if let Some(format) = &arguments.log_format {
        config.log_json = format == "json";
    }
    let logs = Logs::start(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("the runtime cannot be started")?;
    runtime.block_on(serve(arguments, &config, &environment, logs))
}

async fn serve(
    arguments: &Server,
    config: &Config,
    environment: &ServerEnvironment,
    logs: Arc<Logs>,
) -> Result<()> {
    let app = assemble(config, environment, Some(logs)).await?;
    for setting in &config.without_effect {
        tracing::warn!(setting, "this setting has no effect here");
    }
    if !app.protection.undumpable {
        tracing::warn!("core dumps could not be switched off");
    }
    if config.lock_memory && !app.protection.locked {
        tracing::warn!("memory could not be locked; allow it (CAP_IPC_LOCK) or keep swap off");
    }
    if config.storage == Storage::Memory && !arguments.dev {
        tracing::warn!("storage is in memory: everything is gone when this process ends");
    }
    if arguments.dev {
        let token = arguments.dev_root_token_id.clone().map(Sensitive::from);
        let token = token.or_else(config::env::dev_root_token);
        let kv = match (arguments.dev_no_kv, arguments.dev_kv_v1) {
            (true, _) => None,
            (false, true) => Some("1"),
            (false, false) => Some("2"),
        };
        dev::prepare(&app, token, kv, !arguments.dev_no_store_token).await?;
    }
    let pid_file = config.pid_file.as_ref().map(PidFile::write).transpose()?;
    let (stop, stopping) = watch::channel(false);
    let signals = tokio::spawn(follow_signals(
        stop,
        Arc::downgrade(app.core()),
        app.certificates().to_vec(),
    )?);
    tracing::info!(addresses = ?app.addresses(), storage = ?config.storage, "server started");
    app.serve(stopping).await;
    signals.abort();
    drop(pid_file);
    tracing::info!("server stopped");
    Ok(())
}

/// TERM and INT stop the server, a second one at once; HUP reads the certificates anew and opens the
/// audit files anew.
fn follow_signals(
    stop: watch::Sender<bool>,
    core: Weak<Core>,
    certificates: Vec<Arc<Certificate>>,
) -> Result<impl Future<Output = ()>> {
    let of = |kind| signal(kind).context("signals cannot be received");
    let mut term = of(SignalKind::terminate())?;
    let mut int = of(SignalKind::interrupt())?;
    let mut hangup = of(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
                _ = hangup.recv() => {
                    reload(&certificates);
                    if let Some(core) = core.upgrade() {
                        core.reopen_audit();
                    }
                    continue;
                }
            }
            if stop.send_replace(true) {
                tracing::warn!("stopped before running requests ended");
                std::process::exit(1);
            }
            tracing::info!("stopping");
        }
    })
}

fn reload(certificates: &[Arc<Certificate>]) {
    for certificate in certificates {
        match certificate.reload() {
            Ok(()) => tracing::info!(?certificate, "certificate read anew"),
            Err(error) => tracing::error!(%error, "certificate not read anew, the old one stays"),
        }
    }
}

fn configuration(arguments: &Server) -> Result<Config> {
    if arguments.dev && arguments.config.is_empty() {
        let address = match (arguments.dev_listen_address, config::env::dev_listen_address()) {
            (Some(address), _) => address,
            (None, Some(text)) => text.parse().context("VAULT_DEV_LISTEN_ADDRESS")?,
            (None, None) => DEV_ADDRESS,
        };
        return Ok(Config::dev(address));
    }
    if arguments.config.is_empty() {
        bail!("a configuration is needed: -config=FILE, or -dev to try it in memory");
    }
    let files = files(&arguments.config)?;
    let [file] = files.as_slice() else {
        bail!("{} configuration files given; join them into one", files.len());
    };
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let parsed = config::parse(&text);
    let mut config =
        parsed.map_err(|faults: Faults| anyhow::anyhow!("{}:\n{faults}", file.display()))?;
    config.files = files;
    Ok(config)
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
        let found = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let known =
            |file: &PathBuf| file.extension().is_some_and(|kind| kind == "hcl" || kind == "json");
        let mut found: Vec<PathBuf> = found.filter(known).collect();
        found.sort();
        if found.is_empty() {
            bail!("{}: holds no file ending in .hcl or .json", path.display());
        }
        files.extend(found);
    }
    Ok(files)
}

/// Holds the process id while the server runs.
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: &PathBuf) -> Result<PidFile> {
        fs::write(path, std::process::id().to_string())
            .with_context(|| format!("pid_file {}", path.display()))?;
        Ok(PidFile(path.clone()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}
