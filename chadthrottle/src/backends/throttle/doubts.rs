//! Sockets whose owner is a guess: user space has noted it, of several processes that have the socket.
//!
//! A limit goes by such a note, since it can be undone when somebody uses the socket. A reset cannot.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chadthrottle_common::ownership::Owner;

/// So many are kept, of more those of the latest sockets.
const MOST: usize = 65_536;

/// The guesses, by the cookie of each socket. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Doubts(Arc<Mutex<BTreeMap<u64, Owner>>>);

impl Doubts {
    /// Remembers that a socket's owner is guessed, before that is noted on it.
    pub fn add(&self, cookie: u64, owner: Owner) {
        let mut guesses = self.guesses();
        guesses.insert(cookie, owner);
        // Cookies are given out in turn.
        if guesses.len() > MOST {
            guesses.pop_first();
        }
    }

    /// Whether that owner, who is noted on the socket, is a guess. If another one was, somebody has used it since.
    pub fn are_about(&self, cookie: u64, owner: Owner) -> bool {
        let mut guesses = self.guesses();
        let guess = guesses.get(&cookie);
        let is_guess = guess == Some(&owner);
        if !is_guess {
            guesses.remove(&cookie);
        }
        is_guess
    }

    fn guesses(&self) -> MutexGuard<'_, BTreeMap<u64, Owner>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_is_doubted_until_somebody_else_has_used_the_socket() {
        let [parent, child] = [1, 2].map(|slot| Owner {
            slot,
            generation: 1,
        });
        let doubts = Doubts::default();
        doubts.add(7, child);
        assert!(doubts.are_about(7, child) && doubts.are_about(7, child));
        assert!(!doubts.are_about(8, child));
        // Whoever uses it next is known.
        assert!(!doubts.are_about(7, parent));
        assert!(!doubts.are_about(7, child));
        for cookie in 0..=MOST as u64 {
            doubts.add(cookie, child);
        }
        assert!(!doubts.are_about(0, child) && doubts.are_about(1, child));
    }
}
