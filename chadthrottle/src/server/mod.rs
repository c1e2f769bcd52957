//! The engine's side of the socket: clients, each with a task of its own, what they ask for, and what belongs to them.
//!
//! Architecture invariant: a client that sends nonsense, half a message, or does not read hurts nobody but itself. What
//! it sends is bounded, what it does not read is not kept, and its task alone waits for it.

pub mod access;
mod changes;
mod connection;
mod handover;
mod intervals;
mod kept;
mod looks;
mod origins;
mod past;
mod rules;
mod samples;

use std::{
    collections::HashMap,
    fmt, io,
    os::fd::AsFd,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use access::{GROUP, Standing};

use tokio::{
    net::{UnixStream, unix::OwnedWriteHalf},
    sync::watch,
};

use crate::{
    config::Others,
    engine::{Commands, EngineError, Handle},
    model::{LimitId, Snapshot},
    process::LocalAccounts,
    protocol::{Examined, Info, Left, RequestError},
    rules::Places,
    sys::socket::peer_groups,
    text::escape,
};
use handover::Handover;
use intervals::Intervals;
use looks::Looks;
use origins::{Origins, Peer};
use past::Past;
use rules::Book;
use samples::Samples;

/// At most so many connections: with the descriptors that the engine has itself, they are fewer than a process may have
/// by default (1,024).
pub const MOST_CONNECTIONS: usize = 768;

/// And so many of a user without root.
pub const MOST_OF_A_USER: usize = 64;

/// At most so many limits of a user without root.
pub const MOST_LIMITS_OF_A_USER: usize = 64;

/// What all connections share. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Server(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    engine: Commands,
    info: Info,
    /// As the engine has taken them, before anybody is given any.
    taken: watch::Receiver<Option<Arc<Snapshot>>>,
    samples: Samples,
    past: Mutex<Past>,
    intervals: Intervals,
    origins: Mutex<Origins>,
    /// Told of whenever one has changed.
    changed: watch::Sender<()>,
    /// Counts the connections ever made.
    serial: AtomicU64,
    /// How many there are.
    connections: watch::Sender<usize>,
    /// And how many each user has.
    users: Mutex<HashMap<u32, usize>>,
    /// Whether the engine ends with its last client.
    until_idle: bool,
    /// What users may who are neither root nor in the group.
    others: watch::Sender<Others>,
    doctor: Doctor,
    looks: Looks,
    handover: Handover,
    book: Book,
    last: Mutex<Option<Last>>,
}

/// Examines the machine.
pub struct Doctor(Box<dyn Fn() -> Examined + Send + Sync>);

impl Doctor {
    /// One that does it so.
    pub fn new(examine: impl Fn() -> Examined + Send + Sync + 'static) -> Self {
        Self(Box::new(examine))
    }
}

impl fmt::Debug for Doctor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Doctor")
    }
}

