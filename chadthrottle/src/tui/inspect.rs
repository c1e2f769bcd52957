//! Connections as the screen shows them, off the screen's thread: asking for names takes as long as it takes.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use super::{history::Rates, rows::RowKey};
use crate::{
    model::{Both, ProcessKey},
    process::Connection,
};

/// At most so many processes are looked into at a time; of a program, at all.
pub const MAX_PROCESSES: usize = 64;
/// And of the whole machine: each has a look of its own, once a second.
pub const MAX_OF_MACHINE: usize = 256;
/// And so many names kept.
const MAX_NAMES: usize = 10_000;
/// And so many looked up at one look, so that a slow name server does not hold up the rates.
const LOOKUPS: u32 = 4;

/// A connection as the details show it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionRow {
    /// What its socket says.
    pub connection: Connection,
    /// Bytes of payload a second since the last look, of TCP only and from the second look on.
    pub rates: Option<Rates>,
    /// Name of the remote address, where it was asked for and there is one.
    pub name: Option<Arc<str>>,
}

impl ConnectionRow {
    /// Whether it has carried something since the last look.
    pub fn is_busy(&self) -> bool {
        self.rates.is_some_and(|rates| rates.down + rates.up > 0.0)
    }

    /// The same, or nobody knows yet.
    pub fn may_be_busy(&self) -> bool {
        self.is_busy() || self.rates.is_none() && self.connection.bytes.is_some()
    }
}

/// Connections of the whole machine, as they were last looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Connections {
    /// The busiest first.
    pub connections: Vec<ConnectionRow>,
    /// Whether there are more than these.
    pub more: bool,
}

/// What a look is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The details of that row.
    Details(RowKey),
    /// The connections of the whole machine.
    Machine,
    /// The other ends in the table.
    Table,
}

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What for.
    pub purpose: Purpose,
    /// The processes.
    pub processes: Vec<ProcessKey>,
    /// Whether to look up names.
    pub resolve: bool,
}

/// What the last look saw, and names that are known.
#[derive(Clone, Debug, Default)]
pub struct Inspector(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// `None`: nothing has been looked at.
    purpose: Option<Purpose>,
    at: Option<Instant>,
    /// Bytes of payload by inode.
    bytes: HashMap<u64, Both<u64>>,
    /// `None`: it has none.
    names: HashMap<IpAddr, Option<Arc<str>>>,
}

impl Inspector {
    /// The rows for connections that were just seen. Blocks, for seconds where a name server is slow.
    pub fn rows(&self, mut connections: Vec<Connection>, request: &Request) -> Vec<ConnectionRow> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.purpose.as_ref() != Some(&request.purpose) {
            *seen = Seen {
                purpose: Some(request.purpose.clone()),
                names: std::mem::take(&mut seen.names),
                ..Seen::default()
            };
        }
        let now = Instant::now();
        let since = seen.at.replace(now).map(|before| now - before);
        connections.sort_by_key(|connection| connection.inode);
        // Looks at several processes after each other find one that these share in each.
        connections.dedup_by_key(|connection| connection.inode);
        let before = std::mem::take(&mut seen.bytes);
        let mut lookups = LOOKUPS;
        let mut rows: Vec<ConnectionRow> = connections
            .into_iter()
            .map(|connection| {
                let rates = connection.bytes.and_then(|bytes| {
                    seen.bytes.insert(connection.inode, bytes);
                    let before = before.get(&connection.inode).copied().unwrap_or(bytes);
                    let seconds = since?.as_secs_f64();
                    Some(Both::from_fn(|direction| {
                        rate(bytes[direction], before[direction], seconds)
                    }))
                });
                let name = connection
                    .remote
                    .filter(|_| request.resolve)
                    .and_then(|remote| seen.name(remote.ip(), &mut lookups));
                ConnectionRow {
                    connection,
                    rates,
                    name,
                }
            })
            .collect();
        // The busiest first, then those that are connected, and always in the same order.
        let sum = |row: &ConnectionRow| row.rates.map_or(0.0, |rates| rates.down + rates.up);
        rows.sort_by(|a, b| {
            let busy = sum(b).total_cmp(&sum(a));
            let connected = |row: &ConnectionRow| row.connection.remote.is_none();
            busy.then_with(|| connected(a).cmp(&connected(b)))
                .then_with(|| a.connection.inode.cmp(&b.connection.inode))
        });
        rows
    }
}

impl Seen {
    /// The name, or none yet where no more `lookups` may be made.
    fn name(&mut self, address: IpAddr, lookups: &mut u32) -> Option<Arc<str>> {
        if let Some(name) = self.names.get(&address) {
            return name.clone();
        }
        *lookups = lookups.checked_sub(1)?;
        if self.names.len() >= MAX_NAMES {
            self.names.clear();
        }
        let name: Option<Arc<str>> = dns_lookup::lookup_addr(&address)
            .ok()
            .filter(|name| *name != address.to_string())
            .map(Into::into);
        self.names.insert(address, name.clone());
        name
    }
}

fn rate(now: u64, before: u64, seconds: f64) -> f64 {
    let grown = now.saturating_sub(before) as f64;
    if seconds > 0.0 { grown / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{connections_of, key_of};
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
        path::Path,
        time::Duration,
    };

    #[test]
    fn rates_are_of_the_time_between_two_looks_at_the_same_row() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        let root = Path::new("/proc");
        let us = key_of(root, std::process::id()).unwrap();
        let request = |start_ticks| Request {
            purpose: Purpose::Details(RowKey::Process(ProcessKey { start_ticks, ..us })),
            processes: vec![us],
            resolve: false,
        };
        let inspector = Inspector::default();
        let sent = |request: &Request| -> Option<f64> {
            let seen = connections_of(root, &request.processes, None);
            let rows = inspector.rows(seen.connections, request);
            let local = here.local_addr().ok();
            let row = rows.iter().find(|row| row.connection.local == local);
            assert!(row.unwrap().may_be_busy());
            Some(row.unwrap().rates?.up)
        };
        assert_eq!(sent(&request(1)), None);
        (&here).write_all(&[7; 100_000]).unwrap();
        there.read_exact(&mut [0; 100_000]).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let rate = sent(&request(1)).unwrap();
        assert!((1.0..2_000_000.0).contains(&rate), "{rate}");
        // Another row starts anew.
        assert_eq!(sent(&request(2)), None);
    }
}
