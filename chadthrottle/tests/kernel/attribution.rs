//! Every byte to its process: what is reported, against what the processes say they carried.

use std::time::Duration;

use serde_json::Value;

use crate::{
    audit::{assert_nothing_left, map_entries},
    lab::{CLIENT_V4, Lab, SERVER_V4, ip},
    observer::{Observer, carried, relative_error},
    program::{Chadthrottle, eventually},
    traffic::{Carried, Traffic, far_side},
};

/// Datagrams are counted to the byte.
const EXACT: f64 = 0.0;
/// A connection's last acknowledgements pass after it has been asked.
const CLOSE: f64 = 0.005;

/// A client of the far side, observed from before its start.
#[track_caller]
fn client_agrees(scenario: &str, tolerance: f64) {
    let lab = Lab::new();
    let _server = far_side(&lab);
    let program = Chadthrottle::new();
    let observer = Observer::start(&program);
    let client = Traffic::start(&lab.client, scenario);
    let said = client.says("client");
    assert_eq!(said.pid, client.pid());
    observer.assert_agrees(scenario, said, tolerance);
    observer.stop();
    assert_nothing_left();
}

#[test]
fn tcp_over_v4_v6_and_mapped_addresses_after_load() {
    for kind in ["v4", "v6", "mapped"] {
        client_agrees(&format!("tcp {kind} 5000000"), CLOSE);
    }
}

#[test]
fn udp_connected_and_not_over_v4_v6_and_mapped_addresses() {
    for kind in ["v4", "v6", "mapped"] {
        for connected in ["connected", "unconnected"] {
            client_agrees(&format!("udp {kind} {connected} 1000"), EXACT);
        }
    }
}

#[test]
fn raw_sockets_are_counted_and_what_the_kernel_answers_is_nobodys() {
    for kind in ["v4", "v6"] {
        let lab = Lab::new();
        let program = Chadthrottle::new();
        let observer = Observer::start(&program);
        let client = Traffic::start(&lab.client, &format!("icmp {kind} 200"));
        let said = client.says("client");
        // An IPv6 raw socket gets the neighbour's advertisements too.
        let tolerance = if kind == "v4" { EXACT } else { 0.01 };
        observer.assert_agrees(&format!("raw icmp {kind}"), said, tolerance);
        let unattributed = observer.fresh()["unattributed"].clone();
        let up = unattributed["up_bytes"].as_u64().expect("a number");
        println!("echo replies of the other side's kernel, unattributed: {up}");
        assert!(
            (said.up..said.up + said.up / 10).contains(&up),
            "{up} bytes unattributed, {} were answered",
            said.up
        );
        observer.stop();
    }
    assert_nothing_left();
}

#[test]
fn frames_sent_past_the_network_stack_are_counted() {
    let lab = Lab::new();
    let program = Chadthrottle::new();
    let observer = Observer::start(&program);
    let sender = Traffic::start(&lab.client, "frames 1000");
    observer.assert_agrees("frames", sender.says("sender"), EXACT);
    observer.stop();
    assert_nothing_left();
}

#[test]
fn multicast_and_broadcast_are_the_senders_and_each_listeners_on_both_machines() {
    for address in ["239.1.2.3", "198.18.0.255"] {
        let lab = Lab::new();
        let program = Chadthrottle::new();
        let observer = Observer::start(&program);
        let places = [
            (&lab.server, SERVER_V4),
            (&lab.server, SERVER_V4),
            (&lab.client, CLIENT_V4),
        ];
        let listeners = places.map(|(host, interface)| {
            Traffic::start(host, &format!("listen_to 500 {interface} {address}"))
        });
        for listener in &listeners {
            listener.says("ready");
        }
        let sender = Traffic::start(&lab.client, &format!("flood 500 198.18.0.1 {address}"));
        observer.assert_agrees(&format!("to {address}"), sender.says("sender"), EXACT);
        for listener in &listeners {
            observer.assert_agrees(&format!("from {address}"), listener.says("listener"), EXACT);
        }
        observer.stop();
    }
    assert_nothing_left();
}

/// Two hosts with VXLAN between them, over veth: the usual addresses are the tunnel's.
fn tunnelled() -> Lab {
    let lab = Lab::bare();
    let Lab { client, server } = &lab;
    ip(&format!(
        "link add u0 netns {client} type veth peer name u0 netns {server}"
    ));
    for (host, number, address) in [(client, 1, CLIENT_V4), (server, 2, SERVER_V4)] {
        ip(&format!("-n {host} addr add 198.19.0.{number}/24 dev u0"));
        ip(&format!("-n {host} link set u0 up"));
        ip(&format!(
            "-n {host} link add v0 type vxlan id 7 dstport 4789 local 198.19.0.{number} \
             remote 198.19.0.{}",
            3 - number
        ));
        ip(&format!("-n {host} addr add {address}/24 dev v0"));
        ip(&format!("-n {host} link set v0 up"));
    }
    lab
}

