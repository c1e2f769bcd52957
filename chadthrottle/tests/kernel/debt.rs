//! A bucket in debt: nothing takes it deeper than the bound, and nobody waits for longer than that.

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

/// Sends small packets for two seconds, twenty times as much as it may, and then has ten exchanges, each with
/// one packet on its way; takes the pace off its connection before each, where it is told so. Says how many
/// seconds they took.
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

/// How many bytes the interface has sent.
fn sent(lab: &Lab) -> f64 {
    let output = Lab::command(&lab.client, "cat")
        .arg("/sys/class/net/v0/statistics/tx_bytes")
        .output();
    let text = String::from_utf8(output.expect("cat").stdout).expect("a number");
    text.trim().parse().expect("a number")
}

#[test]
fn small_packets_are_held_too_and_an_exchange_goes_on_within_a_second_after_them() {
    for pace in ["paced", "free"] {
        let lab = Lab::new();
        let mut server = Lab::command(&lab.server, "python3");
        let _server = Running::ready(server.args(["-c", SERVER, SERVER_V4]));
        let before = sent(&lab);
        let started = std::time::Instant::now();
        let output = Chadthrottle::new()
            .command("run --root --up 100KB/s --")
            .args(["ip", "netns", "exec", &lab.client, "python3", "-c", CLIENT])
            .args([SERVER_V4, pace])
            .output()
            .expect("chadthrottle");
        let lasted = started.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let took: f64 = said.trim().parse().unwrap_or_else(|_| panic!("{errors}"));
        // On a wire each packet has a header of 14 bytes more, of 108.
        let through = (sent(&lab) - before) / 1.13;
        println!("{pace}: {through} bytes in {lasted} s, ten exchanges: {took} s");
        assert!(through < 100e3 * lasted + 100e3, "{through} in {lasted} s");
        // A second of debt at most, and a probe timer or two.
        assert!(took < 3.0, "{took} s");
        assert_nothing_left();
    }
}
