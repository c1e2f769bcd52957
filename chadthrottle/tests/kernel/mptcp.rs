//! MPTCP: the user's socket is one, its packets are of others, which the kernel makes.

use std::time::{Duration, Instant};

use crate::{
    audit::assert_nothing_left,
    following::Limit,
    lab::{Lab, ip},
    observer::Observer,
    program::{Chadthrottle, eventually},
    traffic::Traffic,
};

/// Payload each way.
const BYTES: u64 = 2_000_000;
/// At 1 MB/s, less what may come at once.
const LEAST: Duration = Duration::from_millis(1_000);
/// MPTCP has no lever but the policer.
const MOST: Duration = Duration::from_secs(8);

#[track_caller]
fn assert_held(what: &str, took: Duration) {
    println!("{what}: 2 MB at 1 MB/s took {took:?}");
    assert!((LEAST..MOST).contains(&took), "{what}: {took:?}");
}

/// Payload and headers of that many bytes each way, with nothing sent again.
#[track_caller]
fn assert_counted(observer: &Observer, pid: u32) {
    eventually("all is counted", Duration::from_secs(2), || {
        let carried = observer.carried(pid);
        carried.down > BYTES && carried.up > BYTES
    });
    let carried = observer.carried(pid);
    println!("of process {pid} are counted: {carried:?}");
    for bytes in [carried.down, carried.up] {
        assert!(bytes < BYTES + BYTES / 8, "{carried:?}");
    }
}

#[test]
fn a_client_is_counted_and_held_in_both_directions_over_all_its_subflows() {
    let lab = Lab::new();
    // A second path: half of it would be nobody's if only the first subflow were known.
    ip(&format!("-n {} addr add 198.18.0.3/24 dev v0", lab.client));
    for host in [&lab.client, &lab.server] {
        ip(&format!(
            "-n {host} mptcp limits set subflow 2 add_addr_accepted 2"
        ));
    }
    ip(&format!(
        "-n {} mptcp endpoint add 198.18.0.3 dev v0 subflow",
        lab.client
    ));
    let server = Traffic::start(&lab.server, "serve_mptcp");
    server.says("ready");
    let watching = Chadthrottle::new();
    let observer = Observer::start(&watching);
    let mut client = Traffic::start(&lab.client, &format!("mptcp_client {BYTES}"));
    client.says("connected");
    for word in ["downloaded", "uploaded"] {
        client.go_on();
        client.says(word);
    }
    assert_eq!(client.says("subflows").down, 1, "subflows beside the first");
    assert_counted(&observer, client.pid());
    let program = Chadthrottle::new();
    let limit = Limit::start(&program, &format!("{} --down 1MB --up 1MB", client.pid()));
    for (direction, word) in [("down", "downloaded"), ("up", "uploaded")] {
        let begin = Instant::now();
        client.go_on();
        client.says(word);
        assert_held(direction, begin.elapsed());
    }
    drop(limit);
    observer.stop();
    assert_nothing_left();
}

#[test]
fn a_server_is_counted_and_held_whether_its_clients_have_mptcp_or_not() {
    for kind in ["mptcp", "plain"] {
        let lab = Lab::new();
        let watching = Chadthrottle::new();
        let observer = Observer::start(&watching);
        let mut server = Traffic::start(&lab.client, "mptcp_server");
        server.says("ready");
        let connect = format!("connect_to_mptcp {kind} {BYTES}");
        let far = Traffic::start(&lab.server, &connect);
        server.says("accepted");
        // What comes before anybody reads is the server's too.
        eventually("it is counted", Duration::from_secs(2), || {
            observer.carried(server.pid()).down > 20_000
        });
        server.go_on();
        far.says("downloaded");
        assert_counted(&observer, server.pid());
        drop(far);
        let program = Chadthrottle::new();
        let limit = Limit::start(&program, &format!("{} --down 1MB --up 1MB", server.pid()));
        let begin = Instant::now();
        let far = Traffic::start(&lab.server, &connect);
        far.says("uploaded");
        assert_held(&format!("{kind}, to the server"), begin.elapsed());
        let begin = Instant::now();
        far.says("downloaded");
        assert_held(&format!("{kind}, from the server"), begin.elapsed());
        drop(limit);
        observer.stop();
    }
    assert_nothing_left();
}
