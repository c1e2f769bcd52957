//! Senders that stay slow after a limit are brought back to speed, and nothing of that stays.

use std::{path::Path, process::Command, time::Duration};

use chadthrottle::{
    process::{each_socket_of, key_of},
    sys::tcp,
};

use crate::{
    audit::{OURS, assert_nothing_left, attached, cgroup2},
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

/// BBR kept to what it took for the rate of a policer, for 48 packets: half of such downloads were at the rate
/// of the limit for seconds after it.
#[test]
fn slow_downloads_from_bbr_are_fast_again_a_second_after_their_limit() {
    for (rate, then) in [
        ("50KB", None),
        ("40KB", None),
        ("30KB", None),
        ("30KB", Some("4MB")),
    ] {
        let lab = Lab::new();
        let _server = server(&lab, 5201);
        let mut client = Client::held(&lab, &to_server(5201, 12, "-R -C bbr"));
        let pid = client.pid();
        let bytes = with_engine(async |engine| {
            let key = key_of("/proc".as_ref(), pid).expect("it runs");
            client.go();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let id = engine.set_limit(only(key), both_ways(rate)).await;
            let id = id.expect("a limit");
            tokio::time::sleep(Duration::from_secs(4)).await;
            let limit = match then {
                None => engine.remove_limit(id).await,
                Some(rate) => engine.change_limit(id, both_ways(rate)).await,
            };
            limit.expect("it is gone, or another one");
            tokio::time::sleep(Duration::from_secs(1)).await;
            let before = received(pid);
            tokio::time::sleep(Duration::from_millis(500)).await;
            let bytes = received(pid) - before;
            eventually(
                "nothing is withheld any more",
                Duration::from_secs(2),
                || attached(&cgroup2()) == OURS,
            );
            bytes
        });
        println!("{rate}, then {then:?}: {bytes} bytes in half a second");
        assert!(bytes > 1_000_000);
        drop(client);
        assert_nothing_left();
    }
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
