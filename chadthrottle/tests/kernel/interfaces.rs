//! Rules for connections by an interface that does not lead to the Internet.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    client::{Client, feed},
    iperf::MB,
    lab::{Lab, SERVER_V4, ip},
    program::{Running, signal},
    rejecting::Talker,
    ruled::{Ruled, rule, said},
};

/// The other end of the tunnel.
const FAR: &str = "198.19.0.2";

/// A tunnel through which one address is reached, beside the wire by which all others are. Both ends have that name.
fn with_tunnel() -> Lab {
    let lab = Lab::new();
    let Lab { client, server } = &lab;
    ip(&format!(
        "link add tun0 netns {client} type veth peer name tun0 netns {server}"
    ));
    for (host, addresses) in [
        (client, format!("198.19.0.1 peer {FAR}")),
        (server, format!("{FAR} peer 198.19.0.1")),
    ] {
        ip(&format!("-n {host} addr add {addresses} dev tun0"));
        ip(&format!("-n {host} link set tun0 up"));
    }
    ip(&format!("-n {client} route add default via {SERVER_V4}"));
    lab
}

/// The limit is that one in time.
#[track_caller]
fn is_held_within(ruled: &Ruled, pid: u32, down: u64, limit: Duration) {
    let began = Instant::now();
    ruled.is_held(pid, Some(down));
    let took = began.elapsed();
    println!("{down} after {took:?}");
    assert!(took < limit, "{down} after {took:?}");
}

/// Half a second of each is for asking the engine.
const BEGINS: Duration = Duration::from_millis(2_500);
const ENDS: Duration = Duration::from_millis(3_500);

#[test]
fn a_rule_for_an_interface_holds_who_has_a_connection_by_it_for_as_long_as_he_does() {
    let lab = with_tunnel();
    let rules = [
        rule(
            "tunnel",
            "name:load",
            "down = '1MB/s'\non = 'interface:tun*'",
        ),
        rule("rest", "name:load", "down = '20MB/s'"),
    ];
    let ruled = Ruled::within(&lab.client, &rules.concat());
    let (tunnel, rest) = (1_000_000, 20_000_000);
    let server = feed(&lab.server);
    let [mut here, mut there] = [SERVER_V4, FAR].map(|address| Client::to(&lab, address));
    here.connect("connect");
    is_held_within(&ruled, here.pid(), rest, BEGINS);
    there.connect("connect");
    is_held_within(&ruled, there.pid(), tunnel, BEGINS);
    let test = |pid: u32| {
        let test = ruled.command(&format!("rule test {pid}"));
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", lab.client));
        command.arg(test.get_program()).args(test.get_args());
        let output = command.output().expect("nsenter(1)");
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let words = test(there.pid());
    assert!(words.contains("as it has a connection by tun0"), "{words}");
    let words = test(here.pid());
    let none = "only on for connections by tun*, and the process has none";
    assert!(words.contains(none), "{words}");
    for command in ["rule list", "rule show tunnel"] {
        let words = ruled.run(command);
        assert!(words.contains("on for connections by tun*"), "{words}");
    }

    // A second's worth may pass before the limit is felt.
    let rates = [&mut here, &mut there].map(|client| client.carry("download 4") / MB);
    println!("{rates:?} MB/s");
    assert!(
        rates[0] > 10.0 && (0.5..1.4).contains(&rates[1]),
        "{rates:?}"
    );
    // It has stayed so, and the other end's tunnel is none of the engine's.
    let limits = [here.pid(), there.pid(), server.pid()].map(|pid| ruled.limit(pid));
    let downs = limits.map(|limit| limit.map(|(_, down)| down));
    assert_eq!(downs, [Some(rest), Some(tunnel), Some(rest)]);

    there.ask("close");
    is_held_within(&ruled, there.pid(), rest, ENDS);
    there.connect("connect");
    is_held_within(&ruled, there.pid(), tunnel, BEGINS);
    // All are on that network, and then one again.
    let client = &lab.client;
    ip(&format!("-n {client} route replace default dev tun0"));
    is_held_within(&ruled, here.pid(), tunnel, BEGINS);
    ip(&format!(
        "-n {client} route replace default via {SERVER_V4}"
    ));
    is_held_within(&ruled, here.pid(), rest, ENDS);
    assert!(matches!(ruled.limit(there.pid()), Some((_, down)) if down == tunnel));
    // The interface goes, and the connection is none by it any more.
    ip(&format!("-n {client} link del tun0"));
    is_held_within(&ruled, there.pid(), rest, ENDS);
    ruled.end();
}

/// It has the limit soon, and longer than until the next look.
#[track_caller]
fn stays_held(ruled: &Ruled, pid: u32, down: u64) {
    is_held_within(ruled, pid, down, Duration::from_millis(600));
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1_250) {
        let now = ruled.limit(pid).map(|(_, down)| down);
        assert_eq!(now, Some(down), "after {:?}", began.elapsed());
    }
}

