//! What the engine itself needs, with a thousand processes and twenty thousand sockets.

use std::{
    fs,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::{
    engine::Engine,
    lab::{Lab, SERVER_V4},
    load::{self, Ended, Running},
    median,
    report::Table,
    throughput::iperf3_server,
};
use crate::shell::find;

pub fn beside_the_peers(quick: bool) -> anyhow::Result<Table> {
    let (processes, seconds) = if quick { (100, 5) } else { (1_000, 20) };
    let lab = Lab::new();
    let _server = iperf3_server(&lab)?;
    let idle = (0..processes)
        .map(|_| Running::start(&lab.client, "idle 20"))
        .collect::<anyhow::Result<Vec<_>>>()?;
    // 100 Mbit/s for as long as it takes.
    let _load = Ended(
        Lab::command(&lab.client, "iperf3")
            .args([
                "-c", SERVER_V4, "-p", "5201", "-b", "100M", "-R", "-t", "600",
            ])
            .stdout(Stdio::null())
            .spawn()
            .context("iperf3")?,
    );
    sleep(Duration::from_secs(1));
    let mut table = Table::new(
        &format!(
            "{processes} processes, {} sockets, one download of 100 Mbit/s, one sample a second",
            processes * 20
        ),
        &[
            "program",
            "start to first sample",
            "of one core",
            "resident",
        ],
    );
    let mut starts = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        // The first line is the second sample: the first has no rates yet.
        let engine = Engine::counting("10ms", None)?;
        starts.push(started.elapsed().as_secs_f64() - 0.010);
        drop(engine);
    }
    let engine = Engine::counting("1s", None)?;
    let (cpu, memory) = needs(&engine.pids()?, seconds)?;
    drop(engine);
    table.row([
        "chadthrottle list".to_owned(),
        format!("{:.2} s", median(starts)),
        format!("{:.2} %", cpu * 100.0),
        format!("{:.0} MB", memory / 1e6),
    ]);
    for (peer, arguments) in [
        ("nethogs", "-t -d 1 v0"),
        ("bandwhich", "--raw --interface v0 --no-resolve"),
    ] {
        let Some(program) = find(peer) else {
            table.row([
                peer.to_owned(),
                "not installed".into(),
                "-".into(),
                "-".into(),
            ]);
            continue;
        };
        let child = Lab::command(&lab.client, &program.display().to_string())
            .args(arguments.split(' '))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let child = Ended(child);
        let (cpu, memory) = needs(&[child.0.id()], seconds)?;
        table.row([
            format!("{peer} {arguments}"),
            "-".to_owned(),
            format!("{:.2} %", cpu * 100.0),
            format!("{:.0} MB", memory / 1e6),
        ]);
    }
    drop(idle);
    Ok(table)
}

/// What limits cost the engine, by how many connections they hold: one sample a second, as always.
pub fn by_connections(quick: bool) -> anyhow::Result<Table> {
    let seconds = if quick { 5 } else { 20 };
    let mut table = Table::new(
        "The engine with one process limited to 1 MB/s, all of whose connections send",
        &["connections", "of one core", "resident"],
    );
    for (connections, technique) in [(1, "bulk"), (100, "bulk100"), (1_000, "bulk1000")] {
        let lab = Lab::new();
        let _peer = Running::spawn(load::command(&lab.server), "peer")?;
        let lasts = seconds + 60;
        let load = Ended(
            load::command(&lab.client)
                .args(["escape", technique, "up", SERVER_V4, &lasts.to_string()])
                .stdout(Stdio::null())
                .spawn()
                .context("load")?,
        );
        sleep(Duration::from_secs(1));
        let engine = Engine::limiting_to("1MB/s", &[load.0.id()], None)?;
        let (cpu, memory) = needs(&engine.pids()?, seconds)?;
        table.row([
            connections.to_string(),
            format!("{:.2} %", cpu * 100.0),
            format!("{:.0} MB", memory / 1e6),
        ]);
    }
    Ok(table)
}

/// The part of a core that processes take together over so many seconds, and their resident bytes then.
pub fn needs(pids: &[u32], seconds: u64) -> anyhow::Result<(f64, f64)> {
    let used = || pids.iter().map(|pid| processor_time(*pid)).sum();
    sleep(Duration::from_secs(3));
    let began = Instant::now();
    let before: anyhow::Result<f64> = used();
    sleep(Duration::from_secs(seconds));
    let after: anyhow::Result<f64> = used();
    let part = (after? - before?) / began.elapsed().as_secs_f64();
    let resident: anyhow::Result<f64> = pids.iter().map(|pid| resident(*pid)).sum();
    Ok((part, resident?))
}

fn resident(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
        .context("VmRSS")?;
    Ok(resident * 1024.0)
}

/// Seconds that all its threads have run. Not from /proc/PID/stat: that is sampled by the timer
/// which also wakes programs that do something every second, and charges them too much.
fn processor_time(pid: u32) -> anyhow::Result<f64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .with_context(|| format!("process {pid} has ended"))?;
    let mut sum = 0.0;
    for thread in threads {
        let schedstat = fs::read_to_string(thread?.path().join("schedstat"))?;
        let running = schedstat
            .split(' ')
            .next()
            .and_then(|ns| ns.parse::<f64>().ok());
        sum += running.context("the time in schedstat")? / 1e9;
    }
    Ok(sum)
}
