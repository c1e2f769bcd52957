//! What it costs: the packets of the machine, and the machine itself.

use std::fmt::Write;

use clap::ValueEnum;

use super::{
    packets,
    report::{self, Table},
    service, throughput, userspace,
};

/// One of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    TestRun,
    Packets,
    Throughput,
    Userspace,
    Connections,
    Engine,
}

type Measure = fn(bool) -> anyhow::Result<Table>;

pub fn measure(quick: bool, only: Option<Part>) -> anyhow::Result<()> {
    let parts: [(Part, Measure); 6] = [
        (Part::TestRun, packets::test_run),
        (Part::Packets, packets::under_load),
        (Part::Throughput, throughput::with_and_without),
        (Part::Userspace, userspace::beside_the_peers),
        (Part::Connections, userspace::by_connections),
        (Part::Engine, service::of_one_engine),
    ];
    let mut text = format!("{}\n\n", report::machine());
    for (part, measure) in parts {
        if only.is_none_or(|only| only == part) {
            let table = measure(quick)?.markdown();
            println!("{table}");
            let _ = writeln!(text, "{table}");
        }
    }
    if quick || only.is_some() {
        return Ok(());
    }
    report::write_section("overhead", &text)
}