/// The kernel programs know the other rule, and give what is forked to that.
#[test]
fn what_a_process_forks_is_held_for_the_connection_that_it_has_from_it() {
    let lab = with_tunnel();
    let tunnel = "down = '1MB/s'\non = 'interface:tun*'";
    let rules = [
        rule("tunnel", "command:*talker.py*", tunnel),
        rule("rest", "name:python3*", "down = '20MB/s'"),
    ];
    let ruled = Ruled::within(&lab.client, &rules.concat());
    let mut server = Talker::within(&lab.server);
    let port = server.ask("serve");
    let mut parent = Talker::within(&lab.client);
    parent.connect("far", FAR, &port);
    is_held_within(&ruled, parent.pid(), 1_000_000, BEGINS);
    for _ in 0..3 {
        let said = parent.ask("fork");
        let child = said.strip_prefix("child ").and_then(|pid| pid.parse().ok());
        let child = child.unwrap_or_else(|| panic!("{said}"));
        assert_eq!(parent.ask("child echo far"), "x");
        stays_held(&ruled, child, 1_000_000);
    }
    ruled.end();
}

#[test]
fn what_a_process_forks_is_held_when_that_has_ended_before_anybody_looks() {
    const SCRIPT: &str = "import os, socket, sys, time
far = socket.create_connection((sys.argv[1], int(sys.argv[2])))
print('ready', flush=True)
for _ in range(3):
    sys.stdin.readline()
    if os.fork():
        os._exit(0)
    far.send(b'x')
    print(os.getpid(), flush=True)
time.sleep(60)";
    let lab = with_tunnel();
    let tunnel = "down = '1MB/s'\non = 'interface:tun*'";
    let ruled = Ruled::within(&lab.client, &rule("tunnel", "name:python3*", tunnel));
    let mut server = Talker::within(&lab.server);
    let port = server.ask("serve");
    let mut command = Lab::command(&lab.client, "python3");
    command.args(["-c", SCRIPT, FAR, &port]);
    let mut first = Running::ready(command.stdin(Stdio::piped()));
    is_held_within(&ruled, first.pid(), 1_000_000, BEGINS);
    let mut input = first.0.stdin.take().expect("its input");
    let mut output = BufReader::new(first.0.stdout.take().expect("its output"));
    let mut last = None;
    for _ in 0..3 {
        input.write_all(b"\n").expect("its input");
        first.wait(Duration::from_secs(5));
        let mut line = String::new();
        output.read_line(&mut line).expect("its output");
        let child = line.trim().parse().expect("a process id");
        stays_held(&ruled, child, 1_000_000);
        last = Some(child);
    }
    signal(last.expect("a child"), "-KILL");
    ruled.end();
}

#[test]
fn a_udp_socket_counts_where_it_has_an_address_of_its_own_or_an_interface() {
    const SCRIPT: &str = "import socket, sys
far = (sys.argv[1], 9)
for how in sys.stdin:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    match how.strip():
        case 'connected': udp.connect(far)
        case 'bound': udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'tun0')
        case 'free': udp.bind(('0.0.0.0', 0))
    udp.sendto(b'x', far) if how.strip() != 'connected' else udp.send(b'x')
    print('ready', flush=True)";
    let lab = with_tunnel();
    let tunnel = "down = '1MB/s'\non = 'interface:tun*'";
    let rules = [
        rule("tunnel", "name:python3*", tunnel),
        rule("rest", "name:python3*", "down = '20MB/s'"),
    ];
    let ruled = Ruled::within(&lab.client, &rules.concat());
    for (how, down) in [
        ("connected", 1_000_000),
        ("bound", 1_000_000),
        ("free", 20_000_000),
    ] {
        let mut command = Lab::command(&lab.client, "python3");
        let command = command.args(["-c", SCRIPT, FAR]).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("python3");
        let mut input = child.stdin.take().expect("its input");
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let program = Running(child);
        writeln!(input, "{how}").expect("its input");
        output.read_line(&mut String::new()).expect("its word");
        println!("{how}");
        if down == 20_000_000 {
            // Longer than until the next look.
            std::thread::sleep(Duration::from_millis(1_500));
        }
        is_held_within(&ruled, program.pid(), down, BEGINS);
    }
    ruled.end();
}
