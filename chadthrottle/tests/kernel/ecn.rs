//! Explicit congestion notification: told before dropped, where it was negotiated.

use std::{process::Command, time::Duration};

use serde_json::Value;

use crate::{
    audit::assert_nothing_left,
    lab::{Lab, SERVER_V4, SERVER_V6},
    program::{Chadthrottle, Running},
};

/// Sends datagrams of 1,000 bytes to who asks, 500 a second, with that traffic class; the low two
/// bits are ECN's.
const SERVER: &str = "
import socket, sys, time
family, address, kind = socket.AF_INET, sys.argv[1], (socket.IPPROTO_IP, socket.IP_TOS)
if ':' in address: family, kind = socket.AF_INET6, (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
s = socket.socket(family, socket.SOCK_DGRAM)
s.bind((address, 7300))
s.setsockopt(*kind, int(sys.argv[2]))
print('ready', flush=True)
_, to = s.recvfrom(100)
for n in range(1500):
    s.sendto(b'x' * 1000, to)
    time.sleep(max(0, (n + 1) * 0.002 - (time.monotonic() - start)) if n else 0)
    if not n: start = time.monotonic()
";

/// Asks, and counts what comes, and what of it has seen congestion.
const CLIENT: &str = "
import json, socket, sys
family, address = socket.AF_INET, sys.argv[1]
if ':' in address: family = socket.AF_INET6
s = socket.socket(family, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
s.sendto(b'x', (address, 7300))
s.settimeout(1)
came = marked = 0
try:
    while True:
        data, ancillary, _, _ = s.recvmsg(2000, 100)
        came += 1
        marked += any(value[0] & 3 == 3 for _, _, value in ancillary)
except TimeoutError: pass
print(json.dumps([came, marked]))
";

/// 500 KB/s offered for three seconds under 100 KB/s, `--down` or `--up`: how many came, and how many
/// were marked.
#[track_caller]
fn arrived(limit: &str, server: &str, traffic_class: u8) -> (u64, u64) {
    let lab = Lab::new();
    let program = Chadthrottle::new();
    let python = |limited: bool, namespace: &str, arguments: &[&str]| {
        let mut command = if limited {
            program.command(&format!("run --root {limit} 100KB/s -- ip netns exec"))
        } else {
            let mut command = Command::new("ip");
            command.args(["netns", "exec"]);
            command
        };
        command.args([namespace, "python3", "-c"]).args(arguments);
        command
    };
    let class = traffic_class.to_string();
    let sender = &mut python(limit == "--up", &lab.server, &[SERVER, server, &class]);
    let mut sender = Running::ready(sender);
    let output = python(limit == "--down", &lab.client, &[CLIENT, server]).output();
    let output = output.expect("python3").stdout;
    let counts: Value = serde_json::from_slice(&output).expect("two numbers");
    let count = |index: usize| counts[index].as_u64().expect("a number");
    println!("{limit} {server}, class {traffic_class}: {counts}");
    sender.wait(Duration::from_secs(5));
    (count(0), count(1))
}

const WAYS: [(&str, &str); 4] = [
    ("--down", SERVER_V4),
    ("--down", SERVER_V6),
    ("--up", SERVER_V4),
    ("--up", SERVER_V6),
];

#[test]
fn who_negotiated_ecn_is_told_before_anything_is_dropped() {
    for (limit, server) in WAYS {
        let (came, marked) = arrived(limit, server, 2);
        // Rate times time with a burst, and what is tolerated: another, or 64 KB at egress.
        assert!((300..=410).contains(&came), "{limit} {server}: {came}");
        assert!(marked > came / 2, "{limit} {server}: {marked} of {came}");
    }
    assert_nothing_left();
}

#[test]
fn who_did_not_is_dropped_at_once_and_never_marked() {
    for (limit, server) in WAYS {
        let (came, marked) = arrived(limit, server, 0);
        assert!((280..=350).contains(&came), "{limit} {server}: {came}");
        assert_eq!(marked, 0, "{limit} {server}");
    }
    assert_nothing_left();
}
