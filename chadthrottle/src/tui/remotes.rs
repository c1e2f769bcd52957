//! The other end that each process carries most to and from, for the table.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use super::inspect::ConnectionRow;
use crate::model::{ProcessKey, ProcessSample};

/// An end of connections of a process.
#[derive(Clone, Debug, PartialEq)]
pub struct Remote {
    /// Address and port, with an IPv4 address as one also where the socket is of IPv6.
    pub end: SocketAddr,
    /// Name of the address, where it was asked for and there is one.
    pub name: Option<Arc<str>>,
    /// Of its connection that carries most, where one was measured.
    pub round_trip: Option<Duration>,
    /// What its connections carry.
    carried: Carried,
}

/// What counts: the rate now, and where nothing goes on what there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
struct Carried {
    bytes_per_s: f64,
    bytes: u64,
}

impl Carried {
    fn of(row: &ConnectionRow) -> Self {
        let rates = row.rates.unwrap_or_default();
        let bytes = row.connection.bytes.unwrap_or_default();
        Self {
            bytes_per_s: rates.down + rates.up,
            bytes: bytes.down.saturating_add(bytes.up),
        }
    }
}

/// What was last seen of each process.
#[derive(Debug, Default)]
pub struct Remotes(HashMap<ProcessKey, Remote>);

impl Remotes {
    /// Takes what a look at these processes has found. Loopback is no other end: rates are without it, too.
    pub fn see(&mut self, asked: &[ProcessKey], connections: &[ConnectionRow]) {
        for key in asked {
            self.0.remove(key);
        }
        let mut ends: HashMap<(ProcessKey, SocketAddr), (Remote, Carried)> = HashMap::new();
        for row in connections {
            let (Some(process), Some(remote)) = (row.connection.process, row.connection.remote)
            else {
                continue;
            };
            let end = SocketAddr::new(remote.ip().to_canonical(), remote.port());
            if end.ip().is_loopback() || end.ip().is_unspecified() {
                continue;
            }
            let own = Carried::of(row);
            let (found, most) = ends.entry((process, end)).or_insert_with(|| {
                let remote = Remote {
                    end,
                    name: None,
                    round_trip: None,
                    carried: Carried::default(),
                };
                (remote, own)
            });
            found.carried.bytes_per_s += own.bytes_per_s;
            found.carried.bytes = found.carried.bytes.saturating_add(own.bytes);
            if own >= *most {
                *most = own;
                found.round_trip = row.connection.round_trip;
                found.name.clone_from(&row.name);
            }
        }
        for ((process, end), (remote, _)) in ends {
            // Of what carries the same always the same one.
            let is_more = |than: &Remote| {
                remote.carried > than.carried || remote.carried == than.carried && end < than.end
            };
            if self.0.get(&process).is_none_or(is_more) {
                self.0.insert(process, remote);
            }
        }
    }

    /// Keeps only those of these processes, which are in order.
    pub fn keep(&mut self, processes: &[ProcessSample]) {
        let is_there = |key| processes.binary_search_by_key(&key, |it| it.key).is_ok();
        self.0.retain(|key, _| is_there(*key));
    }

    /// The end that these processes carry most to and from.
    pub fn of(&self, processes: impl Iterator<Item = ProcessKey>) -> Option<&Remote> {
        let known = processes.filter_map(|key| self.0.get(&key));
        known.reduce(|a, b| if b.carried > a.carried { b } else { a })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Both,
        process::Connection,
        tui::fixtures::{key, process},
    };

    fn row(pid: u32, remote: &str, rate: f64, bytes: u64, ms: u64) -> ConnectionRow {
        ConnectionRow {
            connection: Connection {
                inode: bytes,
                protocol: "tcp".to_owned(),
                local: None,
                remote: remote.parse().ok(),
                state: String::new(),
                bytes: Some(Both { down: bytes, up: 0 }),
                process: Some(key(pid)),
                round_trip: Some(Duration::from_millis(ms)),
            },
            rates: Some(Both {
                down: rate,
                up: 0.0,
            }),
            name: None,
        }
    }

    #[test]
    fn connections_to_one_end_count_together_and_loopback_does_not() {
        let mut remotes = Remotes::default();
        let one = "[::ffff:192.0.2.1]:443";
        let connections = [
            row(1, one, 30.0, 1, 10),
            row(1, "192.0.2.1:443", 40.0, 2, 20),
            row(1, "192.0.2.2:443", 60.0, 900, 30),
            row(1, "127.0.0.1:80", 9_000.0, 3, 1),
            row(2, "", 5.0, 4, 1),
        ];
        remotes.see(&[key(1), key(2)], &connections);
        let of = |remotes: &Remotes, pids: &[u32]| {
            let found = remotes.of(pids.iter().map(|pid| key(*pid)));
            found.map(|it| (it.end.to_string(), it.round_trip.unwrap().as_millis()))
        };
        assert_eq!(of(&remotes, &[1]), Some(("192.0.2.1:443".to_owned(), 20)));
        assert_eq!(of(&remotes, &[2]), None);
        // Another look at some says nothing of the others.
        remotes.see(&[key(2)], &[row(2, "192.0.2.9:22", 500.0, 5, 7)]);
        assert_eq!(of(&remotes, &[1, 2]), Some(("192.0.2.9:22".to_owned(), 7)));
        assert_eq!(of(&remotes, &[1]), Some(("192.0.2.1:443".to_owned(), 20)));
        // Where nothing is carried now, what was carried counts.
        remotes.see(
            &[key(1)],
            &[
                row(1, "192.0.2.1:443", 0.0, 5, 1),
                row(1, "192.0.2.2:443", 0.0, 900, 3),
            ],
        );
        assert_eq!(of(&remotes, &[1]), Some(("192.0.2.2:443".to_owned(), 3)));
        remotes.keep(&[process(2, "a", 0.0, 0.0)]);
        assert_eq!(of(&remotes, &[1]), None);
    }
}
