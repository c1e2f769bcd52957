//! Windows that were offered before a limit are taken back, and nothing of that stays.

use std::{process::Command, time::Duration};

use chadthrottle::process::key_of;

use crate::{
    audit::{assert_nothing_left, attached, top},
    iperf::{Client, server, to_server},
    lab::Lab,
    lifecycle::with_engine,
    limits::{both_ways, only},
    program::{Chadthrottle, Running, eventually},
    sockets::{infos, windows_may_shrink},
};

/// What was offered to the other ends of a process's downloads, in bytes.
fn offered(pid: u32) -> Vec<u32> {
    let downloads = infos(pid)
        .into_iter()
        .filter(|info| info.bytes_received > 1_000_000);
    downloads.map(|info| info.receive_window).collect()
}

/// With what they had been offered, senders lost seven packets in ten. BBR takes losses of a fifth for a
/// policer's, and kept to its rate for seconds after the limit.
#[test]
fn downloads_that_were_there_before_lose_little_and_are_fast_again_after_a_second() {
    for (flows, rate, bytes_per_second) in [(1, "200KB", 200e3), (8, "800KB", 800e3)] {
        let lab = Lab::new();
        let _server = server(&lab, 5201);
        let mut client = Client::held(&lab, &to_server(5201, 10, &format!("-R -P {flows} -C bbr")));
        with_engine(async |engine| {
            let key = key_of("/proc".as_ref(), client.pid()).expect("it runs");
            client.go();
            // BBR knows the path by then.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let before = offered(client.pid());
            assert_eq!(before.len(), flows);
            assert!(before.iter().any(|bytes| *bytes > 100_000), "{before:?}");
            let id = engine
                .commands()
                .set_limit(only(key), both_ways(rate))
                .await;
            let id = id.expect("a limit");
            // Senders that have lost what was on its way are back after a fifth of a second, or three.
            eventually("it is taken back", Duration::from_secs(2), || {
                offered(client.pid()).iter().all(|bytes| *bytes < 10_000)
            });
            eventually("windows shrink no more", Duration::from_secs(3), || {
                !windows_may_shrink(&lab)
            });
            let before = engine.commands().carried(id).await.expect("the limit");
            tokio::time::sleep(Duration::from_secs(2)).await;
            let after = engine.commands().carried(id).await.expect("the limit");
            let passed = (after.passed.down - before.passed.down) as f64;
            let dropped = (after.dropped.down - before.dropped.down) as f64;
            println!(
                "{flows}: {:.3} of the limit, {:.3} lost",
                passed / 2.0 / bytes_per_second,
                dropped / (passed + dropped)
            );
            assert!(passed > 0.8 * 2.0 * bytes_per_second && dropped < 0.4 * passed);
        });
        let connections = client.report().connections_since(8.0);
        println!("{flows}: {connections:?} bytes in two seconds");
        // One of eight that has lost what was on its way may still wait for its timer, which doubles.
        let slow = connections.iter().filter(|bytes| **bytes <= 10e6).count();
        assert!(slow <= connections.len() / 8, "{slow} are slow");
        assert_nothing_left();
    }
}

/// With units of 128 bytes, as most machines have them, such windows are closed too. A single one lost seven
/// packets in ten. (How fast BBR is after that is its own affair: mostly at full speed at once.)
#[test]
fn a_slow_download_that_was_there_before_loses_little_where_its_window_can_be_closed() {
    let lab = Lab::new();
    for host in [&lab.client, &lab.server] {
        let status = Lab::command(host, "sysctl")
            .args(["-qw", "net.ipv4.tcp_rmem=4096 131072 6291456"])
            .status();
        assert!(status.expect("sysctl").success());
    }
    let _server = server(&lab, 5201);
    let mut client = Client::held(&lab, &to_server(5201, 9, "-R -C bbr"));
    let [passed, dropped] = with_engine(async |engine| {
        let key = key_of("/proc".as_ref(), client.pid()).expect("it runs");
        client.go();
        // BBR knows the path by then.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let id = engine
            .commands()
            .set_limit(only(key), both_ways("20KB"))
            .await;
        let id = id.expect("a limit");
        // The loss of the first moment does not count.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = engine.commands().carried(id).await.expect("the limit");
        tokio::time::sleep(Duration::from_secs(4)).await;
        let after = engine.commands().carried(id).await.expect("the limit");
        [
            after.passed.down - before.passed.down,
            after.dropped.down - before.dropped.down,
        ]
    });
    let bytes = client.report().connections_since(7.0);
    println!("{passed} bytes passed, {dropped} dropped, {bytes:?} in two seconds after");
    assert!((64_000..96_000).contains(&passed), "{passed}");
    assert!(dropped < passed / 2, "{dropped} beside {passed}");
    assert_nothing_left();
}

/// A limit that waits for the acknowledgement of a connection whose wire is cut.
struct Waiting {
    lab: Lab,
    program: Chadthrottle,
    limit: Running,
    _client: Client,
    _server: Running,
}

impl Waiting {
    fn new() -> Self {
        let lab = Lab::new();
        let server = server(&lab, 5201);
        let client = Client::started(&lab, &to_server(5201, 30, "-R"));
        eventually("it receives", Duration::from_secs(5), || {
            offered(client.pid()).iter().any(|bytes| *bytes > 100_000)
        });
        let status = Command::new("ip")
            .args(["-n", &lab.server, "link", "set", "v0", "down"])
            .status();
        assert!(status.expect("ip(8)").success());
        let program = Chadthrottle::new();
        let limit = program.spawn(&format!("limit {} --down 20KB", client.pid()));
        eventually("windows may shrink", Duration::from_secs(3), || {
            windows_may_shrink(&lab)
        });
        Self {
            lab,
            program,
            limit,
            _client: client,
            _server: server,
        }
    }

    #[track_caller]
    fn may_not_shrink_within(&self, time: Duration) {
        eventually("windows shrink no more", time, || {
            !windows_may_shrink(&self.lab)
        });
    }

    fn end(&mut self, signal: &str) {
        if signal == "-KILL" {
            self.program.kill_engine(&mut self.limit);
            return;
        }
        self.limit.signal(signal);
        self.limit.wait(Duration::from_secs(2));
    }
}

#[test]
fn who_does_not_acknowledge_is_not_waited_for_for_long() {
    let mut waiting = Waiting::new();
    waiting.may_not_shrink_within(Duration::from_secs(6));
    waiting.end("-TERM");
    assert_nothing_left();
}

#[test]
fn when_a_limit_ends_windows_shrink_no_more() {
    for signal in ["-TERM", "-KILL"] {
        let mut waiting = Waiting::new();
        waiting.end(signal);
        waiting.may_not_shrink_within(Duration::from_millis(500));
        if signal == "-KILL" {
            // The guard has put windows back before it detaches.
            eventually("detached", Duration::from_secs(2), || {
                attached(&top()).is_empty()
            });
        }
        assert_nothing_left();
    }
}

#[test]
fn when_the_guard_was_killed_too_cleanup_sees_to_it() {
    let mut waiting = Waiting::new();
    waiting.program.kill_with_guard(&mut waiting.limit);
    let Waiting { lab, program, .. } = &waiting;
    assert!(windows_may_shrink(lab), "nobody was there to do it");
    let looked = program.output("cleanup --dry-run");
    assert_eq!(looked.status.code(), Some(1), "there is something to do");
    assert!(windows_may_shrink(lab), "it only looks");
    assert!(program.output("cleanup").status.success());
    assert!(!windows_may_shrink(lab));
    assert_nothing_left();
}
