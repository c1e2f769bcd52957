//! Nanoseconds a packet.

use std::{fs, thread::sleep, time::Duration};

use anyhow::{Context, bail};

use crate::{
    build_ebpf::{self, Variant},
    shell::build_for_other_objects,
};

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

/// How many sockets a process holds at most: some systems allow twenty thousand descriptors. The
/// more belong to one process, the less the figures are of many processes on few processors.
const SOCKETS_OF_ONE: u16 = 19_900;

/// `BPF_PROG_TEST_RUN`: the same packet time and again, with everything in the caches.
///
/// Its socket is one that nobody made, so the programs are a variant in which the packet says whose
/// it is. It comes through the loopback device, and the limit is one for that too.
pub fn test_run(quick: bool) -> anyhow::Result<Table> {
    let repeat = if quick { 100_000 } else { 2_000_000 };
    let mut table = Table::new(
        "Nanoseconds a packet by itself (BPF_PROG_TEST_RUN)",
        &[
            "direction, packet",
            "empty program",
            "nobody's",
            "counted",
            "limited",
            "counted less empty",
            "limited less empty",
        ],
    );
    let directory = tempfile::tempdir()?;
    let toolchain = crate::toolchain::find_or_install()?;
    let object = build_ebpf::build(&toolchain, directory.path(), Variant::TestRun)?;
    build_for_other_objects()?;
    let process = Running::start_here("idle 1")?;

    let empty = Empty::attach(&cgroup2()?)?;
    let nothing = Times::measure(&EMPTY, None, repeat)?;
    drop(empty);
    let engine = Engine::counting("1s", None)?;
    let nobodys = Times::measure(&OURS, None, repeat)?;
    drop(engine);
    let engine = Engine::counting("1s", Some(&object))?;
    let counted = Times::measure(&OURS, Some(process.pid()), repeat)?;
    drop(engine);
    let engine = Engine::limiting(&[process.pid()], Some(&object))?;
    let limited = Times::measure(&OURS, Some(process.pid()), repeat)?;
    drop(engine);

    for (number, name) in nothing.names.iter().enumerate() {
        let [nothing, nobodys, counted, limited] =
            [&nothing, &nobodys, &counted, &limited].map(|times| times.ns[number]);
        table.row([
            name.clone(),
            format!("{nothing:.0}"),
            format!("{nobodys:.0}"),
            format!("{counted:.0}"),
            format!("{limited:.0}"),
            format!("{:.0}", counted - nothing),
            format!("{:.0}", limited - nothing),
        ]);
    }
    Ok(table)
}

/// Nanoseconds by direction and packet.
struct Times {
    names: Vec<String>,
    ns: Vec<f64>,
}

impl Times {
    /// With packets of that process, and checks that they were counted as such.
    fn measure(
        programs: &[(&str, &str)],
        process: Option<u32>,
        repeat: u32,
    ) -> anyhow::Result<Self> {
        let owner = process.map(bpf::owner).transpose()?;
        let slot = owner.map(|[a, b, c, d, ..]| u32::from_ne_bytes([a, b, c, d]));
        let meters = || {
            slot.map(|slot| bpf::look_up("chad_slots", slot))
                .transpose()
        };
        let before = meters()?;
        let (mut names, mut ns) = (Vec::new(), Vec::new());
        for (program, direction) in programs {
            let (id, _) = bpf::program(program)?;
            for (kind, mut packet) in [
                ("IPv4, 100 B", ethernet(0x0800, 0x45, 100)),
                ("IPv6, 1,400 B", ethernet(0x86dd, 0x60, 1400)),
            ] {
                packet[54..62].copy_from_slice(&owner.unwrap_or_default());
                let times = (0..5)
                    .map(|_| bpf::test_run(id, &packet, repeat))
                    .collect::<anyhow::Result<Vec<_>>>()?;
                names.push(format!("{direction}, {kind}"));
                ns.push(median(times));
            }
        }
        if slot.is_some() && meters()? == before {
            bail!("the packets were not counted as the process's");
        }
        Ok(Self { names, ns })
    }
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
                let some = u32::from(active) * u32::from(count) / u32::from(sockets);
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
                let counting = Engine::counting("1s", None)?;
                costs[1].push(cost(OURS[direction].0)?);
                drop(counting);
                let limiting = Engine::limiting(&pids, None)?;
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

/// Where cgroup2 is mounted.
pub fn cgroup2() -> anyhow::Result<String> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .and_then(|fields| Some((*fields.get(1)?).to_owned()))
        .context("no cgroup2 file system is mounted")
}
