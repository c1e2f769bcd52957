//! Nanoseconds a packet.

use std::{fs, thread::sleep, time::Duration};

use anyhow::Context;

use super::{
    bpf::{self, EMPTY, Empty, Statistics},
    engine::Engine,
    lab::{CLIENT_V4, Lab, SERVER_V4},
    load::Running,
    median,
    report::Table,
};

const OURS: [(&str, &str); 2] = [
    ("chadthrottle_in", "ingress"),
    ("chadthrottle_eg", "egress"),
];

/// How many sockets a process holds at most: some systems allow twenty thousand descriptors.
const SOCKETS_OF_ONE: u16 = 5_000;

/// `BPF_PROG_TEST_RUN`, whose packets belong to no socket that anybody owns: the way of a packet
/// that is nobody's.
pub fn without_a_socket(quick: bool) -> anyhow::Result<Table> {
    let repeat = if quick { 100_000 } else { 2_000_000 };
    let mut table = Table::new(
        "Nanoseconds a packet that is nobody's (BPF_PROG_TEST_RUN)",
        &["program", "IPv4, 100 B", "IPv6, 1,400 B"],
    );
    let _empty = Empty::attach(&cgroup2()?)?;
    let _engine = Engine::counting("1s")?;
    for (name, direction) in EMPTY.iter().chain(&OURS) {
        let (id, _) = bpf::program(name)?;
        let of = if name.starts_with("empty") {
            "empty"
        } else {
            "ours, unattributed"
        };
        let mut costs = Vec::new();
        for packet in [ethernet(0x0800, 0x45, 100), ethernet(0x86dd, 0x60, 1400)] {
            let times = (0..5)
                .map(|_| bpf::test_run(id, &packet, repeat))
                .collect::<anyhow::Result<Vec<_>>>()?;
            costs.push(format!("{:.0}", median(times)));
        }
        table.row([
            format!("{direction}, {of}"),
            costs[0].clone(),
            costs[1].clone(),
        ]);
    }
    Ok(table)
}

/// An Ethernet frame, which is what the test run takes, with an IP packet of `len` bytes.
fn ethernet(protocol: u16, version: u8, len: usize) -> Vec<u8> {
    let mut packet = vec![0; 14 + len];
    packet[12..14].copy_from_slice(&protocol.to_be_bytes());
    packet[14] = version;
    packet
}

/// Sockets that are open, and how many of them send in turn. With all of them, each packet finds
/// its socket out of the processor's caches, for the kernel's own work as for ours.
const SOCKETS: [(u16, u16); 5] = [
    (1, 1),
    (1_000, 64),
    (20_000, 64),
    (1_000, 1_000),
    (20_000, 20_000),
];

/// The kernel's statistics of runs, with datagrams of 128 B, one way.
/// What is limited is one end's process, and its direction's program is the one that is read.
pub fn under_load(quick: bool) -> anyhow::Result<Table> {
    let rounds = if quick { 1 } else { 3 };
    let mut table = Table::new(
        "Nanoseconds a packet under load (BPF run statistics)",
        &[
            "sockets open",
            "sending in turn",
            "direction",
            "empty program",
            "counted",
            "limited",
            "counted less empty",
            "limited less empty",
        ],
    );
    let cgroup = cgroup2()?;
    let _statistics = Statistics::enable()?;
    for (sockets, active) in SOCKETS {
        for (direction, (_, name)) in OURS.iter().enumerate() {
            let lab = Lab::new();
            let (sender, sink, address) = match *name {
                "egress" => (&lab.client, &lab.server, SERVER_V4),
                _ => (&lab.server, &lab.client, CLIENT_V4),
            };
            // In this order they end: a sender does not outlive its sink.
            let mut sinks = Vec::new();
            let mut senders = Vec::new();
            for first in (0..sockets).step_by(SOCKETS_OF_ONE.into()) {
                let count = SOCKETS_OF_ONE.min(sockets - first);
                let port = 10_000 + first;
                sinks.push(Running::start(sink, &format!("sink {port} {count}"))?);
                let some = (u32::from(active) * u32::from(count)).div_ceil(sockets.into());
                let send = format!("send {address} {port} {count} {some}");
                senders.push(Running::start(sender, &send)?);
            }
            let limited = if *name == "egress" { &senders } else { &sinks };
            let pids: Vec<u32> = limited.iter().map(Running::pid).collect();
            let mut costs: [Vec<f64>; 3] = Default::default();
            for _ in 0..rounds {
                let empty = Empty::attach(&cgroup)?;
                costs[0].push(cost(EMPTY[direction].0)?);
                drop(empty);
                let counting = Engine::counting("1s")?;
                costs[1].push(cost(OURS[direction].0)?);
                drop(counting);
                let limiting = Engine::limiting(&pids)?;
                costs[2].push(cost(OURS[direction].0)?);
                drop(limiting);
            }
            let [empty, counted, limited] = costs.map(median);
            table.row([
                sockets.to_string(),
                active.to_string(),
                (*name).to_owned(),
                format!("{empty:.0}"),
                format!("{counted:.0}"),
                format!("{limited:.0}"),
                format!("{:.0}", counted - empty),
                format!("{:.0}", limited - empty),
            ]);
        }
    }
    Ok(table)
}

/// What a run of the program costs, over a second and a half, in nanoseconds.
fn cost(program: &str) -> anyhow::Result<f64> {
    sleep(Duration::from_millis(500));
    let before = bpf::program(program)?.1;
    sleep(Duration::from_millis(1500));
    Ok(bpf::program(program)?.1.ns_since(before))
}

fn cgroup2() -> anyhow::Result<String> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .and_then(|fields| Some((*fields.get(1)?).to_owned()))
        .context("no cgroup2 file system is mounted")
}
