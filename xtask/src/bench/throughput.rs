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
    let (rounds, seconds) = if quick { (2, 1) } else { (11, 1) };
    let lab = Lab::new();
    let _iperf3 = iperf3_server(&lab)?;
    let _answer = Running::start(&lab.server, "answer 7000")?;
    let mut table = Table::new(
        "Unlimited traffic over veth with the engine counting ÷ without, in turn",
        &[
            "load",
            "without",
            "with ÷ without (quartiles)",
            "without ÷ without (quartiles)",
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
        let (mut free, mut counted, mut control) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            // Without, with, with, without: a drift of the machine falls out. And the same with
            // no engine at all shows what is left of noise.
            let first = load()?;
            let engine = Engine::counting("1s", None)?;
            let with = [load()?, load()?];
            drop(engine);
            let second = load()?;
            counted.push((with[0] + with[1]) / (first + second));
            let without = [load()?, load()?];
            let third = load()?;
            control.push((without[0] + without[1]) / (second + third));
            free.extend([first, second, third]);
        }
        table.row([
            name.to_owned(),
            format!("{:.2} {unit_name}", median(free) / unit),
            quartiles(counted),
            quartiles(control),
        ]);
    }
    Ok(table)
}

/// The median, and in brackets where half of the values lie.
fn quartiles(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values[(values.len() - 1) * part / 4];
    format!("{:.3} ({:.3} to {:.3})", at(2), at(1), at(3))
}

pub fn iperf3_server(lab: &Lab) -> anyhow::Result<Ended> {
    let child = Lab::command(&lab.server, "iperf3")
        .args(["-s", "-J", "-i", "0.1", "-p", "5201"])
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
