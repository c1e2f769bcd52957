//! Names of users, by their ids.

use std::{collections::HashMap, sync::Arc};

use nix::unistd::{Uid, User as PasswdEntry};

use super::aside::Aside;

/// Names of user ids, looked up once each: a directory service may take its time, or for ever.
#[derive(Debug)]
pub struct UserNames {
    known: HashMap<u32, Arc<str>>,
    lookups: Aside<u32, Arc<str>>,
}

impl UserNames {
    /// From the system's password database.
    pub fn system() -> Self {
        Self::of(|uid| match PasswdEntry::from_uid(Uid::from_raw(uid)) {
            Ok(Some(user)) => user.name.into(),
            _ => number(uid),
        })
    }

    fn of(look_up: impl Fn(u32) -> Arc<str> + Send + Sync + 'static) -> Self {
        Self {
            known: HashMap::new(),
            lookups: Aside::new("user-names", move |uid: &u32| look_up(*uid)),
        }
    }

    /// The user's name, as far as it is known: the number until then, and where it has none.
    pub fn name(&mut self, uid: u32) -> Arc<str> {
        let known = self.known.entry(uid).or_insert_with(|| {
            self.lookups.ask(uid);
            number(uid)
        });
        Arc::clone(known)
    }

    /// Whether some name is known that was not, which is waited for just a moment.
    pub fn has_learnt(&mut self) -> bool {
        let answers = self.lookups.answers();
        let has_learnt = !answers.is_empty();
        self.known.extend(answers);
        has_learnt
    }
}

fn number(uid: u32) -> Arc<str> {
    uid.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{Mutex, mpsc},
        time::{Duration, Instant},
    };

    /// Waits until the names that were asked for are known.
    fn learn(names: &mut UserNames) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !names.has_learnt() {
            assert!(Instant::now() < deadline);
        }
    }

    #[test]
    fn names_and_numbers() {
        let mut names = UserNames::system();
        names.name(0);
        learn(&mut names);
        assert_eq!(&*names.name(0), "root");
        names.name(4_000_000_001);
        learn(&mut names);
        assert_eq!(&*names.name(4_000_000_001), "4000000001");
    }

    #[test]
    fn a_directory_service_that_keeps_silent_makes_names_late_and_nothing_else() {
        let (speak, silence) = mpsc::channel::<()>();
        let silence = Mutex::new(silence);
        let mut names = UserNames::of(move |uid| {
            if uid == 7 {
                let _ = silence.lock().unwrap().recv();
            }
            format!("user {uid}").into()
        });
        let asked = Instant::now();
        assert_eq!(&*names.name(7), "7");
        names.name(8);
        learn(&mut names);
        assert_eq!((&*names.name(7), &*names.name(8)), ("7", "user 8"));
        assert!(asked.elapsed() < Duration::from_secs(5));
        drop(speak);
        learn(&mut names);
        assert_eq!(&*names.name(7), "user 7");
    }
}