impl Server {
    /// A server of that engine, on the runtime that this is called on.
    pub fn of(
        engine: &Handle,
        until_idle: bool,
        others: Others,
        rules: Places,
        doctor: Doctor,
        warnings: impl Fn() -> Vec<String> + Send + 'static,
    ) -> Self {
        let info = Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            until_idle,
            engine: engine.info().clone(),
        };
        let (newest, samples) = Samples::channel();
        let server = Self(Arc::new(Shared {
            engine: engine.commands().clone(),
            info,
            taken: engine.snapshots(),
            samples,
            past: Mutex::default(),
            intervals: Intervals::default(),
            origins: Mutex::default(),
            changed: watch::Sender::new(()),
            serial: AtomicU64::default(),
            connections: watch::Sender::new(0),
            users: Mutex::default(),
            until_idle,
            others: watch::Sender::new(others),
            doctor,
            looks: Looks::default(),
            handover: Handover::default(),
            book: Book::of(rules),
            last: Mutex::default(),
        }));
        server.change(|_| ());
        let mut snapshots = engine.snapshots();
        let shared = server.clone();
        tokio::spawn(async move {
            // An engine that has ended leaves no sample behind.
            while snapshots.changed().await.is_ok() {
                let taken = snapshots.borrow_and_update().clone();
                if let Some(mut snapshot) = taken {
                    let complete = Arc::make_mut(&mut snapshot);
                    let said = warnings();
                    let said = said.iter().map(|warning| escape(warning).into_owned());
                    complete.warnings.extend(said);
                    shared.change(|origins| origins.write_to(complete));
                    shared.write_rules(complete);
                    // Before anybody is given it: who asks for the past with it in hand finds it there.
                    shared.past().add(complete);
                    newest.send(snapshot);
                }
            }
        });
        server
    }

    /// Serves a client until it has gone, and what belongs to it with it.
    pub async fn serve(&self, client: UnixStream) {
        let Ok(peer) = self.peer(&client) else { return };
        let count = Counted::new(&self.0.connections);
        let of_user = self.count_of(peer.uid, 1);
        // The one before was not the last.
        *self.last() = None;
        let (from, mut to) = client.into_split();
        let mut waits = false;
        let most = match peer.standing {
            Standing::All => MOST_CONNECTIONS,
            Standing::Other(_) => MOST_OF_A_USER,
        };
        if of_user <= most && *self.0.connections.borrow() <= MOST_CONNECTIONS {
            waits = connection::serve(self, &peer, from, &mut to).await;
        }
        let own = self.origins().of_connection(peer.connection);
        for id in own {
            self.end(id).await;
        }
        // Who waits for our end of the connection to close has nothing left here now.
        let is_last = *self.0.connections.borrow() == 1 && !self.origins().any_detached();
        if self.0.until_idle && is_last {
            *self.last() = Some(Last { to, waits });
        } else if waits {
            connection::say_farewell(&Left::default(), &mut to).await;
        }
        self.count_of(peer.uid, -1);
        drop(count);
    }

    /// Changes how many connections a user has, and gives that.
    fn count_of(&self, uid: u32, change: isize) -> usize {
        let mut users = self.0.users.lock().unwrap_or_else(PoisonError::into_inner);
        let count = users.entry(uid).or_default();
        *count = count.saturating_add_signed(change);
        let now = *count;
        if now == 0 {
            users.remove(&uid);
        }
        now
    }

    /// Who is at the other end.
    fn peer(&self, client: &UnixStream) -> io::Result<Peer> {
        let credentials = client.peer_cred()?;
        let uid = credentials.uid();
        let groups = peer_groups(client.as_fd()).map_err(|error| error.source)?;
        let accounts = LocalAccounts::of(Path::new("/etc"));
        let others = *self.0.others.borrow();
        Ok(Peer {
            connection: self.0.serial.fetch_add(1, Relaxed),
            uid,
            standing: Standing::of(uid, &groups, accounts.group(GROUP), others),
            user: accounts.user(uid),
            pid: credentials.pid().map_or(0, i32::unsigned_abs),
        })
    }

    /// What users may from now on who are neither root nor in the group. Connections of theirs end where it is another
    /// thing than before.
    pub fn set_others(&self, others: Others) {
        self.0.others.send_if_modified(|now| {
            let changes = *now != others;
            *now = others;
            changes
        });
    }

    /// Ends a limit, which may have ended by itself.
    async fn end(&self, id: LimitId) {
        match self.0.engine.remove_limit(id).await {
            Ok(()) | Err(EngineError::NoLimit | EngineError::Stopped) => {}
            Err(error) => log::warn!("ending a limit: {error}"),
        }
        self.change(|origins| origins.remove(id));
    }

    /// Ends a limit when its time is up, unless it has ended before.
    fn end_after(&self, serial: u64, time: Duration) {
        let server = self.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            // Of its own: what ends the limit ends the timer too.
            tokio::spawn(async move {
                let id = server.origins().id_of(serial);
                if let Some(id) = id {
                    server.end(id).await;
                }
            });
        });
        self.origins().set_timer(serial, timer.abort_handle());
    }

    /// Waits until there is neither a connection nor a limit that is detached.
    pub async fn idle(&self) {
        let mut connections = self.0.connections.subscribe();
        let mut changed = self.0.changed.subscribe();
        while *connections.borrow_and_update() > 0 || self.origins().any_detached() {
            // Both live as long as we do.
            tokio::select! {
                _ = connections.changed() => {}
                _ = changed.changed() => {}
            }
        }
    }

    /// Tells the last client how the engine's end was; it hears that its connection is closed when this process has
    /// ended.
    pub async fn say_farewell(self, left: &Left) {
        let last = self.last().take();
        if let Some(mut last) = last {
            if last.waits {
                connection::say_farewell(left, &mut last.to).await;
            }
            // The kernel closes it when we are gone.
            std::mem::forget(last);
        }
    }

    /// The number of a sample that may not know of a limit that was set before this is asked; later ones do. The engine
    /// has put it here before it carries out anything that is asked after it was taken.
    fn sequence(&self) -> u64 {
        let taken = self.0.taken.borrow();
        taken.as_ref().map_or(0, |taken| taken.sequence)
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.0.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn origins(&self) -> MutexGuard<'_, Origins> {
        self.0
            .origins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Origins) -> T) -> T {
        let mut origins = self.origins();
        let result = change(&mut origins);
        self.0.handover.write(|| origins.kept());
        self.0
            .intervals
            .for_limits(origins.len() > 0, &self.0.engine);
        drop(origins);
        self.0.changed.send_replace(());
        result
    }

    fn last(&self) -> MutexGuard<'_, Option<Last>> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many limits clients have set.
    pub fn limits(&self) -> usize {
        self.origins().len()
    }

    /// Changes whenever the limits may have, and with each sample.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// How many connections there are, now and whenever that changes.
    pub fn connections(&self) -> watch::Receiver<usize> {
        self.0.connections.subscribe()
    }
}

/// Our end of the last connection: it closes when our process has ended, and all is detached.
#[derive(Debug)]
struct Last {
    to: OwnedWriteHalf,
    /// Whether its client waits for what there is to say.
    waits: bool,
}

/// A connection among those that there are.
struct Counted<'a>(&'a watch::Sender<usize>);

impl<'a> Counted<'a> {
    fn new(connections: &'a watch::Sender<usize>) -> Self {
        connections.send_modify(|count| *count += 1);
        Self(connections)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// What a client hears of what the engine cannot do.
impl From<EngineError> for RequestError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NoLimit => Self::NoLimit,
            EngineError::Stopped => Self::Gone,
            error => Self::Failed {
                message: error.to_string(),
                exit_code: error.exit_code(),
            },
        }
    }
}
