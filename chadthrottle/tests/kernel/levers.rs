//! Levers: options of the limited process's sockets, which that process reads back.

use std::time::Duration;

use chadthrottle::{
    engine::Handle,
    model::{self, LimitId},
    process::key_of,
};
use chadthrottle_common::scope::Scope;
use serde_json::Value;

use crate::{
    audit::assert_nothing_left,
    client::{Client, Options, UNLIMITED},
    following::Limit,
    iperf::{self, server, to_server},
    lab::{Lab, SERVER_V4},
    lifecycle::with_engine,
    limits::{both_ways, only},
    program::{Chadthrottle, eventually, signal},
    sockets::infos,
};

/// How the limit ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Time,
    Terminated,
    Killed,
    KilledWithItsGuard,
}

#[track_caller]
fn options_are_as_before(attach: &str, end: End) {
    let mut client = Client::start();
    client.connect("connect");
    client.connect("paced 20000");
    let before = client.options();
    assert_eq!(before[0].pacing, UNLIMITED);
    assert_eq!(before[1].pacing, 20_000);

    let program = Chadthrottle::new();
    let time = if end == End::Time { "--for 2s" } else { "" };
    let mut limit = program.spawn(&format!(
        "--attach {attach} limit {} --down 1MB --up 100KB {time}",
        client.pid()
    ));
    eventually(
        "the limit's options are set",
        Duration::from_secs(5),
        || client.options()[0].pacing != UNLIMITED,
    );
    // Made under the limit, and before its end.
    client.connect("connect");
    let mut during = Vec::new();
    eventually("all are held", Duration::from_secs(2), || {
        during = client.options();
        let held = |options: &Options| options.pacing <= 1_100_000 && options.window <= 20_000;
        // Of one that is new, the congestion control begins after the kernel program.
        during.iter().all(held) && during[..2].iter().all(|it| it.threshold < 10)
    });
    println!("{attach}, {end:?}: before {before:?}\nduring {during:?}");
    assert_eq!(during[1].pacing, 20_000, "its own is lower");

    match end {
        End::Time => {
            assert!(limit.wait(Duration::from_secs(4)).success());
        }
        End::Terminated => {
            limit.signal("-TERM");
            limit.wait(Duration::from_secs(2));
        }
        End::Killed => {
            program.kill_engine(&mut limit);
            eventually(
                "the guard puts them back",
                Duration::from_millis(500),
                || client.options()[0] == before[0],
            );
        }
        End::KilledWithItsGuard => {
            program.kill_with_guard(&mut limit);
            assert_ne!(client.options()[0], before[0], "nobody was there to do it");
            assert!(program.output("cleanup").status.success());
        }
    }
    let after = client.options();
    assert_eq!(after[..2], before);
    // What a connection has that was never limited: no pacing, and a window of its own. That of
    // one that was made under a limit has room for 16 MB, which was settled when it was made.
    assert_eq!(after[2].pacing, UNLIMITED);
    assert_eq!(after[2].threshold, before[0].threshold);
    assert!(
        after[2].window >= 16_000_000.min(before[0].window),
        "{after:?}"
    );
    // Two dozen segments or more, as the kernel likes.
    client.carry("upload 0.3");
    assert!(client.flight() > 20, "{} segments", client.flight());
    drop(client);
    assert_nothing_left();
}

#[test]
fn a_slow_upload_goes_out_in_small_pieces() {
    for open_before in [true, false] {
        let mut client = Client::start();
        if open_before {
            client.connect("connect");
        }
        let program = Chadthrottle::new();
        let limit = Limit::start(&program, &format!("{} --up 20KB", client.pid()));
        if !open_before {
            // So that the kernel program has to do it.
            signal(program.engine(), "-STOP");
            client.connect("connect");
        }
        client.ask("push");
        // In which many more would be on their way.
        std::thread::sleep(Duration::from_secs(3));
        // TCP hands over half of them at once.
        let flight = client.flight();
        println!("open before: {open_before}, {flight} segments");
        assert!(flight <= 4, "{flight} segments");
        signal(program.engine(), "-CONT");
        drop(limit);
        eventually("as many as TCP likes", Duration::from_secs(1), || {
            client.flight() > 20
        });
        drop(client);
        assert_nothing_left();
    }
}

