//! How well limits hold: iperf3 as the load, over veth and over a delay line.

use std::{fmt::Write, fs, process::Command};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{
    lab::{Lab, SERVER_V4},
    load::Running,
    report::{self, Table},
    throughput::iperf3_server,
};
use crate::shell::root;

/// One transfer under a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    udp: bool,
    down: bool,
    /// Bytes a second.
    rate: u64,
    flows: u32,
    /// Milliseconds there and back; 0: veth alone.
    rtt: u64,
}

const RATES: [u64; 5] = [20_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
const SECONDS: usize = 10;
/// iperf3's shortest.
const INTERVALS_A_SECOND: usize = 10;

/// What came of it.
struct Figures {
    goodput: f64,
    /// Slowest and fastest second after the first, over the limit.
    seconds: (f64, f64),
    /// Bytes refused ÷ bytes that came.
    dropped: f64,
    retransmits: Option<u64>,
    /// Seconds until a second's mean is within a tenth of the limit.
    holds_after: f64,
    /// Of one core, both hosts and the engine.
    cpu: f64,
}

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
                    let chosen = only.is_none_or(|only| row.name().contains(only));
                    if chosen && (!quick || row.is_of_the_quick_ones()) {
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
            "retransmits",
            "holds after",
            "CPU",
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
        let figures = transfer(row, laboratory).with_context(|| row.name())?;
        println!(
            "{}: {:.3} ({:.2} to {:.2})",
            row.name(),
            figures.goodput,
            figures.seconds.0,
            figures.seconds.1
        );
        records.push(record(row, &figures));
        table.row([
            row.name(),
            format!("{:.3}", figures.goodput),
            format!("{:.2}", figures.seconds.0),
            format!("{:.2}", figures.seconds.1),
            format!("{:.1} %", figures.dropped * 100.0),
            figures
                .retransmits
                .map_or("-".to_owned(), |count| count.to_string()),
            format!("{:.1} s", figures.holds_after),
            format!("{:.0} %", figures.cpu),
        ]);
    }
    let mut text = format!("{}\n\n", report::machine());
    let table = table.markdown();
    println!("\n{table}");
    let _ = writeln!(text, "{table}");
    if quick || only.is_some() {
        return Ok(());
    }
    fs::write(
        root().join("docs/accuracy.json"),
        serde_json::to_string_pretty(&records)? + "\n",
    )?;
    report::write_section("accuracy", &text)
}

impl Row {
    fn name(self) -> String {
        let rate = match self.rate {
            rate if rate >= 1_000_000 => format!("{} MB/s", rate / 1_000_000),
            rate => format!("{} KB/s", rate / 1_000),
        };
        let flows = if self.flows == 1 { "flow" } else { "flows" };
        format!(
            "{} {}, {rate}, {} {flows}, {}",
            if self.udp { "UDP" } else { "TCP" },
            if self.down { "down" } else { "up" },
            self.flows,
            match self.rtt {
                0 => "veth".to_owned(),
                rtt => format!("{rtt} ms"),
            }
        )
    }

    fn is_of_the_quick_ones(self) -> bool {
        let middling = [100_000, 1_000_000].contains(&self.rate);
        self.flows == 1 && self.rtt < 100 && (!self.udp && middling || self.rate == 1_000_000)
    }
}

/// Two hosts with a server, and what is between them.
struct Laboratory {
    // In this order they end.
    _server: super::load::Ended,
    _line: Option<Running>,
    lab: Lab,
}

impl Laboratory {
    fn new(rtt: u64) -> anyhow::Result<Self> {
        let (lab, line) = match rtt {
            0 => (Lab::new(), None),
            rtt => {
                let lab = Lab::bare();
                let delay = format!("delay {} {} {}", lab.client, lab.server, rtt * 1000 / 2);
                let line = Running::start_here(&delay)?;
                for (host, address) in [
                    (&lab.client, super::lab::CLIENT_V4),
                    (&lab.server, SERVER_V4),
                ] {
                    for arguments in [
                        format!("addr add {address}/24 dev v0"),
                        "link set v0 up txqueuelen 20000".to_owned(),
                    ] {
                        let status = Command::new("ip")
                            .args(["-n", host])
                            .args(arguments.split(' '))
                            .status()?;
                        if !status.success() {
                            bail!("ip -n {host} {arguments}: {status}");
                        }
                    }
                }
                (lab, Some(line))
            }
        };
        Ok(Self {
            _server: iperf3_server(&lab)?,
            _line: line,
            lab,
        })
    }
}

