//! How well limits hold: iperf3 as the load, over veth and over a delay line.

use std::{fmt::Write, fs, process::Command};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{
    lab::{Lab, SERVER_V4},
    load::Running,
    median, programs,
    report::{self, Table},
    transfer::{self, Figures, Laboratory, Row, SECONDS},
};
use crate::shell::root;

const RATES: [u64; 5] = [20_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

const USERS_WAITS: &str = "What users wait for";

pub fn measure(quick: bool, only: Option<&str>) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for rtt in [0, 20, 100] {
        for (udp, down) in [(false, true), (false, false), (true, true), (true, false)] {
            for rate in RATES {
                for flows in [1, 8] {
                    let row = Row {
                        udp,
                        down,
                        rate,
                        flows,
                        rtt,
                    };
                    let name = row.name();
                    let chosen = only
                        .is_none_or(|only| only.split('&').all(|part| name.contains(part.trim())));
                    if chosen && (!quick || is_of_the_quick_ones(row)) {
                        rows.push(row);
                    }
                }
            }
        }
    }
    let mut table = Table::new(
        &format!("Limits over {SECONDS} seconds, iperf3"),
        &[
            "transfer",
            "goodput ÷ limit",
            "slowest second",
            "fastest second",
            "dropped",
            "after 2 s",
            "retransmits",
            "holds after",
            "CPU",
            "most ÷ least flow",
        ],
    );
    let mut records = Vec::new();
    let mut laboratory: Option<(u64, Laboratory)> = None;
    for row in rows {
        if laboratory.as_ref().is_none_or(|(rtt, _)| *rtt != row.rtt) {
            drop(laboratory.take());
            laboratory = Some((row.rtt, Laboratory::new(row.rtt)?));
        }
        let Some((_, laboratory)) = &laboratory else {
            continue;
        };
        let (figures, dropped) = held(row, laboratory).with_context(|| row.name())?;
        println!(
            "{}: {:.3} ({:.2} to {:.2}), dropped {:.1} %, {:.1} % after 2 s",
            row.name(),
            figures.goodput,
            figures.seconds.0,
            figures.seconds.1,
            dropped.in_all * 100.0,
            dropped.later * 100.0
        );
        records.push(record(row, &figures, dropped));
        table.row([
            row.name(),
            format!("{:.3}", figures.goodput),
            format!("{:.2}", figures.seconds.0),
            format!("{:.2}", figures.seconds.1),
            format!("{:.1} %", dropped.in_all * 100.0),
            format!("{:.1} %", dropped.later * 100.0),
            figures
                .retransmits
                .map_or("-".to_owned(), |count| count.to_string()),
            format!("{:.1} s", figures.holds_after),
            format!("{:.0} %", figures.cpu),
            figures
                .spread
                .map_or("-".to_owned(), |spread| format!("{spread:.2}")),
        ]);
    }
    let mut text = format!("{}\n\n", report::machine());
    let mut tables = vec![table.markdown()];
    drop(laboratory);
    if only.is_none_or(|only| USERS_WAITS.contains(only)) {
        tables.push(users_waits(quick)?.markdown());
    }
    for table in tables {
        println!("\n{table}");
        let _ = writeln!(text, "{table}");
    }
    if quick || only.is_some() {
        return Ok(());
    }
    fs::write(
        root().join("docs/accuracy.json"),
        serde_json::to_string_pretty(&records)? + "\n",
    )?;
    report::write_section("accuracy", &text)
}

fn is_of_the_quick_ones(row: Row) -> bool {
    let middling = [100_000, 1_000_000].contains(&row.rate);
    row.flows == 1 && row.rtt < 100 && (!row.udp && middling || row.rate == 1_000_000)
}

/// The part of a transfer's bytes that was refused.
#[derive(Clone, Copy)]
struct Dropped {
    in_all: f64,
    /// From two seconds after the program's start on.
    later: f64,
}

/// One transfer that we hold.
fn held(row: Row, laboratory: &Laboratory) -> anyhow::Result<(Figures, Dropped)> {
    let limit = if row.down { "--down" } else { "--up" };
    let rate = format!("{}B/s", row.rate);
    let (output, said) = run(&laboratory.lab, [limit, &rate], "iperf3", &row.arguments())?;
    let report: Value = serde_json::from_slice(&output).with_context(|| said.clone())?;
    let figures = transfer::figures(row, &report)?;
    let seconds = accounted(&said, row.down)?;
    // Later than that, it is what waited at the sender.
    let end = seconds.get(SECONDS - 1).or(seconds.last());
    let (Some(end), Some(early)) = (end, seconds.get(1)) else {
        bail!("run has said too little of what was carried: {said}");
    };
    let part = |passed: f64, dropped: f64| dropped / (passed + dropped).max(1.0);
    let dropped = Dropped {
        in_all: part(end.0, end.1),
        later: part(end.0 - early.0, end.1 - early.1),
    };
    Ok((figures, dropped))
}

