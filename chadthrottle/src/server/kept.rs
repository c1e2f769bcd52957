//! The limits that are set, in a file in memory, for an engine that takes over from this one.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
};

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::{
    model::{Limit, Origin, ProcessKey},
    process::{Selector, SelectorError, Targets},
};

/// A limit, with all that the next engine needs to set it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// For whom, with all members that it had.
    #[serde(with = "whole")]
    pub targets: Targets,
    /// How much.
    pub limit: Limit,
    /// Who has set it, and when.
    pub origin: Origin,
}

impl Kept {
    /// Whether it is what a user asks for, who asks for it again.
    pub fn is_again(&self, uid: u32, targets: &Targets) -> bool {
        let named = &self.targets.processes;
        self.origin.uid == uid
            && !(targets.processes.is_empty() && targets.selectors.is_empty())
            && self.targets.children == targets.children
            && self.targets.selectors == targets.selectors
            // Some may have ended meanwhile.
            && targets.processes.iter().all(|key| named.contains(key))
    }
}

/// Targets with what only an engine says of them.
mod whole {
    use super::{Deserialize, ProcessKey, Selector, SelectorError, Serialize, Targets};
    use serde::{Deserializer, Serializer, de::Error as _};

    #[derive(Serialize, Deserialize)]
    struct Whole {
        processes: Vec<ProcessKey>,
        /// As they are typed, and the ids of users and groups, so that nobody has to be asked again who they are.
        selectors: Vec<(String, Vec<Option<u32>>)>,
        children: bool,
        of_user: Option<u32>,
        members: Vec<ProcessKey>,
    }

    pub fn serialize<S: Serializer>(targets: &Targets, serializer: S) -> Result<S::Ok, S::Error> {
        let words = |selector: &Selector| (selector.clone().into(), selector.ids());
        let whole = Whole {
            processes: targets.processes.clone(),
            selectors: targets.selectors.iter().map(words).collect(),
            children: targets.children,
            of_user: targets.of_user,
            members: targets.members.clone(),
        };
        whole.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Targets, D::Error> {
        let whole = Whole::deserialize(deserializer)?;
        let selector = |(words, ids): (String, Vec<_>)| Selector::with_ids(&words, &ids);
        let selectors = whole.selectors.into_iter().map(selector);
        let selectors: Result<_, SelectorError> = selectors.collect();
        Ok(Targets {
            processes: whole.processes,
            selectors: selectors.map_err(D::Error::custom)?,
            children: whole.children,
            of_user: whole.of_user,
            members: whole.members,
        })
    }
}

/// The file. It stays for as long as anybody has a descriptor of it.
///
/// A list is written beside the one before, and then the few bytes at the start that say which of the two it is: whoever
/// reads it after we were killed in the middle finds one of them, whole.
#[derive(Debug)]
pub struct KeptLimits {
    file: File,
    now: Vec<u8>,
    place: Place,
}

/// Where a list is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    offset: u64,
    length: u64,
}

impl Place {
    /// Behind the place itself; and far enough behind that.
    const OFFSETS: [u64; 2] = [4096, 4096 + LONGEST as u64];

    fn beside(self) -> u64 {
        let [first, second] = Self::OFFSETS;
        if self.offset == first { second } else { first }
    }

    fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.offset.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.length.to_ne_bytes());
        bytes
    }

    fn read(file: &File) -> io::Result<Self> {
        let (mut offset, mut length) = ([0; 8], [0; 8]);
        file.read_exact_at(&mut offset, 0)?;
        file.read_exact_at(&mut length, 8)?;
        Ok(Self {
            offset: u64::from_ne_bytes(offset),
            length: u64::from_ne_bytes(length),
        })
    }
}

/// A longer list is not kept whole, in bytes: users without root may set 64 limits of 64 KiB each.
const LONGEST: usize = 64 << 20;

impl KeptLimits {
    const NAME: &CStr = c"chadthrottle-limits";

    /// With no limit in it.
    ///
    /// # Errors
    /// Where there are no descriptors left, or no memory.
    pub fn new() -> io::Result<Self> {
        let mut kept = Self {
            file: memfd_create(Self::NAME, MFdFlags::MFD_CLOEXEC)?.into(),
            now: Vec::new(),
            place: Place::default(),
        };
        kept.write(&[])?;
        Ok(kept)
    }

    /// Has it hold these.
    ///
    /// # Errors
    /// Where there is no memory.
    pub fn write(&mut self, limits: &[Kept]) -> io::Result<()> {
        let words = list(limits, LONGEST)?;
        if words == self.now {
            return Ok(());
        }
        let place = Place {
            offset: self.place.beside(),
            length: words.len() as u64,
        };
        self.file.write_all_at(&words, place.offset)?;
        // Within one page, which the kernel fills in one go.
        self.file.write_all_at(&place.bytes(), 0)?;
        (self.now, self.place) = (words, place);
        Ok(())
    }