#[test]
fn when_the_time_is_up_every_socket_has_the_options_that_it_had() {
    options_are_as_before("link", End::Time);
}

#[test]
fn after_a_signal_every_socket_has_the_options_that_it_had() {
    options_are_as_before("legacy", End::Terminated);
}

#[test]
fn after_sigkill_the_guard_gives_every_socket_the_options_that_it_had() {
    options_are_as_before("link", End::Killed);
    options_are_as_before("legacy", End::Killed);
}

#[test]
fn when_the_guard_was_killed_too_cleanup_gives_every_socket_the_options_that_it_had() {
    options_are_as_before("link", End::KilledWithItsGuard);
}

#[test]
fn a_new_connection_is_held_back_from_its_first_segment() {
    let mut client = Client::start();
    let program = Chadthrottle::new();
    client.connect("connect");
    let mut limit = Limit::start(
        &program,
        &format!("{} --down 1MB --up 1MB --for 3s", client.pid()),
    );
    // User space looks a few times a second: twenty that it came just in time are no chance.
    for _ in 0..20 {
        let options = client.connect("connect");
        assert!(options.pacing <= 1_000_000, "{options:?}");
        assert!(options.window <= 15_000, "{options:?}");
    }
    assert!(limit.wait(Duration::from_secs(5)).success());
    assert!(client.options().iter().all(|it| it.pacing == UNLIMITED));
    assert_nothing_left();
}

#[test]
fn loopback_and_other_processes_are_left_alone() {
    let (mut limited, mut free) = (Client::start(), Client::start());
    let mut local = Client::on_loopback();
    free.connect("connect");
    let before = free.options();
    limited.connect("connect");
    let program = Chadthrottle::new();
    let pids = format!("{} {}", limited.pid(), local.pid());
    let mut limit = program.spawn(&format!("limit {pids} --down 1MB --up 1MB --for 2s"));
    eventually("the limit holds", Duration::from_secs(5), || {
        limited.options()[0].pacing != UNLIMITED
    });
    assert_eq!(local.connect("connect").pacing, UNLIMITED);
    // In which the engine looks at its members' sockets more than once.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(local.options()[0].pacing, UNLIMITED);
    assert_eq!(free.options(), before);
    assert!(limit.wait(Duration::from_secs(4)).success());
    assert_nothing_left();
}

/// The kernel program sets a window again before each packet that offers it: at full traffic it
/// must not do so between the putting back and its end.
#[test]
fn fifty_limits_that_end_under_traffic_leave_no_window_behind() {
    let mut client = Client::start();
    with_engine(async |engine| {
        let key = key_of("/proc".as_ref(), client.pid()).expect("the client");
        let set = async || {
            let limit = both_ways("20MB");
            engine
                .commands()
                .set_limit(only(key), limit)
                .await
                .expect("a limit")
        };
        // The connection is made under a limit, so that the kernel program holds its window.
        let mut id = set().await;
        client.connect("connect");
        client.ask("fetch");
        for _ in 0..50 {
            // Some traffic under each.
            tokio::time::sleep(Duration::from_millis(60)).await;
            engine
                .commands()
                .remove_limit(id)
                .await
                .expect("it was set");
            // The answer waits for the putting back, but not for ever.
            eventually("it is put back", Duration::from_secs(2), || {
                let [options] = client.options()[..] else {
                    panic!("one connection")
                };
                options.pacing == UNLIMITED && options.window > 30_000
            });
            id = set().await;
        }
    });
    drop(client);
    assert_nothing_left();
}

/// Bytes a second that a limit's members carry over a while, from 50 ms on.
async fn carried_from_50_ms_on(engine: &Handle, id: LimitId, down: bool, seconds: f64) -> f64 {
    let bytes = async || {
        let passed = engine
            .commands()
            .carried(id)
            .await
            .expect("the limit")
            .passed;
        if down { passed.down } else { passed.up }
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = bytes().await;
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    (bytes().await - before) as f64 / seconds
}

async fn change_while_it_runs(engine: &Handle, down: bool) {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let direction = if down { "-R" } else { "" };
    let mut client = iperf::Client::held(&lab, &to_server(5201, 8, direction));
    let key = key_of("/proc".as_ref(), client.pid()).expect("the client");
    let limit = |kilobytes: u64| both_ways(&format!("{kilobytes}KB"));
    let id = engine.commands().set_limit(only(key), limit(1_000)).await;
    let id = id.expect("a limit");
    client.go();
    // The beginning does not count.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for kilobytes in [4_000, 500, 2_000, 1_000] {
        engine
            .commands()
            .change_limit(id, limit(kilobytes))
            .await
            .expect("it is set");
        let rate = carried_from_50_ms_on(engine, id, down, 1.0).await;
        let part = rate / (kilobytes as f64 * 1e3);
        println!("down {down}, {kilobytes} KB/s: {part:.3}");
        // The burst of a quarter of a second may be used up in the first one.
        assert!(
            (0.75..1.3).contains(&part),
            "down {down}, {kilobytes} KB/s: {part:.3}"
        );
    }
    client.report();
}

