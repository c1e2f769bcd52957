//! The same transfers on the same wire, held by others: trickle, a hand-made HTB with ifb, and
//! TrafficToll.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::{
    lab::Lab,
    load::Ended,
    programs,
    report::{self, Table},
    transfer::{self, Laboratory, Row, SECONDS},
};
use crate::{packages, shell};

/// What holds the transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Ours,
    Trickle,
    Htb,
    TrafficToll,
}

impl Holder {
    const ALL: [Self; 4] = [Self::Ours, Self::Trickle, Self::Htb, Self::TrafficToll];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "chadthrottle",
            Self::Trickle => "trickle",
            Self::Htb => "HTB and ifb",
            Self::TrafficToll => "TrafficToll",
        }
    }
}

const MB: u64 = 1_000_000;

/// Down or not, UDP or not, rate, milliseconds there and back.
const TRANSFERS: [(bool, bool, u64, u64); 8] = [
    (true, false, MB, 0),
    (false, false, MB, 0),
    (true, true, MB, 0),
    (false, true, MB, 0),
    (true, false, 10 * MB, 0),
    (false, false, 10 * MB, 0),
    (true, false, MB, 20),
    (false, false, MB, 20),
];

pub fn measure(quick: bool) -> anyhow::Result<()> {
    let mut table = Table::new(
        &format!("{SECONDS} seconds of iperf3, one flow"),
        &[
            "transfer",
            "held by",
            "goodput ÷ limit",
            "slowest second",
            "fastest second",
            "retransmits",
            "holds after",
        ],
    );
    install_trickle()?;
    let traffic_toll = TrafficToll::install();
    if let Err(error) = &traffic_toll {
        println!("TrafficToll cannot be had here: {error:#}");
    }
    let transfers = TRANSFERS
        .iter()
        .take(if quick { 2 } else { TRANSFERS.len() });
    for (down, udp, rate, rtt) in transfers.copied() {
        let row = Row {
            udp,
            down,
            rate,
            flows: 1,
            rtt,
        };
        for holder in Holder::ALL {
            let figures = match (holder, &traffic_toll) {
                (Holder::TrafficToll, Err(_)) => continue,
                (Holder::TrafficToll, Ok(toll)) => held(holder, row, Some(toll)),
                _ => held(holder, row, None),
            };
            let cells = match &figures {
                Ok(figures) => [
                    format!("{:.3}", figures.goodput),
                    format!("{:.2}", figures.seconds.0),
                    format!("{:.2}", figures.seconds.1),
                    figures
                        .retransmits
                        .map_or("-".to_owned(), |count| count.to_string()),
                    format!("{:.1} s", figures.holds_after),
                ],
                Err(error) => {
                    println!("{}, {}: {error:#}", row.name(), holder.name());
                    ["did not end", "-", "-", "-", "-"].map(str::to_owned)
                }
            };
            let [goodput, slowest, fastest, retransmits, holds_after] = cells;
            println!("{}, {}: {goodput}", row.name(), holder.name());
            let name = holder.name().to_owned();
            table.row([
                row.name(),
                name,
                goodput,
                slowest,
                fastest,
                retransmits,
                holds_after,
            ]);
        }
    }
    let table = table.markdown();
    println!("\n{table}");
    if quick {
        return Ok(());
    }
    report::write_section("peers", &format!("{}\n\n{table}", report::machine()))
}

/// One transfer. A holder that needs setting up is in place before it begins, and has gone with
/// the laboratory after it.
fn held(holder: Holder, row: Row, toll: Option<&TrafficToll>) -> anyhow::Result<transfer::Figures> {
    let laboratory = Laboratory::new(row.rtt)?;
    let lab = &laboratory.lab;
    let state = tempfile::tempdir()?;
    let in_namespace = ["ip", "netns", "exec", &lab.client];
    let mut command = match holder {
        Holder::Ours => {
            let mut command = Command::new(programs::chadthrottle());
            let limit = if row.down { "--down" } else { "--up" };
            command
                .arg("--state-dir")
                .arg(state.path())
                .args(["run", "--root", limit, &format!("{}B/s", row.rate), "--"])
                .args(in_namespace)
                .arg("iperf3");
            command
        }
        Holder::Trickle => {
            let mut command = Lab::command(&lab.client, "trickle");
            // In 1024 bytes, and it wants both.
            let rate = (row.rate / 1024).to_string();
            command.args(["-s", "-d", &rate, "-u", &rate, "iperf3"]);
            command
        }
        Holder::Htb => {
            htb(lab, row.rate)?;
            Lab::command(&lab.client, "iperf3")
        }
        Holder::TrafficToll => Lab::command(&lab.client, "iperf3"),
    };
    let _running = toll.map(|toll| toll.start(lab, row)).transpose()?;
    let child = command
        .args(row.arguments())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("iperf3")?;
    let report = transfer::report_within(child, Duration::from_secs(SECONDS as u64 * 3))?;
    transfer::figures(row, &report)
}

