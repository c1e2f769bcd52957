//! A mixed load, against the interfaces' own counters and against what its processes say.

use std::{collections::HashSet, process::Command, time::Duration};

use serde_json::Value;

use crate::{
    audit::assert_nothing_left,
    lab::Lab,
    observer::{Observer, carried, relative_error},
    program::{Chadthrottle, eventually},
    traffic::{Traffic, far_side},
};

/// IP bytes that the two ends of the laboratory's wire have sent, and so received: the wire loses
/// nothing. `link_header` is what the interface counts of it, in bytes a packet.
fn on_the_wire(lab: &Lab, link_header: u64) -> u64 {
    let sent = [&lab.client, &lab.server].map(|host| {
        let output = Command::new("ip")
            .args(["-j", "-s", "-n", host, "link", "show", "dev", "v0"])
            .output()
            .expect("ip(8)");
        let link: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let number = |key: &str| {
            let number = &link[0]["stats64"]["tx"][key];
            number.as_u64().expect("a number")
        };
        number("bytes") - link_header * number("packets")
    });
    sent.iter().sum()
}

/// So that the interfaces count segments, as those of real hardware do, and not the aggregates
/// that veth else hands over whole. The programs still see aggregates.
///
/// And so that a full ring makes packets wait instead of losing them after they were counted
/// as sent, which on a busy machine is more than the test allows: veth stops its queue where that
/// has a qdisc (veth_xmit in drivers/net/veth.c).
fn segment_before_the_wire(lab: &Lab, gro: &str) {
    for host in [&lab.client, &lab.server] {
        let status = Command::new("tc")
            .args(["-n", host])
            .args("qdisc replace dev v0 root pfifo limit 100000".split(' '))
            .status();
        assert!(status.expect("tc(8)").success());
        let status = Lab::command(host, "ethtool")
            .args("-K v0 tso off gso off gro".split(' '))
            .arg(gro)
            .status();
        assert!(status.expect("ethtool").success());
    }
}

fn unattributed(sample: &Value) -> (u64, u64) {
    let number = |key: &str| sample["unattributed"][key].as_u64().expect("a number");
    (number("down_bytes"), number("up_bytes"))
}

#[track_caller]
fn adds_up(seconds: u32, gro: &str, link_header: u64) {
    let lab = Lab::new();
    segment_before_the_wire(&lab, gro);
    let program = Chadthrottle::new();
    let observer = Observer::of(program.command("list --json --interval 1s"));
    let before = (
        on_the_wire(&lab, link_header),
        unattributed(&observer.sample()),
    );
    let server = far_side(&lab);
    let load = Traffic::start(&lab.client, &format!("mixed 200 {seconds}"));
    let said = load.all_say("client", 8);
    eventually(
        "connections have said good-bye",
        Duration::from_secs(5),
        || {
            [&lab.client, &lab.server].iter().all(|host| {
                // But for those that only wait for their time to be over.
                let output = Lab::command(host, "ss").args(["-H", "-t", "-n"]).output();
                output.expect("ss(8)").stdout.is_empty()
            })
        },
    );
    let sample = observer.fresh();
    let wire = on_the_wire(&lab, link_header) - before.0;

    let ours: HashSet<u32> = said
        .iter()
        .map(|one| one.pid)
        .chain([server.pid()])
        .collect();
    let entries = sample["processes"].as_array().expect("a list");
    let attributed: Vec<_> = entries
        .iter()
        .map(carried)
        .filter(|one| ours.contains(&one.pid))
        .collect();
    let (down_before, up_before) = before.1;
    let (down_unattributed, up_unattributed) = unattributed(&sample);
    for (direction, attributed, unattributed) in [
        (
            "down",
            attributed.iter().map(|one| one.down).sum::<u64>(),
            down_unattributed - down_before,
        ),
        (
            "up",
            attributed.iter().map(|one| one.up).sum::<u64>(),
            up_unattributed - up_before,
        ),
    ] {
        let error = relative_error(attributed + unattributed, wire);
        let nobodys = unattributed as f64 / wire as f64;
        println!(
            "{direction}: {attributed} attributed + {unattributed} unattributed ({:.4} %) of {wire} \
             on the wire ({:+.4} %)",
            nobodys * 100.0,
            error * 100.0
        );
        assert!(wire > 100_000_000, "that was no load: {wire} bytes");
        assert!(error.abs() <= 0.001);
        assert!(nobodys < 0.001);
    }
    for one in &said {
        observer.assert_agrees("one process of the load", *one, 0.005);
    }
    drop(load);
    observer.stop();
    assert_nothing_left();
}

#[test]
fn two_hundred_connections_for_thirty_seconds_add_up_to_what_was_on_the_wire() {
    adds_up(30, "off", 14);
}

#[test]
fn two_hundred_connections_add_up_also_where_arriving_segments_are_put_together() {
    // With GRO veth counts in its NAPI poll, after `eth_type_trans` has taken the header off
    // (veth_xdp_rcv in drivers/net/veth.c).
    adds_up(5, "on", 0);
}
