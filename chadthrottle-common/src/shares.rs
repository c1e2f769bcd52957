//! Slots are shared between users, so that nobody's processes take them from everybody.
//!
//! A user may have as many more as he has already only while so many are free: alone he gets half of
//! them, two that take what they can a third each. Small counts are never refused while there is
//! room. Root's processes may have them all.

use crate::abi::MAX_PROCESSES;

/// Users are counted in so many groups, by their id; those of a group share.
const GROUPS: u32 = 1_024;

/// How many words there are: one for all, then one a group.
pub const WORDS: u32 = 1 + GROUPS;

/// The word that counts all slots in use.
pub const ALL: u32 = 0;

/// The word that counts the slots of a user's group.
#[inline(always)]
pub const fn of_user(user: u32) -> u32 {
    1 + user % GROUPS
}

/// Whether a user may have one more slot who has `own` of the `used` ones.
#[inline(always)]
pub const fn is_free_for(user: u32, own: u64, used: u64) -> bool {
    user == 0 || own.saturating_add(used) < MAX_PROCESSES as u64
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{vec, vec::Vec};

    use super::*;

    /// How many slots each of so many users gets, one after the other until nobody gets more.
    fn shares(users: u32) -> Vec<u64> {
        let mut own = vec![0; users as usize];
        loop {
            let before: u64 = own.iter().sum();
            let mut used = before;
            for (user, own) in (1..).zip(&mut own) {
                if is_free_for(user, *own, used) {
                    *own += 1;
                    used += 1;
                }
            }
            if used == before {
                return own;
            }
        }
    }

    #[test]
    fn one_user_gets_half_two_a_third_each_and_some_are_left_beside_a_hundred() {
        let all = u64::from(MAX_PROCESSES);
        assert_eq!(shares(1), [all / 2]);
        let two = shares(2);
        assert!(two.iter().all(|own| own.abs_diff(all / 3) <= 1), "{two:?}");
        let left = all - shares(100).iter().sum::<u64>();
        assert!(left >= all / 102, "{left}");
    }

    #[test]
    fn roots_processes_are_never_refused() {
        assert!(is_free_for(0, 70_000, 65_535));
    }

    #[test]
    fn every_user_has_a_word_and_it_is_not_that_of_all() {
        for user in [0, 1, 1_000, 65_534, u32::MAX] {
            assert!((1..WORDS).contains(&of_user(user)), "{user}");
        }
    }
}