#[test]
fn a_changed_limit_holds_after_50_ms_up_and_down() {
    for down in [true, false] {
        with_engine(async |engine| change_while_it_runs(engine, down).await);
        assert_nothing_left();
    }
}

#[test]
fn a_direction_that_is_not_limited_any_more_has_its_options_back() {
    let mut client = Client::start();
    client.connect("connect");
    let before = client.options();
    with_engine(async |engine| {
        let rate = Some("1MB".parse().expect("a rate"));
        let limit = |down, up, scope| model::Limit {
            down,
            up,
            scope,
            ..model::Limit::NONE
        };
        let key = key_of("/proc".as_ref(), client.pid()).expect("the client");
        let both = both_ways("1MB");
        let id = engine
            .commands()
            .set_limit(only(key), both)
            .await
            .expect("a limit");
        let [options] = client.options()[..] else {
            panic!("one connection")
        };
        assert!(options.pacing != UNLIMITED && options.window < before[0].window);

        let down = limit(rate, None, Scope::DEFAULT);
        engine
            .commands()
            .change_limit(id, down)
            .await
            .expect("it is set");
        let [options] = client.options()[..] else {
            panic!("one connection")
        };
        assert!(options.pacing == UNLIMITED && options.window < before[0].window);

        // The laboratory's addresses count as the Internet's.
        let elsewhere = limit(rate, rate, Scope::LOCAL);
        engine
            .commands()
            .change_limit(id, elsewhere)
            .await
            .expect("it is set");
        assert_eq!(client.options(), before);
    });
    assert_nothing_left();
}

#[test]
fn eight_uploads_share_evenly_and_idle_connections_hold_no_share() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let program = Chadthrottle::new();
    let run = |flows: &str| {
        let arguments = format!(
            "run --root --up 2MB/s -- ip netns exec {} iperf3 -J -c {SERVER_V4} -p 5201 -t 5 {flows}",
            lab.client
        );
        let output = program.output(&arguments);
        assert!(output.status.success());
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        let streams = report["end"]["streams"].as_array().expect("streams");
        let bytes = |stream: &Value| stream["receiver"]["bytes"].as_f64().expect("bytes");
        streams.iter().map(bytes).collect::<Vec<f64>>()
    };
    let eight = run("-P 8");
    let (least, most) = (
        eight.iter().copied().fold(f64::INFINITY, f64::min),
        eight.iter().copied().fold(0.0, f64::max),
    );
    println!("least {least:.0}, most {most:.0} bytes");
    assert!(most / least < 2.0, "{eight:?}");
    // Beside it the control connection of iperf3 is at rest.
    let [one] = run("-P 1")[..] else {
        panic!("one flow")
    };
    let part = one / 5.0 / 2e6;
    println!("one busy flow: {part:.3} of the limit");
    assert!((0.93..1.05).contains(&part), "{part:.3}");
    assert_nothing_left();
}

/// What controls the congestion of a host's connections, as `ss` names it.
#[track_caller]
fn controls(lab: &Lab) -> Vec<String> {
    let output = Lab::command(&lab.client, "ss")
        .args(["--tcp", "--info", "--no-header", "--numeric"])
        .output()
        .expect("ss(8)");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter(|line| line.starts_with(char::is_whitespace))
        .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
        .collect()
}