#[test]
fn what_goes_through_a_tunnel_counts_once_inside_it() {
    let lab = tunnelled();
    let _server = far_side(&lab);
    let program = Chadthrottle::new();
    let observer = Observer::start(&program);
    let client = Traffic::start(&lab.client, "udp v4 connected 1000");
    let said = client.says("client");
    observer.assert_agrees("through VXLAN", said, EXACT);
    let unattributed = observer.fresh()["unattributed"].clone();
    for key in ["down_bytes", "up_bytes"] {
        let bytes = unattributed[key].as_u64().expect("a number");
        println!("{key} unattributed: {bytes}");
        assert!(bytes < said.down / 100, "the outer packets are counted");
    }
    observer.stop();
    assert_nothing_left();
}

#[test]
fn segments_of_udp_aggregates_count_with_their_headers() {
    for (kind, gro) in [
        ("v4", "gro"),
        ("v4", "single"),
        ("v6", "gro"),
        ("v6", "single"),
    ] {
        let lab = Lab::new();
        let program = Chadthrottle::new();
        let observer = Observer::start(&program);
        let receiver = Traffic::start(&lab.server, &format!("gso_receive {kind} 100 {gro}"));
        receiver.says("ready");
        let sender = Traffic::start(&lab.client, &format!("gso_send {kind} 100"));
        observer.assert_agrees(&format!("UDP GSO {kind}"), sender.says("sender"), EXACT);
        let said = receiver.says("receiver");
        observer.assert_agrees(&format!("UDP {gro} {kind}"), said, EXACT);
        observer.stop();
    }
    assert_nothing_left();
}

#[test]
fn sockets_that_were_open_before_are_right_from_the_first_second_after_load() {
    let lab = Lab::new();
    let _server = far_side(&lab);
    let mut client = Traffic::start(&lab.client, "open_before 3000000");
    client.says("open");
    let program = Chadthrottle::new();
    let observer = Observer::start(&program);
    client.go_on();
    observer.assert_agrees("open before", client.says("client"), CLOSE);
    observer.stop();
    assert_nothing_left();
}

/// A server in the client's namespace, to which the other side connects.
#[track_caller]
fn served(scenario: &str, far: &str, served: usize, tolerance: f64) -> (Lab, Observer, Traffic) {
    let lab = Lab::new();
    let program = Chadthrottle::new();
    let observer = Observer::start(&program);
    let server = Traffic::start(&lab.client, scenario);
    server.says("ready");
    let far = Traffic::start(&lab.server, far);
    let workers = server.all_say("worker", served);
    far.says("far");
    for worker in &workers {
        observer.assert_agrees(scenario, *worker, tolerance);
    }
    (lab, observer, server)
}

#[test]
fn an_accepted_connection_is_the_acceptors() {
    let (_lab, observer, server) = served("acceptor 8000", "connect_to 8000 1 3000000", 1, CLOSE);
    drop(server);
    observer.stop();
    assert_nothing_left();
}

#[test]
fn a_connection_is_the_childs_that_was_forked_to_serve_it() {
    let far = "connect_to 8000 1 20000000";
    let (_lab, observer, server) = served("fork_after_accept 8000", far, 1, CLOSE);
    let parent = observer.carried(server.pid());
    println!("the parent: {parent:?}");
    assert!(parent.down + parent.up < 200_000, "{parent:?}");
    drop(server);
    observer.stop();
    assert_nothing_left();
}

#[test]
fn connections_are_the_workers_that_accept_them() {
    for listeners in ["shared", "own"] {
        let scenario = format!("prefork 8000 4 {listeners}");
        let far = "connect_to 8000 12 5000000";
        let (_lab, observer, server) = served(&scenario, far, 12, CLOSE);
        let master = observer.carried(server.pid());
        println!("the master: {master:?}");
        drop(server);
        observer.stop();
    }
    assert_nothing_left();
}

#[test]
fn a_connection_handed_over_is_the_receivers() {
    let far = "connect_to 8000 1 20000000";
    let (_lab, observer, server) = served("pass_over 8000", far, 1, CLOSE);
    let parent = observer.carried(server.pid());
    println!("who handed it over: {parent:?}");
    assert!(parent.down + parent.up < 200_000, "{parent:?}");
    drop(server);
    observer.stop();
    assert_nothing_left();
}

#[test]
fn sockets_of_an_activated_service_are_its_own_while_its_manager_holds_them_too() {
    let far = "connect_to_both 8000 20000000";
    let (_lab, observer, server) = served("activate 8000", far, 1, CLOSE);
    let manager = observer.carried(server.pid());
    println!("the manager: {manager:?}");
    assert!(manager.down + manager.up < 200_000, "{manager:?}");
    drop(server);
    observer.stop();
    assert_nothing_left();
}

#[test]
fn threads_belong_to_their_process() {
    client_agrees("threads 8 1000000", CLOSE);
}

