//! Development tasks: `cargo xtask <task>`.

mod bench;
mod bench_agent;
mod bench_replicate;
mod ci;
mod clients;
mod demo;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask <task>

  demo [--keep] [--aws]  the main job, from a secret written to AWS holding it, with a crash between
  demo replicate         secrets of a Vault brought to AWS; SOURCE_ADDR, SOURCE_TOKEN: your own
  test [--all]           all tests; what they need is installed. --all adds the slow ones
  ci                     fmt, clippy, docs, deny, tidy, then test
  bench [--quick]        speed and memory, as ratios in one run
  bench agent [--quick]  the agent beside AWS's own: answers, speed, memory
  bench replicate [--quick]
                         a replication of ten thousand secrets: time, memory
  tidy                   the dependency table, file sizes and other rules a machine can hold
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (task, options) = match arguments.split_first() {
        Some((task, options)) => (task.as_str(), options),
        None => ("", [].as_slice()),
    };
    let outcome = match task {
        "demo" => demo::run(options),
        "test" => test::run(options),
        "ci" => ci::run(),
        "bench" => bench::run(options),
        "tidy" => tidy::run(),
        _ => {
            tools::say(USAGE);
            return ExitCode::from(u8::from(!matches!(task, "" | "help" | "--help")));
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tools::say(&format!("xtask {task}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
