//! The filter, word by word.

use super::*;
use crate::{
    model::{LimitId, Traffic},
    process::Connection,
    tui::fixtures::{key, limit, process, snapshot, usual},
};

/// The ids that a filter leaves, with these connections.
fn left(filter: &str, snapshot: &Snapshot, connections: &[ConnectionRow]) -> Vec<u32> {
    let filter = Filter::read(filter, snapshot);
    let filter = filter.over(snapshot, connections);
    let wanted = snapshot.processes.iter().filter(|it| filter.wants(it));
    wanted.map(|process| process.key.pid).collect()
}

fn connection(pid: u32, inode: u64, local: &str, remote: &str) -> ConnectionRow {
    ConnectionRow {
        connection: Connection {
            inode,
            protocol: "tcp".to_owned(),
            local: local.parse().ok(),
            remote: remote.parse().ok(),
            state: "established".to_owned(),
            bytes: None,
            process: Some(key(pid)),
            round_trip: None,
        },
        rates: None,
        name: None,
    }
}

#[test]
fn words_ask_what_targets_ask() {
    let mut nginx = process(10, "nginx", 0.0, 0.0);
    nginx.cgroup = "/system.slice/nginx.service".into();
    (nginx.uid, nginx.user) = (33, "www-data".into());
    let mut worker = process(11, "worker", 0.0, 0.0);
    worker.parent = 10;
    worker.cgroup = format!("/docker/{}", "ab".repeat(32)).into();
    let mut odd = process(12, "user:x", 0.0, 0.0);
    odd.command = "limited edition  of two".into();
    let sample = snapshot(vec![nginx, worker, odd]);
    for (filter, pids) in [
        ("user:www-data", &[10][..]),
        ("user:33", &[10]),
        ("!user:33", &[11, 12]),
        ("user:nobody-has-that", &[]),
        ("unit:nginx", &[10]),
        ("unit:ngin?.service", &[10]),
        ("unit:ngin", &[10]),
        ("name:work", &[11]),
        ("exe:*/nginx", &[10]),
        ("exe:usr/bin", &[10, 11, 12]),
        ("container:abab", &[11]),
        ("cgroup:/system.slice/", &[10]),
        ("cgroup:system.slice", &[10]),
        ("parent:10", &[11]),
        ("parent:name:nginx", &[11]),
        ("parent:ngin", &[11]),
        ("parent:cgroup:/system.slice", &[11]),
        // Words that stand apart must all hold, in whichever order.
        ("user:ada work", &[11]),
        ("work user:ada", &[11]),
        ("user:33 work", &[]),
        ("!nginx", &[11, 12]),
        ("!nginx !work", &[12]),
        ("command:of", &[12]),
        // What is no word of ours is text, with its spaces.
        ("edition  of", &[12]),
        ("edition of", &[]),
        ("foo:bar", &[]),
        ("group:33", &[]),
        // What is just begun asks for nothing yet.
        ("user:", &[10, 11, 12]),
        ("!", &[10, 11, 12]),
        ("port:", &[10, 11, 12]),
        ("name:[", &[10, 11, 12]),
        ("parent:parent:1", &[10, 11, 12]),
        ("parent:port:1", &[10, 11, 12]),
    ] {
        assert_eq!(left(filter, &sample, &[]), pids, "{filter}");
    }
}

#[test]
fn limited_and_held() {
    let mut sample = Snapshot::clone(&usual());
    assert_eq!(left("limited", &sample, &[]), [4242]);
    assert_eq!(left("!limited", &sample, &[]), [900, 3100, 5000]);
    assert_eq!(left("held", &sample, &[]), [4242]);
    // Another one shares the limit and carries nothing.
    sample.processes[0].limit = Some((LimitId(1), limit(Some(1_000_000), None)));
    assert_eq!(left("held", &sample, &[]), [4242]);
    assert_eq!(left("limited !held", &sample, &[]), [900]);
    sample.limits[0].traffic.down = Traffic::default();
    assert_eq!(left("held", &sample, &[]), [0u32; 0]);
}

#[test]
fn ports_and_remote_ends_are_those_of_connections() {
    let mut named = connection(4242, 3, "192.0.2.7:1", "198.51.100.20:8080");
    named.name = Some("Mirror.example.org".into());
    let connections = [
        connection(3100, 1, "192.0.2.7:50000", "[2001:db8::1]:443"),
        connection(900, 2, "192.0.2.7:22", "[::ffff:203.0.113.9]:51000"),
        named,
    ];
    let sample = usual();
    for (filter, pids) in [
        ("port:443", &[3100][..]),
        ("port:22", &[900]),
        ("port:44", &[]),
        // No port at all is that of none, not of everything.
        ("port:99999", &[]),
        ("port:https", &[]),
        ("!port:https", &[900, 3100, 4242, 5000]),
        ("!port:443", &[900, 4242, 5000]),
        ("remote:203.0.113", &[900]),
        ("remote:ffff", &[]),
        ("remote:mirror", &[4242]),
        ("remote:192.0.2", &[]),
        ("port:443 !user:ada", &[]),
    ] {
        assert!(Filter::read(filter, &sample).asks_for_connections());
        assert_eq!(left(filter, &sample, &connections), pids, "{filter}");
    }
    assert!(!Filter::read("fire", &sample).asks_for_connections());
    // Of the connections themselves, each is asked.
    for (filter, inodes) in [
        ("port:443", &[1][..]),
        ("!port:443", &[2, 3]),
        ("remote:mirror", &[3]),
        ("203.0.113.9:51000", &[2]),
        ("firefox", &[1]),
        ("limited", &[3]),
        ("established", &[1, 2, 3]),
    ] {
        let filter = Filter::read(filter, &sample);
        let filter = filter.over(&sample, &connections);
        let wanted = connections.iter().filter(|row| {
            let pid = row.connection.process.unwrap();
            let process = sample.processes.iter().find(|it| it.key == pid);
            filter.wants_connection(process.unwrap(), row)
        });
        let found: Vec<u64> = wanted.map(|row| row.connection.inode).collect();
        assert_eq!(found, inodes);
    }
}
