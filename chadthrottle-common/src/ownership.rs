//! Whose sockets are whose, and which limit comes with that: what is noted on sockets and of
//! processes. Layout as in [`crate::abi`].

use crate::sys::Shared;

/// Who owns a socket: a slot, and the generation the slot had when that was noted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Index into the slots.
    pub slot: u32,
    /// Must equal the slot's generation, else the owner has ended.
    pub generation: u32,
}

impl Owner {
    /// Nobody with a slot.
    pub const NONE: Self = Self {
        slot: u32::MAX,
        generation: 0,
    };

    /// The same in one word.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        pair(self.slot, self.generation)
    }

    /// The opposite.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self {
            slot: word as u32,
            generation: (word >> 32) as u32,
        }
    }
}

/// Which limit a process is under, in one word where both sides share it. All zero: none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleId {
    /// Index into the rules, which are used again.
    pub index: u32,
    /// Tells limits apart that have had the same rule; a later limit has a higher one.
    pub serial: u32,
}

impl RuleId {
    /// Serials of limits that somebody has set begin here; below it are those that come from rules, which hold for what
    /// a process is.
    pub const BY_HAND: u32 = 1 << 31;

    /// The same in one word.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        pair(self.index, self.serial)
    }

    /// The opposite.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self {
            index: word as u32,
            serial: (word >> 32) as u32,
        }
    }
}

#[inline(always)]
const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// What is noted on a socket.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Note {
    /// The [`Owner`].
    pub owner: Shared,
    /// Its [`RuleId`] as of the last packet: where the owner has ended, it goes on to hold.
    pub rule: Shared,
    /// What has passed since the owner last used the socket: it is another's who uses it next.
    pub unused: Unused,
    /// The same over loopback.
    pub unused_loopback: Unused,
    /// Until when the socket sends nothing, in nanoseconds of the monotonic clock, unless something comes before; 0: it
    /// may send. See [`crate::gate`].
    pub hushed_ns: Shared,
}

/// IP bytes that nobody has asked for, or come to hand over, yet.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Unused {
    /// Download.
    pub down: Shared,
    /// Upload.
    pub up: Shared,
}

impl Unused {
    /// Somebody has.
    #[inline(always)]
    pub fn clear(&self) {
        self.down.set(0);
        self.up.set(0);
    }
}

/// Who comes under a process's limit when it forks.
pub mod inheritance {
    /// Nobody.
    pub const NONE: u64 = 0;
    /// Its children, and theirs.
    pub const FOR_GOOD: u64 = 1;
    /// They do until they become another program: the limit is for what a process is.
    pub const UNTIL_EXEC: u64 = 2;
}

/// What a process that has made no socket yet has inherited.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heir {
    /// When it started, in nanoseconds since boot: its id may be another process's within a tick of /proc.
    pub start_ns: u64,
    /// Whom from, as [`Owner`]: what rule that has counts, as long as it is there.
    pub from: u64,
    /// The [`RuleId`] that it had then.
    pub rule: u64,
}

/// Which processes a limit takes in when they make a socket: those of whom each word is as it should
/// be. Those of later limits come first, and after all of them those of rules in their order. All zero it takes in
/// everybody, to no limit: the end.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Pattern {
    /// The limit's [`RuleId`].
    pub rule: Shared,
    /// Whether their children inherit it: see [`inheritance`].
    pub inherit: Shared,
    /// What must be there, in the order of the constants …
    pub value: [Shared; Self::WORDS],
    /// … in these bits.
    pub mask: [Shared; Self::WORDS],
}

impl Pattern {
    /// How many words are known of a process.
    pub const WORDS: usize = 6;
    /// `comm` in memory order, two words.
    pub const NAME: usize = 0;
    /// The executable: device as the kernel has it, and inode.
    pub const EXE: usize = 2;
    /// The effective user id.
    pub const USER: usize = 4;
    /// The id of the cgroup.
    pub const CGROUP: usize = 5;
}

const _: () = {
    assert!(size_of::<Owner>() == 8);
    assert!(size_of::<Note>() == 56);
    assert!(size_of::<Heir>() == 24);
    assert!(size_of::<Pattern>() == 128);
};