#[test]
fn exec_and_setuid_keep_the_process_and_show_its_new_name_and_user() {
    let lab = Lab::new();
    let _server = far_side(&lab);
    let program = Chadthrottle::new();
    let observer = Observer::start(&program);
    let client = Traffic::start(&lab.client, "exec_and_setuid 3000000");
    let said = client.says("client");
    assert_eq!(said.pid, client.pid());
    observer.assert_agrees("exec and setuid", said, CLOSE);
    eventually("the new user is shown", Duration::from_secs(2), || {
        observer.entries(said.pid)[0]["user"] == "nobody"
    });
    observer.stop();
    assert_nothing_left();
}

#[test]
fn an_id_that_is_used_again_starts_from_zero() {
    let lab = Lab::new();
    let _server = far_side(&lab);
    let program = Chadthrottle::new();
    let observer = Observer::start(&program);
    let mut parent = Traffic::start(&lab.client, "same_pid_twice 3000000");
    let first = parent.says("client");
    eventually("its end was seen", Duration::from_secs(2), || {
        let entries = observer.entries(first.pid);
        entries.first().is_some_and(|entry| entry["ended"] == true)
    });
    parent.go_on();
    let second = parent.says("client");
    assert_eq!(first.pid, second.pid);
    eventually("both are reported", Duration::from_secs(2), || {
        let entries = observer.entries(first.pid);
        let agrees = |said: Carried, ended: bool| {
            entries.iter().any(|entry| {
                entry["ended"] == ended
                    && relative_error(carried(entry).down, said.down).abs() <= CLOSE
            })
        };
        entries.len() == 2 && agrees(first, true) && agrees(second, false)
    });
    observer.stop();
    assert_nothing_left();
}

#[test]
fn a_process_of_another_pid_namespace_is_shown_with_the_id_that_the_host_has_for_it() {
    let lab = Lab::new();
    let _server = far_side(&lab);
    let program = Chadthrottle::new();
    let observer = Observer::start(&program);
    let wrapper = "unshare --pid --fork --mount-proc";
    let client = Traffic::behind(&lab.client, wrapper, "tcp v4 3000000");
    let said = client.says("client");
    assert_eq!(said.pid, 1, "its own id, in its own namespace");
    let &[pid] = client.process().children().as_slice() else {
        panic!("unshare has one child");
    };
    observer.assert_agrees("in a PID namespace", Carried { pid, ..said }, CLOSE);
    observer.stop();
    assert_nothing_left();
}

#[test]
fn a_thousand_processes_that_live_for_milliseconds_lose_nothing() {
    let lab = Lab::new();
    let _server = far_side(&lab);
    let program = Chadthrottle::new();
    let observer = Observer::of(program.command("list --json --interval 1s"));
    let parent = Traffic::start(&lab.client, "short_lives 1000 100000");
    let said = parent.all_say("client", 1000);
    assert_eq!(said.len(), 1000, "an id was used twice");
    let sum = said.iter().map(|one| one.down).sum::<u64>();
    // After the entries have left the screen, and their slots are others', they are still in the report.
    eventually("their slots are free", Duration::from_secs(15), || {
        map_entries("chad_processes") < 500
    });
    let sample = observer.fresh();
    let entries: Vec<&Value> = sample["processes"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|entry| said.iter().any(|one| entry["pid"] == one.pid))
        .collect();
    let reported: u64 = entries.iter().map(|entry| carried(entry).down).sum();
    let error = relative_error(reported, sum);
    println!(
        "1,000 lives: {} entries, {reported} of {sum} bytes ({:+.3} %), unattributed {}",
        entries.len(),
        error * 100.0,
        sample["unattributed"]
    );
    assert_eq!(entries.len(), 1000);
    assert!(error.abs() <= CLOSE);
    for entry in entries {
        assert_eq!(entry["ended"], true, "{entry}");
        assert!(
            entry["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("python3")),
            "{entry}"
        );
        assert!(carried(entry).down >= 100_000, "{entry}");
    }
    observer.stop();
    assert_nothing_left();
}

#[test]
fn loopback_is_counted_apart_and_once_a_direction() {
    let lab = Lab::new();
    let program = Chadthrottle::new();
    let observer = Observer::start(&program);
    let before = observer.sample()["loopback"].clone();
    let client = Traffic::start(&lab.client, "loopback 5000000");
    let said = client.says("client");
    let after = observer.fresh()["loopback"].clone();
    for (key, expected) in [("down_bytes", said.down), ("up_bytes", said.up)] {
        let number = |value: &Value| value[key].as_u64().expect("a number");
        let seen = number(&after) - number(&before);
        let error = relative_error(seen, expected);
        println!(
            "loopback {key}: {seen} of {expected} ({:+.3} %)",
            error * 100.0
        );
        assert!(error.abs() <= CLOSE);
    }
    let process = observer.carried(said.pid);
    assert_eq!((process.down, process.up), (0, 0));
    let entry = &observer.entries(said.pid)[0];
    for (key, expected) in [
        ("loopback_down_bytes", said.down),
        ("loopback_up_bytes", said.up),
    ] {
        let seen = entry[key].as_u64().expect("a number");
        assert!(
            relative_error(seen, expected).abs() <= CLOSE,
            "{key}: {seen} of {expected}"
        );
    }
    observer.stop();
    assert_nothing_left();
}
