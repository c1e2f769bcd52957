//! Senders are as fast after a limit as before it, at either end, and nothing of that stays.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use chadthrottle::{
    process::{each_socket_of, key_of},
    sys::tcp,
};

use crate::{
    audit::{OURS, assert_nothing_left, attached, cgroup2},
    client::{self, UNLIMITED},
    iperf::{Client, server, to_server},
    lab::Lab,
    lifecycle::with_engine,
    limits::{both_ways, only},
    program::{Chadthrottle, eventually},
};

/// The program that withholds acknowledgements.
const WITHHOLDING: &str = "chadthrottle_un";

/// Bytes that all connections of a process have received.
fn received(pid: u32) -> u64 {
    let mut bytes = 0;
    each_socket_of(Path::new("/proc"), pid, |socket| {
        bytes += tcp::info(socket).map_or(0, |info| info.bytes_received);
    });
    bytes
}

/// How often senders of a network namespace have taken back what a needless timeout had them do.
fn undone(namespace: &str) -> u64 {
    let output = Lab::command(namespace, "cat")
        .arg("/proc/net/netstat")
        .output();
    let text = String::from_utf8(output.expect("cat").stdout).expect("text");
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut counters = names.split(' ').zip(values.split(' '));
    let (_, value) = counters
        .find(|(name, _)| *name == "TCPLossUndo")
        .expect("TCPLossUndo");
    value.parse().expect("a number")
}

#[test]
fn a_sender_that_stays_slow_has_a_needless_timeout_and_no_other_harm() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    // Slow for a reason of its own, so for certain: a packet each 85 ms, 17 KB/s.
    let arguments = to_server(5201, 9, "-R -C cubic -l 1448 -b 136K");
    let mut client = Client::held(&lab, &arguments);
    with_engine(async |engine| {
        let key = key_of("/proc".as_ref(), client.pid()).expect("it runs");
        client.go();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let id = engine.set_limit(only(key), both_ways("20KB")).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let before = undone(&lab.server);
        let removed = engine.remove_limit(id.expect("a limit")).await;
        removed.expect("it is gone");
        eventually("its timer has run out", Duration::from_secs(2), || {
            undone(&lab.server) > before
        });
        eventually(
            "nothing is withheld any more",
            Duration::from_secs(2),
            || attached(&cgroup2()) == OURS,
        );
    });
    let [bytes] = client.report().connections_since(7.0)[..] else {
        panic!("one connection")
    };
    println!("{bytes} bytes in two seconds after it");
    assert!((28e3..40e3).contains(&bytes));
    assert_nothing_left();
}

/// BBR kept to what it took for the rate of a policer, for 48 packets: half of such downloads were at the rate
/// of the limit for seconds after it. What it does is its own affair, so one may be late.
#[test]
fn slow_downloads_from_bbr_are_fast_again_soon_after_their_limit() {
    const RATES: [&str; 3] = ["50KB", "40KB", "30KB"];
    let fast = RATES.into_iter().filter(|rate| {
        let lab = Lab::new();
        let _server = server(&lab, 5201);
        let mut client = Client::held(&lab, &to_server(5201, 12, "-R -C bbr"));
        let pid = client.pid();
        let after = with_engine(async |engine| {
            let key = key_of("/proc".as_ref(), pid).expect("it runs");
            client.go();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let id = engine.set_limit(only(key), both_ways(rate)).await;
            tokio::time::sleep(Duration::from_secs(4)).await;
            let removed = engine.remove_limit(id.expect("a limit")).await;
            removed.expect("it is gone");
            let removed = Instant::now();
            let is_fast = || {
                let before = received(pid);
                std::thread::sleep(Duration::from_millis(100));
                received(pid) - before > 10_000_000
            };
            while !is_fast() && removed.elapsed() < Duration::from_secs(2) {}
            removed.elapsed()
        });
        println!("{rate}: fast after {after:?}");
        drop(client);
        assert_nothing_left();
        after < Duration::from_secs(2)
    });
    assert!(fast.count() >= 2);
}

/// It is attached when the engine is killed, and would stay.
#[test]
fn the_guard_detaches_what_withholds_acknowledgements() {
    for attach in ["link", "legacy"] {
        let lab = Lab::new();
        let _server = server(&lab, 5201);
        let client = Client::started(&lab, &to_server(5201, 30, "-R"));
        let program = Chadthrottle::new();
        let arguments = format!("limit {} --down 20KB --attach {attach}", client.pid());
        let mut limit = program.spawn(&arguments);
        eventually("it holds", Duration::from_secs(4), || {
            let before = received(client.pid());
            std::thread::sleep(Duration::from_millis(500));
            (1_000..100_000).contains(&(received(client.pid()) - before))
        });
        // So that it is waited for.
        let status = Command::new("ip")
            .args(["-n", &lab.server, "link", "set", "v0", "down"])
            .status();
        assert!(status.expect("ip(8)").success());
        limit.signal("-TERM");
        eventually("it is attached", Duration::from_secs(1), || {
            attached(&cgroup2()).contains(&WITHHOLDING.to_owned())
        });
        limit.signal("-KILL");
        limit.wait(Duration::from_secs(1));
        assert_nothing_left();
    }
}

/// BBR takes a pace for all that the network can do, and looks for a quarter more in eight round trips.
#[test]
fn bbr_starts_anew_after_a_limit() {
    // Before an acknowledgement, and then 2 ÷ ln 2, rounded up: net/ipv4/tcp_bbr.c, `bbr_high_gain`.
    const START: [u64; 2] = [0, 739];
    let mut client = client::Client::start();
    client.connect("connect");
    client.ask("bbr");
    client.carry("upload 1");
    let gain = |client: &mut client::Client| client.ask("gain").as_u64().expect("a number");
    let found = gain(&mut client);
    assert!(!START.contains(&found), "{found}");
    let program = Chadthrottle::new();
    let arguments = format!("limit {} --up 20KB --for 1s", client.pid());
    let mut limit = program.spawn(&arguments);
    eventually("the limit holds", Duration::from_secs(5), || {
        client.options()[0].pacing != UNLIMITED
    });
    let paced = gain(&mut client);
    assert!(!START.contains(&paced), "a pace changes nothing by itself");
    assert!(limit.wait(Duration::from_secs(4)).success());
    let anew = gain(&mut client);
    assert!(START.contains(&anew), "{anew}");
    assert_nothing_left();
}
