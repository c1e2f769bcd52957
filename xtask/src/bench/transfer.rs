//! One iperf3 transfer under a limit, whoever holds it, and what came of it.

use std::{
    process::{Child, Command},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{
    lab::{CLIENT_V4, Lab, SERVER_V4},
    load::{Ended, Running},
    throughput::iperf3_server,
};

/// How long a transfer lasts.
pub const SECONDS: usize = 10;
/// iperf3's shortest.
const INTERVALS_A_SECOND: usize = 10;

/// One transfer under a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub udp: bool,
    pub down: bool,
    /// Bytes a second.
    pub rate: u64,
    pub flows: u32,
    /// Milliseconds there and back; 0: veth alone.
    pub rtt: u64,
}

impl Row {
    pub fn name(self) -> String {
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

    /// What iperf3 is to do, as its client.
    pub fn arguments(self) -> Vec<String> {
        self.arguments_for(SECONDS)
    }

    /// The same, for so many seconds.
    pub fn arguments_for(self, seconds: usize) -> Vec<String> {
        let base = [
            "-J",
            "-c",
            SERVER_V4,
            "-p",
            "5201",
            "--get-server-output",
            "-i",
            "0.1",
        ];
        let mut arguments: Vec<String> = base.map(str::to_owned).into();
        arguments.extend(["-t".to_owned(), seconds.to_string()]);
        arguments.extend(["-P".to_owned(), self.flows.to_string()]);
        if self.down {
            arguments.push("-R".to_owned());
        }
        if self.udp {
            let bits = self.rate * 8 * 2 / u64::from(self.flows);
            let rest = ["-u", "-l", "1400", "-b", &bits.to_string()];
            arguments.extend(rest.map(str::to_owned));
        }
        arguments
    }
}

/// What came of it.
pub struct Figures {
    pub goodput: f64,
    /// Slowest and fastest second after the first, over the limit.
    pub seconds: (f64, f64),
    pub retransmits: Option<u64>,
    /// Seconds until a second's mean is within a tenth of the limit.
    pub holds_after: f64,
    /// Of one core, both hosts and the engine.
    pub cpu: f64,
    /// Bytes of the flow that carried most ÷ of that which carried least; `None`: one flow.
    pub spread: Option<f64>,
}

/// Two hosts with a server, and what is between them.
pub struct Laboratory {
    // In this order they end.
    _server: Ended,
    _line: Option<Running>,
    pub lab: Lab,
}

impl Laboratory {
    pub fn new(rtt: u64) -> anyhow::Result<Self> {
        let (lab, line) = match rtt {
            0 => (Lab::new(), None),
            rtt => {
                let lab = Lab::bare();
                let [one, two] = [&lab.client, &lab.server];
                let delay = format!("bench delay {one} {two} {}", rtt * 1000 / 2);
                // Of this very build, whatever is at its place by now.
                let ourselves = format!("/proc/{}/exe", std::process::id());
                let line = Running::spawn(Command::new(ourselves), &delay)?;
                for (host, address) in [(&lab.client, CLIENT_V4), (&lab.server, SERVER_V4)] {
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

/// What iperf3 prints, if it comes to an end.
pub fn report_within(child: Child, limit: Duration) -> anyhow::Result<Value> {
    let mut child = Ended(child);
    let output = child.0.stdout.take().context("its output")?;
    let reader = std::thread::spawn(move || serde_json::from_reader(output));
    let deadline = Instant::now() + limit;
    while child.0.try_wait()?.is_none() {
        if Instant::now() > deadline {
            bail!("not over after {} s", limit.as_secs());
        }
        sleep(Duration::from_millis(50));
    }
    match reader.join() {
        Ok(report) => report.context("iperf3's report"),
        Err(_) => bail!("reading iperf3's report"),
    }
}

/// Reads what iperf3 reported.
pub fn figures(row: Row, report: &Value) -> anyhow::Result<Figures> {
    if let Some(error) = report["error"].as_str() {
        bail!("iperf3: {error}");
    }
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
    let received = |stream: &Value| {
        let of = if row.udp {
            &stream["udp"]
        } else {
            &stream["receiver"]
        };
        number(&of["bytes"])
    };
    let flows: Vec<f64> = end["streams"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(received)
        .collect();
    let most = flows.iter().copied().fold(0.0, f64::max);
    let least = flows.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(Figures {
        goodput: goodput / rate,
        seconds: (
            later.iter().copied().fold(f64::INFINITY, f64::min),
            later.iter().copied().fold(0.0, f64::max),
        ),
        retransmits: end["sum_sent"]["retransmits"].as_u64(),
        holds_after,
        cpu: number(&end["cpu_utilization_percent"]["host_total"]).unwrap_or(f64::NAN)
            + number(&end["cpu_utilization_percent"]["remote_total"]).unwrap_or(f64::NAN),
        spread: (row.flows > 1).then_some(most / least),
    })
}