    /// What such a file holds. A limit that cannot be read is left out.
    ///
    /// # Errors
    /// Where it is no such file.
    pub fn read(file: &File) -> io::Result<Vec<Kept>> {
        let place = Place::read(file)?;
        let length = usize::try_from(place.length).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut words = vec![0; length];
        file.read_exact_at(&mut words, place.offset)?;
        let listed: Vec<serde_json::Value> = serde_json::from_slice(&words)?;
        let limits = listed.into_iter().filter_map(|limit| {
            serde_json::from_value(limit)
                .inspect_err(|error| log::warn!("a limit of the engine before: {error}"))
                .ok()
        });
        Ok(limits.collect())
    }
}

/// The limits as JSON of at most so many bytes: where that is too little, the longest are left out.
fn list(limits: &[Kept], most: usize) -> io::Result<Vec<u8>> {
    let words = serde_json::to_vec(limits)?;
    if words.len() <= most {
        return Ok(words);
    }
    let mut each = Vec::new();
    for limit in limits {
        each.push(serde_json::to_vec(limit)?);
    }
    each.sort_by_key(Vec::len);
    let mut words = b"[".to_vec();
    let mut left = each.len();
    for limit in each {
        if words.len() + limit.len() + 2 > most {
            break;
        }
        if words.len() > 1 {
            words.push(b',');
        }
        words.extend(limit);
        left -= 1;
    }
    words.push(b']');
    log::warn!("{left} limits are too long to be kept for the next engine");
    Ok(words)
}

impl AsFd for KeptLimits {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing;

    fn kept(id: u32, selectors: Vec<Selector>) -> Kept {
        let key = |pid| ProcessKey {
            pid,
            start_ticks: 9,
        };
        Kept {
            targets: Targets {
                processes: vec![key(7)],
                selectors,
                children: true,
                of_user: Some(1000),
                members: vec![key(7), key(8)],
            },
            limit: Limit::NONE,
            origin: testing::origin(id),
        }
    }

    #[test]
    fn a_list_comes_back_as_it_was_and_asks_nobody_who_a_user_is() {
        let mut file = KeptLimits::new().unwrap();
        let read = |file: &KeptLimits| KeptLimits::read(&file.file).unwrap();
        assert_eq!(read(&file), []);
        let nobody_knows =
            Selector::with_ids("!name:y+user:user-of-a-directory", &[Some(4242)]).unwrap();
        let one = kept(1, vec![nobody_knows, Selector::of_name("x*")]);
        file.write(&[one.clone(), kept(2, Vec::new())]).unwrap();
        let back = read(&file);
        assert_eq!(back, [one, kept(2, Vec::new())]);
        assert_eq!(back[0].targets.selectors[0].ids(), [Some(4242)]);
        // A shorter one, with the longer one still beside it.
        file.write(&[kept(2, Vec::new())]).unwrap();
        assert_eq!(read(&file), [kept(2, Vec::new())]);
    }

    #[test]
    fn one_that_is_half_written_is_not_there_yet() {
        let mut file = KeptLimits::new().unwrap();
        file.write(&[kept(1, Vec::new())]).unwrap();
        file.file
            .write_all_at(b"[{\"targets\":", file.place.beside())
            .unwrap();
        assert_eq!(KeptLimits::read(&file.file).unwrap().len(), 1);
        assert!(KeptLimits::read(&tempfile::tempfile().unwrap()).is_err());
    }

    #[test]
    fn where_a_list_is_too_long_the_longest_limits_are_left_out() {
        let long = Selector::of_name(&"x".repeat(5_000));
        let all = [
            kept(1, vec![long]),
            kept(2, Vec::new()),
            kept(3, Vec::new()),
        ];
        let words = list(&all, 4_000).unwrap();
        let listed: Vec<Kept> = serde_json::from_slice(&words).unwrap();
        assert_eq!(listed, all[1..]);
    }

    #[test]
    fn a_limit_that_is_set_again_is_told_from_others() {
        let kept = kept(1, Vec::new());
        let mut again = Targets {
            processes: kept.targets.processes.clone(),
            children: true,
            ..Targets::default()
        };
        let uid = kept.origin.uid;
        assert!(kept.is_again(uid, &again));
        assert!(!kept.is_again(uid + 1, &again));
        again.processes.push(ProcessKey {
            pid: 1,
            start_ticks: 1,
        });
        assert!(!kept.is_again(uid, &again));
        again.processes.pop();
        assert!(kept.is_again(uid, &again));
        again.children = false;
        assert!(!kept.is_again(uid, &again));
        assert!(!kept.is_again(uid, &Targets::default()));
    }
}
