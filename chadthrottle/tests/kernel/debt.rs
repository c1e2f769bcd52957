//! A bucket deep in debt: what small packets have used up holds no conversation up.

use crate::{
    audit::assert_nothing_left,
    lab::{Lab, SERVER_V4},
    program::{Chadthrottle, Running},
};

/// Answers each 1,000 bytes with one.
const SERVER: &str = "
import socket, sys
listener = socket.create_server((sys.argv[1], 7400))
print('ready', flush=True)
connection, _ = listener.accept()
came = 0
while data := connection.recv(65536):
    came += len(data)
    while came >= 1000: came -= 1000; connection.sendall(b'y')
";

/// Sends small packets for two seconds, which are charged and never refused, and then has ten
/// exchanges, each with one packet on its way; takes the pace off its connection before each, where
/// it is told so. Says how many seconds they took.
const CLIENT: &str = "
import socket, sys, time
free = sys.argv[2] == 'free'
flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
talk = socket.create_connection((sys.argv[1], 7400))
talk.settimeout(20)
end = time.monotonic() + 2
while time.monotonic() < end:
    for _ in range(20): flood.sendto(b'x' * 80, (sys.argv[1], 7401))
    time.sleep(0.001)
start = time.monotonic()
for _ in range(10):
    if free: talk.setsockopt(socket.SOL_SOCKET, 47, bytes([255] * 8))
    talk.sendall(b'x' * 1000)
    talk.recv(1)
print(time.monotonic() - start)
";

/// How many seconds ten exchanges take in debt.
#[track_caller]
fn exchanges(pace: &str) -> f64 {
    let lab = Lab::new();
    let mut server = Lab::command(&lab.server, "python3");
    let _server = Running::ready(server.args(["-c", SERVER, SERVER_V4]));
    let output = Chadthrottle::new()
        .command("run --root --up 10KB/s --")
        .args(["ip", "netns", "exec", &lab.client, "python3", "-c", CLIENT])
        .args([SERVER_V4, pace])
        .output()
        .expect("chadthrottle");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{pace}: ten exchanges in debt: {} s", said.trim());
    said.trim().parse().unwrap_or_else(|_| panic!("{errors}"))
}

#[test]
fn tcp_with_nothing_on_its_way_is_not_refused_however_deep_the_debt() {
    // A second at that rate, and what the pace gives back of the debt; the debt lasts minutes.
    let paced = exchanges("paced");
    assert!(paced < 10.0, "{paced} s");
    // Each that is refused waits for its timer, 0.2 s at least.
    let free = exchanges("free");
    assert!(free < 1.0, "{free} s");
    assert_nothing_left();
}
