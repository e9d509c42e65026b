//! All outputs of an agent together.

use super::{
    exec::{Exec, Exit, Signal, ending, inherits_orphans, reap},
    file::{self, File},
};
use crate::failure::{Cause, Failure};
use futures_util::future::join_all;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

/// Files, and a process that may read them.
#[derive(Debug, Default)]
pub struct Outputs {
    /// The files.
    pub files: Vec<File>,
    /// The process.
    pub exec: Option<Exec>,
}

impl Outputs {
    /// Writes the files that are not as they shall be, once, and says how many those were. No process is started.
    ///
    /// # Errors
    /// The first file that could not be made or written; the others are written all the same.
    pub async fn write_once(&self) -> Result<usize, file::Error> {
        let written = join_all(self.files.iter().map(File::write)).await;
        let mut changed = 0;
        for file in written {
            changed += usize::from(file?);
        }
        Ok(changed)
    }

    /// Keeps the files and runs the process until it ends for good, or until the agent is told to end. The process is
    /// started when all files are there, and its `on_change` counts them.
    ///
    /// # Errors
    /// What the process needs could not be had in time.
    pub async fn run(self, mut told: mpsc::Receiver<Signal>) -> Result<Exit, Failure> {
        let (written, files_written) = watch::channel(0);
        let Outputs { files, exec } = self;
        if let Some(exec) = &exec {
            let waited = exec.start_timeout();
            let begun = join_all(files.iter().map(File::begin));
            tokio::select! {
                begun = timeout(waited, begun) => begun.map(drop).map_err(|_| late(&files, waited.as_secs()))?,
                signal = ending(&mut told) => return Ok(signal.exit()),
            }
        }
        let mut reaping = JoinSet::new();
        if inherits_orphans() {
            reaping.spawn(reap());
        }
        let mut kept = JoinSet::new();
        let are_files = !files.is_empty();
        for file in files {
            kept.spawn(file.keep(written.clone()));
        }
        match exec {
            Some(exec) if are_files => exec.beside(files_written).run(told).await,
            Some(exec) => exec.run(told).await,
            None => {
                ending(&mut told).await;
                Ok(Exit { code: 0 })
            }
        }
    }
}

fn late(files: &[File], seconds: u64) -> Failure {
    let paths: Vec<String> = files.iter().map(|file| file.path().display().to_string()).collect();
    let paths = paths.join(", ");
    let message = format!("after {seconds} s of start_timeout not all files are there, of {paths}");
    Failure::new(Cause::Unavailable, message)
}
