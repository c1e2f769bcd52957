//! The laboratory: two network namespaces joined by veth, removed when the test ends.

use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

/// Two hosts on one wire.
pub struct Lab {
    /// Namespace of the limited side.
    pub client: String,
    /// Namespace of the other side.
    pub server: String,
}

/// Addresses of both, from the blocks for benchmarks (RFC 2544) and unique local ones.
pub const CLIENT_V4: &str = "198.18.0.1";
pub const SERVER_V4: &str = "198.18.0.2";
pub const SERVER_V6: &str = "fd00:c7::2";

impl Lab {
    /// Two hosts with veth between them.
    pub fn new() -> Self {
        let lab = Self::bare();
        lab.join_by_veth();
        lab
    }

    /// Two hosts with nothing between them.
    pub fn bare() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ct{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let lab = Self {
            client: format!("{name}c"),
            server: format!("{name}s"),
        };
        let Self { client, server } = &lab;
        ip(&format!("netns add {client}"));
        ip(&format!("netns add {server}"));
        for host in [client, server] {
            ip(&format!("-n {host} link set lo up"));
        }
        lab
    }

    fn join_by_veth(&self) {
        let Self { client, server } = self;
        ip(&format!(
            "link add v0 netns {client} address {} type veth peer name v0 netns {server} address {}",
            mac(1),
            mac(2)
        ));
        for (host, number, address) in [(client, 1, CLIENT_V4), (server, 2, SERVER_V4)] {
            ip(&format!("-n {host} addr add {address}/24 dev v0"));
            ip(&format!(
                "-n {host} addr add fd00:c7::{number}/64 dev v0 nodad"
            ));
            ip(&format!("-n {host} link set v0 up"));
            // Known from the start, since the first search for a neighbour takes a second.
            let other = 3 - number;
            ip(&format!(
                "-n {host} neigh add fd00:c7::{other} lladdr {} dev v0 nud permanent",
                mac(other)
            ));
        }
    }

    /// A command that runs in a namespace.
    pub fn command(namespace: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, program]);
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.client, &self.server] {
            // Half a laboratory may be all there is.
            let _ = Command::new("ip")
                .args(["netns", "del", namespace])
                .stderr(Stdio::null())
                .status();
        }
    }
}

fn mac(host: u32) -> String {
    format!("02:00:00:c7:00:0{host}")
}

#[track_caller]
pub fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("ip(8)");
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
