//! What the service manager hands to an engine at its start.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, poll},
    sys::socket::{Shutdown, shutdown},
};

use super::{Store, store::Kind};
use crate::sys::fdpass::passed_at_start;

/// What it hands over, each once.
#[derive(Debug)]
pub struct Inherited {
    /// The socket that it listens on for us.
    pub listener: Option<UnixListener>,
    /// The engine before, which has ended without a stop: its programs go on holding limits.
    pub predecessor: Option<Predecessor>,
    /// Where to keep what the next one is to have.
    pub store: Store,
}

/// What is left of an engine that has ended.
#[derive(Debug)]
pub struct Predecessor {
    generations: Vec<u32>,
    /// With the generation of each. Closing them detaches its programs, once the manager has closed its own.
    links: Vec<(u32, OwnedFd)>,
    guards: Vec<(u32, OwnedFd)>,
    limits: Option<File>,
}

/// How long a guard may take to undo what its engine has changed.
const UNDOING: Duration = Duration::from_secs(5);

impl Inherited {
    /// Takes it. To be called once, before anything else opens descriptors.
    ///
    /// # Errors
    /// Where what the manager says of them makes no sense.
    pub fn take() -> io::Result<Self> {
        Self::of(passed_at_start()?.into_iter())
    }

    fn of(named: impl Iterator<Item = (OwnedFd, String)>) -> io::Result<Self> {
        let mut listener = None;
        let mut before = Predecessor {
            generations: Vec::new(),
            links: Vec::new(),
            guards: Vec::new(),
            limits: None,
        };
        let mut limits = None;
        for (descriptor, name) in named {
            let Some((kind, generation)) = Kind::of(&name) else {
                let socket = UnixListener::from(descriptor);
                socket.set_nonblocking(true)?;
                listener = Some(socket);
                continue;
            };
            before.generations.push(generation);
            match kind {
                Kind::Link => before.links.push((generation, descriptor)),
                Kind::Guard => before.guards.push((generation, descriptor)),
                // The newest one that there is.
                Kind::Limits if limits.as_ref().is_none_or(|(of, _)| *of < generation) => {
                    limits = Some((generation, File::from(descriptor)));
                }
                Kind::Limits => {}
            }
        }
        let of_limits = limits.as_ref().map(|(of, _)| *of);
        before.limits = limits.map(|(_, file)| file);
        before.generations.sort_unstable();
        before.generations.dedup();
        before.drop_interim(of_limits);
        let last = before.generations.last().copied();
        Ok(Self {
            listener,
            predecessor: last.map(|_| before),
            store: Store::of(last.map_or(1, |last| last.wrapping_add(1))),
        })
    }
}

impl Predecessor {
    /// The file with the limits that it had; none where it had come to no client yet, or was asked before.
    pub fn limits(&mut self) -> Option<File> {
        self.limits.take()
    }

    /// Has the store forget engines that have ended before they had taken over. The first of all still holds what was
    /// set before they came, and of those that clients have set again the last one knows all that the others did.
    fn drop_interim(&mut self, of_limits: Option<u32>) {
        let Some((last, before)) = self.generations.split_last() else {
            return;
        };
        // Nor the one whose list is the newest that there is.
        let is_needed =
            |it: &u32| Some(*it) == before.first().copied() || it == last || Some(*it) == of_limits;
        let (needed, interim) = self.generations.iter().copied().partition(is_needed);
        self.generations = needed;
        let interim: Vec<u32> = interim;
        let is_interim = |(generation, _): &(u32, OwnedFd)| interim.contains(generation);
        self.links.retain(|link| !is_interim(link));
        self.guards.retain(|guard| !is_interim(guard));
        for generation in interim {
            Store::drop_all_of(generation);
        }
    }

    /// Ends what goes on without it: its guard undoes what it has changed, and its programs are detached. Blocks for a
    /// moment.
    pub fn end(self) {
        for (_, guard) in &self.guards {
            // So that it hears the end, though the manager has this socket too.
            if let Err(error) = shutdown(guard.as_raw_fd(), Shutdown::Write) {
                log::debug!("the guard of the engine before has gone: {error}");
            }
        }
        let deadline = Instant::now() + UNDOING;
        for (_, guard) in &self.guards {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
            // It has done so when it closes its end.
            if matches!(
                poll(&mut [PollFd::new(guard.as_fd(), PollFlags::empty())], left),
                Ok(0)
            ) {
                log::warn!(
                    "the guard of the engine before takes long to undo what that has changed"
                );
            }
        }
        drop(self.links);
        for generation in self.generations {
            Store::drop_all_of(generation);
        }
        // From then on they are not attached any more.
        Store::settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fdpass::{pair, receive};
    use std::{
        io::{Read, Seek, Write},
        os::unix::net::UnixStream,
    };

    fn null() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    fn with_limits(words: &str) -> OwnedFd {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(words.as_bytes()).unwrap();
        file.into()
    }

    #[test]
    fn what_is_handed_over_is_told_apart_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let named = [
            (listener.into(), "chadthrottle.socket"),
            (null(), "links-3"),
            (with_limits("newer"), "limits-4"),
            (with_limits("older"), "limits-3"),
            (null(), "links-4"),
        ];
        let named = named.map(|(descriptor, name)| (descriptor, name.to_owned()));
        let inherited = Inherited::of(named.into_iter()).unwrap();
        let _client = UnixStream::connect(&socket).unwrap();
        inherited.listener.unwrap().accept().unwrap();
        let mut before = inherited.predecessor.unwrap();
        assert_eq!(
            (before.generations.as_slice(), before.links.len()),
            (&[3, 4][..], 2)
        );
        let mut limits = String::new();
        let mut file = before.limits().unwrap();
        file.rewind().unwrap();
        file.read_to_string(&mut limits).unwrap();
        assert_eq!(limits, "newer");
        assert!(before.limits().is_none());
        assert_eq!(
            format!("{:?}", inherited.store),
            format!("{:?}", Store::of(5))
        );

        let nothing = Inherited::of(std::iter::empty()).unwrap();
        assert!(nothing.listener.is_none() && nothing.predecessor.is_none());
    }

    #[test]
    fn engines_that_have_not_taken_over_do_not_pile_up() {
        let names = [3, 4, 5, 6].map(|generation| format!("links-{generation}"));
        let named = names.into_iter().map(|name| (null(), name));
        let limits = (with_limits(""), "limits-4".to_owned());
        let before = Inherited::of(named.chain([limits]))
            .unwrap()
            .predecessor
            .unwrap();
        assert_eq!(before.generations, [3, 4, 6]);
        let of_links: Vec<u32> = before.links.iter().map(|(of, _)| *of).collect();
        assert_eq!(of_links, [3, 4, 6]);
    }

    #[test]
    fn the_end_of_a_predecessor_waits_for_its_guard_whoever_has_its_socket_too() {
        let (ours, guards) = pair().unwrap();
        let _the_managers = ours.try_clone().unwrap();
        let named = [(ours, "guard-1".to_owned())];
        let before = Inherited::of(named.into_iter())
            .unwrap()
            .predecessor
            .unwrap();
        let guard = std::thread::spawn(move || {
            assert!(
                receive(guards.as_fd()).unwrap().is_none(),
                "it hears the end"
            );
            std::thread::sleep(Duration::from_millis(200));
            Instant::now()
        });
        before.end();
        let ended = Instant::now();
        assert!(guard.join().unwrap() <= ended);
        assert!(ended.elapsed() < UNDOING / 2);
    }
}