/// A class for all that the interface sends, and one for all that it receives, on an ifb.
fn htb(lab: &Lab, rate: u64) -> anyhow::Result<()> {
    let host = &lab.client;
    shell::run(Command::new("ip").args(["-n", host, "link", "add", "ifb0", "up", "type", "ifb"]))?;
    let classes = |device: &str| {
        let rate = format!("{rate}bps");
        shell::run(Command::new("tc").args([
            "-n", host, "qdisc", "add", "dev", device, "root", "handle", "1:", "htb", "default",
            "1",
        ]))?;
        shell::run(Command::new("tc").args([
            "-n", host, "class", "add", "dev", device, "parent", "1:", "classid", "1:1", "htb",
            "rate", &rate,
        ]))
    };
    classes("v0")?;
    classes("ifb0")?;
    shell::run(Command::new("tc").args(["-n", host, "qdisc", "add", "dev", "v0", "ingress"]))?;
    shell::run(Command::new("tc").args([
        "-n", host, "filter", "add", "dev", "v0", "parent", "ffff:", "protocol", "all", "u32",
        "match", "u32", "0", "0", "action", "mirred", "egress", "redirect", "dev", "ifb0",
    ]))
}

fn install_trickle() -> anyhow::Result<()> {
    if shell::find("trickle").is_some() {
        return Ok(());
    }
    packages::install(&["trickle"])
}

/// TrafficToll in a place of its own.
struct TrafficToll {
    programs: PathBuf,
    _directory: TempDir,
}

impl TrafficToll {
    fn install() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let place = directory.path().join("venv");
        shell::run(Command::new("python3").args(["-m", "venv"]).arg(&place))?;
        shell::run(Command::new(place.join("bin/pip")).args([
            "install",
            "--quiet",
            "traffictoll",
            "setuptools<80",
        ]))?;
        let toll = Self {
            programs: place.join("bin"),
            _directory: directory,
        };
        // It loads and unloads ifb as a module, in the first namespace; here it is to be made in
        // its own, wherever the driver is.
        toll.write_script("modprobe", "exec ip link add ifb0 type ifb")?;
        toll.write_script("rmmod", "exec ip link del ifb0")?;
        Ok(toll)
    }

    fn write_script(&self, name: &str, command: &str) -> anyhow::Result<()> {
        let path = self.programs.join(name);
        fs::write(&path, format!("#!/bin/sh\n{command}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn start(&self, lab: &Lab, row: Row) -> anyhow::Result<(Ended, TempDir)> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("limits.yaml");
        fs::write(&file, self.limits(row))?;
        let search = std::env::var("PATH").unwrap_or_default();
        let child = Lab::command(&lab.client, &path(&self.programs.join("tt")))
            .env("PATH", format!("{}:{search}", self.programs.display()))
            .args(["v0", &path(&file)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("tt")?;
        let mut toll = Ended(child);
        // Until its queues are in place.
        sleep(Duration::from_secs(3));
        if let Some(status) = toll.0.try_wait()? {
            bail!("TrafficToll has ended: {status}");
        }
        Ok((toll, directory))
    }

    fn limits(&self, row: Row) -> String {
        let direction = if row.down { "download" } else { "upload" };
        // In tc's units, where bps are bytes.
        format!(
            "processes:\n  load:\n    {direction}: {}bps\n    match:\n      - name: iperf3\n",
            row.rate
        )
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}
