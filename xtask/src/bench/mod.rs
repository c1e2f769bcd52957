//! `bench`: what it costs and how well it holds, measured between two network namespaces.
//!
//! Everything is measured from outside, on the release binary as users run it; whether limits hold against somebody who
//! tries is tried on a debug build too. Figures of one
//! table are of one run, and alternatives are measured in turn, since machines are noisy.

mod accuracy;
mod bpf;
mod delay;
mod engine;
mod escapes;
mod load;
mod meeting;
mod overhead;
mod packets;
mod peers;
mod programs;
mod report;
mod screen;
mod service;
mod throughput;
mod transfer;
mod userspace;

#[path = "../../../chadthrottle/tests/kernel/lab.rs"]
mod lab;

use std::time::Duration;

use clap::Subcommand;

use crate::shell::{as_root, is_root, run};

#[derive(Subcommand)]
pub enum Bench {
    /// Nanoseconds a packet, throughput with and without, and the engine's own needs
    Overhead {
        /// Shorter runs, for trying it out; docs/benchmarks.md is left alone
        #[arg(long)]
        quick: bool,
        /// One table only; docs/benchmarks.md is left alone
        #[arg(long, value_enum)]
        only: Option<overhead::Part>,
    },
    /// How well limits hold: TCP and UDP, down and up, from 20 KB/s to 100 MB/s, near and far
    Accuracy {
        /// A dozen rows; docs/benchmarks.md is left alone
        #[arg(long)]
        quick: bool,
        /// Only rows whose name has this in it, such as 'TCP up'
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
    },
    /// Limits that meet eight connections at full speed: how they share, and how soon they are back
    Meeting {
        /// Two rows; docs/benchmarks.md is left alone
        #[arg(long)]
        quick: bool,
    },
    /// The same transfers held by others: trickle, HTB with ifb, TrafficToll
    Peers {
        /// Two of the transfers; docs/benchmarks.md is left alone
        #[arg(long)]
        quick: bool,
    },
    /// What the screen needs: start, key to frame, processor, memory
    Screen {
        /// Fewer processes; docs/benchmarks.md is left alone
        #[arg(long)]
        quick: bool,
    },
    /// What a process can do to outrun its limit, and whether it does
    Escapes {
        /// Some of them, for less than two minutes, with debug builds; docs/limits.md is left alone
        #[arg(long)]
        quick: bool,
        /// Only rows whose name has this in it, such as 'UDP'; docs/limits.md is left alone
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
    },
    /// Joins two namespaces by a line that is so many microseconds long, for the benchmarks
    #[command(hide = true)]
    Delay {
        one: String,
        two: String,
        microseconds: u64,
    },
}

/// Runs one benchmark, as root.
pub fn bench(bench: &Bench) -> anyhow::Result<()> {
    if let Bench::Delay {
        one,
        two,
        microseconds,
    } = bench
    {
        return delay::run([one, two], Duration::from_micros(*microseconds));
    }
    if matches!(bench, Bench::Escapes { quick: true, .. }) {
        programs::take_debug_builds();
    }
    if !is_root() {
        // What root builds would be root's.
        programs::build()?;
        let mut again = as_root(std::env::current_exe()?)?;
        return run(again.args(std::env::args_os().skip(1)));
    }
    if std::env::var_os("SUDO_UID").is_none() {
        programs::build()?;
    }
    match bench {
        Bench::Delay { .. } => Ok(()),
        Bench::Overhead { quick, only } => overhead::measure(*quick, *only),
        Bench::Accuracy { quick, only } => accuracy::measure(*quick, only.as_deref()),
        Bench::Meeting { quick } => meeting::measure(*quick),
        Bench::Peers { quick } => peers::measure(*quick),
        Bench::Screen { quick } => screen::measure(*quick),
        Bench::Escapes { quick, only } => escapes::measure(*quick, only.as_deref()),
    }
}

/// The one in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