/// Runs a program under a limit, in the client's namespace. Gives what it printed, and what we and
/// it said on standard error.
fn run(
    lab: &Lab,
    limit: [&str; 2],
    program: &str,
    arguments: &[String],
) -> anyhow::Result<(Vec<u8>, String)> {
    let state = tempfile::tempdir()?;
    let output = Command::new(programs::chadthrottle())
        .arg("-v")
        .arg("--state-dir")
        .arg(state.path())
        .args(["run", "--root"])
        .args(limit)
        .args(["--", "ip", "netns", "exec", &lab.client, program])
        .args(arguments)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.stdout, said))
}

/// What somebody waits for who is held to 2 MB/s, 20 ms away: a file, and small requests beside a
/// transfer that takes all there is.
fn users_waits(quick: bool) -> anyhow::Result<Table> {
    const RTT_MS: u64 = 20;
    const FILE: u32 = 20_000_000;
    let mut table = Table::new(
        &format!("{USERS_WAITS}, at 2 MB/s and {RTT_MS} ms"),
        &["what", "took", "without a limit in the way"],
    );
    let laboratory = Laboratory::new(RTT_MS)?;
    let lab = &laboratory.lab;
    let (rounds, directions) = if quick { (1, 1) } else { (3, 2) };
    let files = [
        ("download of 20 MB", "--down", &["-R"][..]),
        ("upload of 20 MB", "--up", &[]),
    ];
    for (name, limit, more) in files.into_iter().take(directions) {
        let bytes = FILE.to_string();
        let mut arguments: Vec<String> = ["-J", "-c", SERVER_V4, "-p", "5201", "-n", &bytes]
            .map(str::to_owned)
            .into();
        arguments.extend(more.iter().map(|&more| more.to_owned()));
        let seconds = (0..rounds)
            .map(|_| {
                let (output, said) = run(lab, [limit, "2MB/s"], "iperf3", &arguments)?;
                let report: Value = serde_json::from_slice(&output).with_context(|| said)?;
                let arrived = &report["end"]["sum_received"];
                let number = |name: &str| arrived[name].as_f64().context("iperf3 says no time");
                // iperf3 ends when the last of it waits to be sent.
                Ok(number("seconds")? * f64::from(FILE) / number("bytes")?)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        table.row([
            name.to_owned(),
            format!("{:.2} s", median(seconds)),
            "10.00 s".to_owned(),
        ]);
    }
    let _feed = Running::start(&lab.server, "feed 7001")?;
    let requests = [
        ("100 B each way, beside a download", "--down", "down"),
        ("100 B each way, beside an upload", "--up", "up"),
    ];
    for (name, limit, direction) in requests.into_iter().take(directions) {
        let ask = format!("beside {SERVER_V4} 7001 {direction} 8");
        let arguments: Vec<String> = ask.split(' ').map(str::to_owned).collect();
        let program = programs::load().display().to_string();
        let (output, said) = run(lab, [limit, "2MB/s"], &program, &arguments)?;
        let text = String::from_utf8_lossy(&output);
        let milliseconds: f64 = text
            .trim()
            .parse()
            .with_context(|| format!("'{text}' {said}"))?;
        table.row([
            format!("{name} (median)"),
            format!("{milliseconds:.0} ms"),
            format!("{RTT_MS} ms"),
        ]);
    }
    Ok(table)
}

/// Bytes that the engine had let pass and refused after each second and at the end, from what
/// `run -v` says: `carried: down PASSED dropped DROPPED, up PASSED dropped DROPPED`.
fn accounted(said: &str, down: bool) -> anyhow::Result<Vec<(f64, f64)>> {
    said.lines()
        .filter_map(|line| Some(line.split_once("carried: ")?.1))
        .map(|line| {
            let numbers: Vec<f64> = line
                .split([' ', ','])
                .filter_map(|word| word.parse().ok())
                .collect();
            match (numbers.as_slice(), down) {
                (&[passed, dropped, _, _], true) | (&[_, _, passed, dropped], false) => {
                    Ok((passed, dropped))
                }
                _ => bail!("not understood: {line}"),
            }
        })
        .collect()
}

fn record(row: Row, figures: &Figures, dropped: Dropped) -> Value {
    json!({
        "protocol": if row.udp { "UDP" } else { "TCP" },
        "direction": if row.down { "down" } else { "up" },
        "limit_bytes_per_s": row.rate,
        "flows": row.flows,
        "rtt_ms": row.rtt,
        "goodput_to_limit": figures.goodput,
        "slowest_second": figures.seconds.0,
        "fastest_second": figures.seconds.1,
        "dropped": dropped.in_all,
        "dropped_after_2_s": dropped.later,
        "retransmits": figures.retransmits,
        "holds_after_s": figures.holds_after,
        "cpu_percent": figures.cpu,
        "most_to_least_flow": figures.spread,
    })
}
