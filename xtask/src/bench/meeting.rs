//! Limits that meet eight connections at full speed, hold them for a while, and end.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{
    lab::Lab,
    programs,
    report::{self, Table},
    transfer::{self, Laboratory, Row},
};

/// How long a transfer lasts, in seconds.
const SECONDS: usize = 15;

/// When the limit begins.
const FREE: Duration = Duration::from_secs(2);

/// How long it lasts, in seconds.
const HELD_S: u32 = 9;

/// From so many seconds after its beginning on it is measured. What had arrived before, after something
/// that was lost, is read when that has come again.
const SETTLED: f64 = 3.0;

/// What says that it has begun takes less than so many seconds.
const LATE: f64 = 0.2;

/// In seconds after it: a second for coming back, and then.
const AFTER: (f64, f64) = (1.0, 1.6);

/// A connection that carries less than this part of what it had before is not back.
const BACK: f64 = 0.01;

pub fn measure(quick: bool) -> anyhow::Result<()> {
    let mut table = Table::new(
        &format!("Eight TCP connections that a limit meets, for {HELD_S} s"),
        &[
            "transfer",
            "goodput ÷ limit",
            "slowest second",
            "fastest second",
            "most ÷ least flow",
            "a second after ÷ before",
            "connections that are back",
        ],
    );
    for rtt in [0, 20] {
        let laboratory = Laboratory::new(rtt)?;
        for down in [true, false] {
            for rate in [20_000, 100_000, 1_000_000] {
                let row = Row {
                    udp: false,
                    down,
                    rate,
                    flows: 8,
                    rtt,
                };
                if quick && (rtt, rate) != (0, 100_000) {
                    continue;
                }
                let met = met(row, &laboratory.lab).with_context(|| row.name())?;
                println!("{}: {:.2} to 1", row.name(), met.spread);
                table.row([
                    row.name(),
                    format!("{:.3}", met.goodput),
                    format!("{:.2}", met.seconds.0),
                    format!("{:.2}", met.seconds.1),
                    format!("{:.2}", met.spread),
                    format!("{:.2}", met.after),
                    format!("{} of {}", met.back, row.flows),
                ]);
            }
        }
    }
    let table = table.markdown();
    println!("\n{table}");
    if quick {
        return Ok(());
    }
    report::write_section("meeting", &format!("{}\n\n{table}", report::machine()))
}

/// What a limit has made of a transfer, once it is [`SETTLED`].
struct Met {
    /// Over the limit.
    goodput: f64,
    /// Slowest and fastest second, over the limit.
    seconds: (f64, f64),
    /// Bytes of the connection that carried most ÷ of that which carried least.
    spread: f64,
    /// Speed of all [`AFTER`] it, over what it was before.
    after: f64,
    /// How many connections are back then.
    back: usize,
}

fn met(row: Row, lab: &Lab) -> anyhow::Result<Met> {
    let started = Instant::now();
    let child = Lab::command(&lab.client, "iperf3")
        .args(row.arguments_for(SECONDS))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("iperf3")?;
    sleep(FREE);
    let begin = started.elapsed().as_secs_f64();
    let state = tempfile::tempdir()?;
    let limit = if row.down { "--down" } else { "--up" };
    let mut limit = Command::new(programs::chadthrottle())
        .arg("--state-dir")
        .arg(state.path())
        .args(["limit", &child.id().to_string(), limit])
        .args([&format!("{}B/s", row.rate), "--for", &format!("{HELD_S}s")])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    // It says so once it holds. When it has ended, the program may wait for downloads to be fast again.
    let mut said = String::new();
    let mut errors = BufReader::new(limit.stderr.take().context("no standard error")?);
    errors.read_line(&mut said)?;
    let end = started.elapsed().as_secs_f64() + f64::from(HELD_S);
    errors.read_to_string(&mut said)?;
    let status = limit.wait()?;
    let report = transfer::report_within(child, Duration::from_secs(3 * SECONDS as u64))?;
    if !status.success() {
        bail!("{said}");
    }
    // As the receiver saw it.
    let receiver = if row.down {
        &report
    } else {
        &report["server_output_json"]
    };
    let intervals = receiver["intervals"].as_array().context("intervals")?;
    let rate = row.rate as f64;
    let (settled, until) = (begin + SETTLED, end - LATE);
    let seconds: Vec<f64> = (0..(until - settled) as usize)
        .map(|second| settled + second as f64)
        .map(|from| sum(&carried(intervals, from, from + 1.0)) / rate)
        .collect();
    let flows = carried(intervals, settled, until);
    let before = carried(intervals, begin - 1.0, begin);
    let after = carried(intervals, end + AFTER.0, end + AFTER.1);
    let lasts = AFTER.1 - AFTER.0;
    let back = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| **after / lasts > BACK * **before);
    Ok(Met {
        goodput: sum(&seconds) / seconds.len() as f64,
        seconds: range(&seconds),
        spread: range(&flows).1 / range(&flows).0,
        after: sum(&after) / lasts / sum(&before),
        back: back.count(),
    })
}

/// Bytes that each connection carried between two instants of the transfer, in seconds.
fn carried(intervals: &[Value], from: f64, to: f64) -> Vec<f64> {
    let mut sums = Vec::new();
    for interval in intervals {
        let streams = interval["streams"].as_array();
        for (index, stream) in streams.into_iter().flatten().enumerate() {
            let number = |name: &str| stream[name].as_f64().unwrap_or(f64::NAN);
            if sums.len() <= index {
                sums.push(0.0);
            }
            let middle = (number("start") + number("end")) / 2.0;
            if from <= middle && middle < to {
                sums[index] += number("bytes");
            }
        }
    }
    sums
}

fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}

fn range(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, 0.0), |(least, most), value| {
            (value.min(least), value.max(most))
        })
}