/// When its pace has grown much BBR is restarted, by way of another control. Nobody may be left with that,
/// whoever is killed when.
#[test]
fn what_bbr_has_controlled_it_controls_still_when_its_pace_has_grown() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let program = Chadthrottle::new();
    for end in ["-TERM", "-KILL", "both"] {
        let mut client = iperf::Client::held(&lab, &to_server(5201, 4, "-P 8 -C bbr"));
        let arguments = format!("limit {} --up 100KB", client.pid());
        let mut limit = program.spawn(&arguments);
        let held = |pid| infos(pid).iter().any(|info| info.max_pacing_rate < 200_000);
        client.go();
        eventually("the limit holds", Duration::from_secs(5), || {
            held(client.pid())
        });
        match end {
            "both" => program.kill_with_guard(&mut limit),
            "-KILL" => program.kill_engine(&mut limit),
            signal => limit.signal(signal),
        }
        if end == "both" {
            program.output("cleanup");
        }
        eventually("it has ended", Duration::from_secs(5), || {
            !held(client.pid())
        });
        let seen = controls(&lab);
        println!("after {end}: {seen:?}");
        // Its control connection is the machine's affair.
        let bbr = seen.iter().filter(|name| *name == "bbr").count();
        assert!(bbr >= 8 && !seen.contains(&"reno".to_owned()));
        limit.wait(Duration::from_secs(5));
        drop(client);
    }
    assert_nothing_left();
}

#[test]
fn full_speed_is_back_a_second_after_the_limit() {
    for direction in ["download", "upload"] {
        let mut client = Client::start();
        client.connect("connect");
        let free = client.carry(&format!("{direction} 1"));
        let program = Chadthrottle::new();
        let mut limit = program.spawn(&format!(
            "limit {} --down 1MB --up 1MB --for 4s",
            client.pid()
        ));
        eventually("the limit holds", Duration::from_secs(5), || {
            client.options()[0].pacing != UNLIMITED
        });
        // What had arrived before it, or waits to be sent.
        client.carry(&format!("{direction} 1"));
        let held = client.carry(&format!("{direction} 1.5"));
        assert!(limit.wait(Duration::from_secs(4)).success());
        // The first second after it, in which it recovers …
        client.carry(&format!("{direction} 1"));
        // … and then.
        let after = client.carry(&format!("{direction} 1"));
        println!("{direction}: {free:.0}, {held:.0}, {after:.0} B/s");
        assert!(held < 1.5e6, "{direction} under the limit: {held:.0} B/s");
        assert!(
            after > free / 4.0,
            "{direction}: {after:.0} B/s, before {free:.0}"
        );
        assert_nothing_left();
    }
}

/// The congestion windows of a process's busy uploads, in segments.
fn congestion_windows(pid: u32) -> Vec<u32> {
    let uploads = infos(pid)
        .into_iter()
        .filter(|info| info.bytes_acked > 1_000_000);
    uploads.map(|info| info.congestion_window).collect()
}

/// Of downloads, senders' timers doubled while others had the limit. Of uploads, what TCP had handed over
/// at once was paced at the limit, and nothing followed for seconds. Either lasted longer than the limit.
#[test]
fn eight_connections_are_fast_again_a_second_after_a_slow_limit() {
    for (direction, rate) in [("-R", "20KB"), ("", "100KB")] {
        let lab = Lab::new();
        let _server = server(&lab, 5201);
        let arguments = to_server(5201, 8, &format!("{direction} -P 8 -C cubic"));
        let mut client = iperf::Client::held(&lab, &arguments);
        with_engine(async |engine| {
            let key = key_of("/proc".as_ref(), client.pid()).expect("it runs");
            client.go();
            // The second before the limit, in which they are fast.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let limit = engine
                .commands()
                .set_limit(only(key), both_ways(rate))
                .await;
            limit.expect("a limit");
            let begun = tokio::time::Instant::now();
            if direction.is_empty() {
                // Half of one is handed over at once. What was refused made them three tenths smaller a time.
                eventually("uploads are small", Duration::from_secs(2), || {
                    let windows = congestion_windows(client.pid());
                    windows.len() == 8 && windows.iter().all(|segments| *segments <= 8)
                });
            }
            tokio::time::sleep_until(begun + Duration::from_millis(3_500)).await;
        });
        let connections = client.report().connections_since(6.0);
        println!("{direction} {connections:?}");
        assert_eq!(connections.len(), 8);
        // In two seconds, of gigabytes in each.
        assert!(connections.iter().all(|bytes| *bytes > 1e6));
        assert_nothing_left();
    }
}
