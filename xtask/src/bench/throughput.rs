//! What others notice: throughput and requests with the engine running and without, in turn.

use std::process::{Command, Stdio};

use anyhow::Context;
use serde_json::Value;

use super::{
    engine::Engine,
    lab::{Lab, SERVER_V4},
    load::{self, Ended, Running},
    median,
    report::Table,
};

/// A load by name, its unit, and how to run it: it gives what it achieved.
type Load<'a> = (&'a str, (f64, &'a str), &'a dyn Fn() -> anyhow::Result<f64>);

pub fn with_and_without(quick: bool) -> anyhow::Result<Table> {
    let (pairs, seconds) = if quick { (2, 1) } else { (9, 4) };
    let lab = Lab::new();
    let _iperf3 = iperf3_server(&lab)?;
    let _answer = Running::start(&lab.server, "answer 7000")?;
    let mut table = Table::new(
        "Unlimited traffic over veth, with the engine counting and without, in turn",
        &[
            "load",
            "without",
            "with",
            "with ÷ without (median of pairs)",
            "each pair",
        ],
    );
    let download = || iperf3(&lab, &format!("-t {seconds} -R"));
    let upload = || iperf3(&lab, &format!("-t {seconds}"));
    let requests = || load::figure(&lab.client, &format!("ask {SERVER_V4} 7000 {seconds}"));
    let loads: [Load; 3] = [
        ("iperf3, TCP down", (1e9, "GB/s"), &download),
        ("iperf3, TCP up", (1e9, "GB/s"), &upload),
        ("TCP requests of 100 B", (1e3, "thousand/s"), &requests),
    ];
    for (name, (unit, unit_name), load) in loads {
        load()?; // warms up
        let (mut without, mut with, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for pair in 0..pairs {
            let mut free = 0.0;
            if pair % 2 == 0 {
                free = load()?;
            }
            let engine = Engine::counting("1s")?;
            let counted = load()?;
            drop(engine);
            if pair % 2 != 0 {
                free = load()?;
            }
            without.push(free);
            with.push(counted);
            ratios.push(counted / free);
        }
        let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        table.row([
            name.to_owned(),
            format!("{:.2} {unit_name}", median(without) / unit),
            format!("{:.2} {unit_name}", median(with) / unit),
            format!("{:.3}", median(ratios)),
            each.join(" "),
        ]);
    }
    Ok(table)
}

pub fn iperf3_server(lab: &Lab) -> anyhow::Result<Ended> {
    let child = Lab::command(&lab.server, "iperf3")
        .args(["-s", "-p", "5201"])
        .stdout(Stdio::null())
        .spawn()
        .context("iperf3")?;
    let server = Ended(child);
    for _ in 0..100 {
        let listening = Command::new("ip")
            .args(["netns", "exec", &lab.server, "ss", "-tlnH"])
            .output()?;
        if String::from_utf8_lossy(&listening.stdout).contains(":5201") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(server)
}

/// Bytes a second that arrive.
fn iperf3(lab: &Lab, arguments: &str) -> anyhow::Result<f64> {
    let output = Lab::command(&lab.client, "iperf3")
        .args(["-J", "-c", SERVER_V4, "-p", "5201"])
        .args(arguments.split(' '))
        .output()
        .context("iperf3")?;
    let report: Value = serde_json::from_slice(&output.stdout).context("iperf3's report")?;
    let bits = &report["end"]["sum_received"]["bits_per_second"];
    Ok(bits
        .as_f64()
        .with_context(|| format!("iperf3: {}", report["error"]))?
        / 8.0)
}