fn transfer(row: Row, laboratory: &Laboratory) -> anyhow::Result<Figures> {
    let state = tempfile::tempdir()?;
    let limit = if row.down { "--down" } else { "--up" };
    let mut command = Command::new(root().join("target/release/chadthrottle"));
    command
        .arg("-v")
        .arg("--state-dir")
        .arg(state.path())
        .args(["run", "--root", limit, &format!("{}B/s", row.rate), "--"])
        .args(["ip", "netns", "exec", &laboratory.lab.client, "iperf3"])
        .args(["-J", "-c", SERVER_V4, "-p", "5201", "--get-server-output"])
        .args(["-t", &SECONDS.to_string(), "-i", "0.1"])
        .args(["-P", &row.flows.to_string()]);
    if row.down {
        command.arg("-R");
    }
    if row.udp {
        let bits = row.rate * 8 * 2 / u64::from(row.flows);
        command.args(["-u", "-l", "1400", "-b", &bits.to_string()]);
    }
    let output = command.output()?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    if let Some(error) = report["error"].as_str() {
        bail!("iperf3: {error}");
    }
    figures(row, &report, &String::from_utf8_lossy(&output.stderr))
}

fn figures(row: Row, report: &Value, said: &str) -> anyhow::Result<Figures> {
    let end = &report["end"];
    let rate = row.rate as f64;
    let number = |value: &Value| value.as_f64();
    let goodput = number(&end["sum_received"]["bits_per_second"]).context("sum_received")? / 8.0;
    // As the receiver saw it.
    let receiver = if row.down {
        report
    } else {
        &report["server_output_json"]
    };
    let intervals: Vec<f64> = receiver["intervals"]
        .as_array()
        .context("intervals")?
        .iter()
        .filter_map(|interval| number(&interval["sum"]["bytes"]))
        .collect();
    let seconds: Vec<f64> = intervals
        .chunks_exact(INTERVALS_A_SECOND)
        .map(|second| second.iter().sum::<f64>() / rate)
        .collect();
    let later = seconds.get(1..).unwrap_or_default();
    let holds_after = intervals
        .windows(INTERVALS_A_SECOND)
        .position(|second| second.iter().sum::<f64>() <= rate * 1.1)
        .map_or(f64::INFINITY, |interval| {
            interval as f64 / INTERVALS_A_SECOND as f64
        });
    let (passed, dropped) = accounted(said, row.down)?;
    Ok(Figures {
        goodput: goodput / rate,
        seconds: (
            later.iter().copied().fold(f64::INFINITY, f64::min),
            later.iter().copied().fold(0.0, f64::max),
        ),
        dropped: dropped / (passed + dropped),
        retransmits: end["sum_sent"]["retransmits"].as_u64(),
        holds_after,
        cpu: number(&end["cpu_utilization_percent"]["host_total"]).unwrap_or(f64::NAN)
            + number(&end["cpu_utilization_percent"]["remote_total"]).unwrap_or(f64::NAN),
    })
}

/// Bytes that the engine let pass and refused, from what `run -v` says at its end:
/// `carried: down PASSED dropped DROPPED, up PASSED dropped DROPPED`.
fn accounted(said: &str, down: bool) -> anyhow::Result<(f64, f64)> {
    let line = said
        .lines()
        .find_map(|line| Some(line.split_once("carried: ")?.1))
        .with_context(|| format!("run has not said what was carried: {said}"))?;
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
}

fn record(row: Row, figures: &Figures) -> Value {
    json!({
        "protocol": if row.udp { "UDP" } else { "TCP" },
        "direction": if row.down { "down" } else { "up" },
        "limit_bytes_per_s": row.rate,
        "flows": row.flows,
        "rtt_ms": row.rtt,
        "goodput_to_limit": figures.goodput,
        "slowest_second": figures.seconds.0,
        "fastest_second": figures.seconds.1,
        "dropped": figures.dropped,
        "retransmits": figures.retransmits,
        "holds_after_s": figures.holds_after,
        "cpu_percent": figures.cpu,
    })
}
