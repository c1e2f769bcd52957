//! The main job: a process is held to its limit, and only it.

use std::time::{Duration, Instant};

use chadthrottle::{
    model::{self, ProcessKey},
    process::Targets,
};

use crate::{
    audit::assert_nothing_left,
    following::Limit,
    iperf::{Client, MB, server, to_server},
    lab::{Lab, SERVER_V4, SERVER_V6},
    program::Chadthrottle,
};

/// A limit of that rate in each direction.
pub fn both_ways(rate: &str) -> model::Limit {
    let rate = Some(rate.parse().expect("a rate"));
    model::Limit {
        down: rate,
        up: rate,
        ..model::Limit::NONE
    }
}

/// That process and no other.
pub fn only(key: ProcessKey) -> Targets {
    Targets {
        processes: vec![key],
        ..Targets::default()
    }
}

/// One transfer under `run`, 1 MB/s each way: goodput over limit.
#[track_caller]
fn held(attach: &str, address: &str, more: &str) -> f64 {
    let lab = Lab::new();
    transfer(
        &lab,
        &lab.client,
        &format!("--attach {attach}"),
        address,
        more,
    )
}

/// The same from a host of an own laboratory, with more options.
#[track_caller]
fn transfer(lab: &Lab, host: &str, options: &str, address: &str, more: &str) -> f64 {
    let _server = server(lab, 5201);
    let program = Chadthrottle::new();
    let arguments = format!(
        "run --root {options} --down 1MB/s --up 1MB/s -- \
         ip netns exec {host} iperf3 -J -c {address} -p 5201 -t 5 {more}",
    );
    let output = program.output(&arguments);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}{text}",
        String::from_utf8_lossy(&output.stderr)
    );
    let ratio = crate::iperf::Report::parse(&text, more).goodput() / MB;
    println!("{options} {address} {more}: goodput / limit {ratio:.3}");
    assert_nothing_left();
    ratio
}

#[track_caller]
fn check(attach: &str, address: &str, more: &str) {
    let ratio = held(attach, address, more);
    assert!(
        (0.7..1.15).contains(&ratio),
        "{attach} {address} {more}: {ratio:.3} of the limit"
    );
}

/// A window in which a full segment has no room would leave senders to their timers.
#[test]
fn segments_of_64_kb_over_loopback_are_held_and_not_starved() {
    let lab = Lab::new();
    for more in ["", "-R"] {
        let ratio = transfer(&lab, &lab.server, "--scope all", "127.0.0.1", more);
        assert!((0.7..1.3).contains(&ratio), "{more}: {ratio:.3}");
    }
}

#[test]
fn jumbo_frames_are_held_and_not_starved() {
    let lab = Lab::new();
    for host in [&lab.client, &lab.server] {
        let status = Lab::command(host, "ip")
            .args("link set v0 mtu 9000".split(' '))
            .status();
        assert!(status.expect("ip(8)").success());
    }
    let ratio = transfer(&lab, &lab.client, "", SERVER_V4, "-R");
    assert!((0.7..1.15).contains(&ratio), "{ratio:.3}");
}

#[test]
fn tcp_download_v4_by_link_after_load() {
    check("link", SERVER_V4, "-R");
}

#[test]
fn tcp_download_v6_by_legacy_after_load() {
    check("legacy", SERVER_V6, "-R");
}

#[test]
fn tcp_upload_v4_by_legacy_after_load() {
    check("legacy", SERVER_V4, "");
}

#[test]
fn tcp_upload_v6_by_link_after_load() {
    check("link", SERVER_V6, "");
}

#[test]
fn udp_download_v4() {
    check("auto", SERVER_V4, "-R -u -b 16M");
}

#[test]
fn udp_download_v6() {
    check("auto", SERVER_V6, "-R -u -b 16M");
}

#[test]
fn udp_upload_v4() {
    check("auto", SERVER_V4, "-u -b 16M");
}

#[test]
fn udp_upload_v6() {
    check("auto", SERVER_V6, "-u -b 16M");
}

#[test]
fn a_neighbour_in_the_same_cgroup_to_the_same_server_is_not_slowed() {
    let lab = Lab::new();
    let (_one, _two) = (server(&lab, 5201), server(&lab, 5202));
    let program = Chadthrottle::new();
    let mut limited = Client::held(&lab, &to_server(5201, 5, "-R"));
    let mut limit = Limit::start(
        &program,
        &format!("{} --down 1MB --up 1MB --for 8s", limited.pid()),
    );
    limited.go();
    let neighbour = Client::started(&lab, &to_server(5202, 5, "-R"));
    let (limited, neighbour) = (limited.report(), neighbour.report());
    let (held, free) = (limited.goodput() / MB, neighbour.goodput() / MB);
    println!("limited {held:.3}, neighbour {free:.1} times the limit");
    assert!((0.7..1.15).contains(&held), "{held:.3} of the limit");
    assert!(free >= 20.0, "the neighbour ran at {free:.1} MB/s");
    // Its only target has ended, so it need not wait for the time to be up.
    assert!(limit.wait(Duration::from_secs(4)).success());
    assert_nothing_left();
}

#[test]
fn a_connection_that_was_open_before_slows_within_a_second_and_recovers_within_two() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let program = Chadthrottle::new();
    let client = Client::started(&lab, &to_server(5201, 14, "-R -i 0.5"));
    let started = Instant::now();
    let seconds = || started.elapsed().as_secs_f64();
    // In which it is not limited.
    std::thread::sleep(Duration::from_secs(3));
    // On a busy machine its start takes a while, at full speed.
    let limit = Limit::start(&program, &format!("{} --down 1MB", client.pid()));
    let from = seconds();
    std::thread::sleep(Duration::from_secs(3));
    let until = seconds();
    drop(limit);
    let ended = seconds();
    let intervals = client.report().intervals();
    let line: Vec<String> = intervals
        .iter()
        .map(|(start, rate)| format!("{start:.1}: {:.1}", rate / MB))
        .collect();
    println!("MB/s by second: {}", line.join(", "));
    let between = |from: f64, to: f64| {
        intervals
            .iter()
            .filter(move |(start, _)| (from..to).contains(start))
            .map(|(_, rate)| *rate)
    };
    assert!(
        between(0.5, 2.5).all(|rate| rate > 20.0 * MB),
        "not free before"
    );
    // The intervals that began a second later, and were over in time.
    let limited: Vec<f64> = between(from + 1.0, until - 0.5).collect();
    let mean = limited.iter().sum::<f64>() / limited.len() as f64;
    assert!(
        mean < 1.3 * MB,
        "{mean} bytes a second under a limit of 1 MB/s"
    );
    let again: Vec<f64> = between(ended + 2.0, 13.4).collect();
    assert!(
        again.len() > 2 && again.iter().all(|rate| *rate > 20.0 * MB),
        "not free again"
    );
    assert_nothing_left();
}

#[test]
fn a_child_is_limited_from_its_first_packet() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let program = Chadthrottle::new();
    // 3 MB through a grandchild that is forked and sends at once: unlimited it takes
    // milliseconds.
    let script = format!(
        "(exec ip netns exec {} iperf3 -J -c {SERVER_V4} -p 5201 -n 3M -R) & wait",
        lab.client
    );
    let mut command = program.command("run --root --down 1MB -- sh -c");
    let started = Instant::now();
    let output = command.arg(script).output().expect("chadthrottle");
    let elapsed = started.elapsed();
    println!("3 MB at 1 MB/s through a grandchild: {elapsed:?}");
    assert!(output.status.success());
    assert!(elapsed > Duration::from_millis(2_000), "{elapsed:?}");
    assert_nothing_left();
}
