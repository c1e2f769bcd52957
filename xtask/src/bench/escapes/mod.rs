//! What a process can do to outrun its limit, and whether it does: each technique between two
//! namespaces, and what passed in IP bytes. What is sent is counted on the wire, by the interface's
//! counters; what is received by who receives it, since what a limit refuses has been on the wire.

mod attempt;
mod rows;
mod series;

use std::{process::Stdio, time::Instant};

use anyhow::bail;

use self::{
    attempt::Attempt,
    rows::{How, Row, rows},
    series::Wire,
};
use super::{
    lab::Lab,
    load::{self, Running},
    report::{self, Table},
};
use crate::{
    packages,
    shell::{find, run},
};

/// Bytes a second.
const LIMIT: f64 = 100_000.0;
const SECONDS: f64 = 5.0;
const QUICK_SECONDS: f64 = 2.5;
/// From when on it counts whether a limit holds that came late, as part of the time.
const LATE: f64 = 0.6;
/// Less, as part of the limit, and nothing has been tried.
const LEAST: f64 = 0.02;

/// What a limit did.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Held,
    /// From some moment on.
    Late,
    Broken,
    /// ChadThrottle has said that it cannot hold it, and ended.
    Refused(i32),
    /// The kernel has no such thing.
    Absent,
}

pub fn measure(quick: bool, only: Option<&str>) -> anyhow::Result<()> {
    if find("ethtool").is_none() {
        packages::install(&["ethtool"])?;
    }
    let seconds = if quick { QUICK_SECONDS } else { SECONDS };
    let mut table = Table::new(
        &format!("Limits of 100 KB/s for {seconds} seconds"),
        &["what the process does", "way", "× limit", "verdict", "why"],
    );
    let mut broken = Vec::new();
    for row in rows() {
        let name = format!("{}, {}", row.name, row.way.name());
        let chosen = only.is_none_or(|only| name.contains(only));
        if !chosen || quick && !row.quick {
            continue;
        }
        let mut result = tried(row, seconds * row.longer);
        if quick && !is_as_promised(&row, &result) {
            // As a kernel test that fails beside other work: the machine may have stood still meanwhile.
            println!("{name}: {}, tried again", told(&result));
            result = tried(row, seconds * row.longer);
        }
        let (times, verdict) = match result {
            Ok(result) => result,
            Err(error) => {
                println!("{name}: {error:#}");
                broken.push(format!("{name}: {error:#}"));
                continue;
            }
        };
        let word = match (&verdict, row.cannot) {
            (Verdict::Held, _) => "held".to_owned(),
            (Verdict::Refused(code), _) => format!("refused, exit {code}"),
            (Verdict::Absent, _) => "not in this kernel".to_owned(),
            (Verdict::Late | Verdict::Broken, Some(_)) => "cannot".to_owned(),
            (Verdict::Late, None) => "late".to_owned(),
            (Verdict::Broken, None) => "NO".to_owned(),
        };
        println!("{name}: {times:.2}, {word}");
        if !is_as_promised(&row, &Ok((times, verdict.clone()))) {
            broken.push(format!("{name}: {times:.2} × the limit"));
        }
        table.row([
            row.name.to_owned(),
            row.way.name().to_owned(),
            if verdict == Verdict::Absent {
                "-".to_owned()
            } else {
                format!("{times:.2}")
            },
            word,
            row.cannot.unwrap_or_default().to_owned(),
        ]);
    }
    let table = table.markdown();
    println!("\n{table}");
    if !quick && only.is_none() {
        report::write_section_of(
            "limits.md",
            "escapes",
            &format!("{}\n\n{table}", report::machine()),
        )?;
    }
    if !broken.is_empty() {
        bail!("limits that did not hold:\n{}", broken.join("\n"));
    }
    Ok(())
}

/// Whether the limit did what the row says of it.
fn is_as_promised(row: &Row, result: &anyhow::Result<(f64, Verdict)>) -> bool {
    match result {
        Ok((_, Verdict::Late | Verdict::Broken)) => row.cannot.is_some(),
        Ok(_) => true,
        Err(_) => false,
    }
}

fn told(result: &anyhow::Result<(f64, Verdict)>) -> String {
    match result {
        Ok((times, _)) => format!("{times:.2} × the limit"),
        Err(error) => format!("{error:#}"),
    }
}

/// What passed over what the limit allows, and what that means.
fn tried(row: Row, seconds: f64) -> anyhow::Result<(f64, Verdict)> {
    let lab = Lab::new();
    for host in [&lab.client, &lab.server] {
        // An interface that is given whole segments counts one header for many.
        run(Lab::command(host, "ethtool")
            .args(["-K", "v0", "tso", "off", "tx-udp-segmentation", "off"])
            .stdout(Stdio::null()))?;
    }
    let _peer = Running::spawn(load::command(&lab.server), "peer")?;
    let scratch = tempfile::tempdir()?;
    let attempt = Attempt {
        row,
        lab: &lab,
        seconds,
        scratch: &scratch,
        began: Instant::now(),
    };
    let wire = Wire::watch(&lab.client, &lab.server, row.way.is_v6(), attempt.began)?;
    let ended = match row.how {
        How::Run | How::PidNamespace | How::BesideReceiver | How::BesideGiver => attempt.run(),
        How::CgroupNamespace => attempt.in_a_cgroup(),
        How::Executable | How::Name => attempt.short_programs(),
        How::Changing => attempt.changed_on_the_screen(),
    }?;
    let wire = wire.end()?;
    let series = if row.way.is_up() {
        wire.between(ended.from, ended.until)
    } else {
        ended.received
    };
    let times = series.bytes() / (LIMIT * seconds);
    let verdict = match ended.status.and_then(|status| status.code()) {
        Some(code @ (4 | 5)) if row.may_be_refused() => Verdict::Refused(code),
        _ if ended.said.contains("not supported") => Verdict::Absent,
        _ if ended.status.is_some_and(|status| !status.success()) => {
            bail!("it has failed: {}", ended.said)
        }
        _ if times < LEAST => bail!("it carried next to nothing: {}", ended.said),
        _ if series.is_within(LIMIT) => Verdict::Held,
        _ => {
            let start = series.0.first().map_or(0.0, |(time, _)| *time);
            let later = series.between(start + LATE * seconds, f64::INFINITY);
            if later.is_within(LIMIT) {
                Verdict::Late
            } else {
                Verdict::Broken
            }
        }
    };
    Ok((times, verdict))
}
