//! The two directions, and what there is for each.

use std::ops::{Add, AddAssign, Index, IndexMut};

use serde::{Deserialize, Serialize};

/// Which way bytes go, as the process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Download: what it receives.
    Down,
    /// Upload: what it sends.
    Up,
}

impl Direction {
    /// Both, the download first, as everywhere.
    pub const ALL: [Self; 2] = [Self::Down, Self::Up];
}

/// One of something for each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Both<T> {
    /// For downloads.
    pub down: T,
    /// For uploads.
    pub up: T,
}

impl<T> Both<T> {
    /// What there is for each direction.
    pub fn from_fn(mut of: impl FnMut(Direction) -> T) -> Self {
        let [down, up] = Direction::ALL.map(&mut of);
        Self { down, up }
    }

    /// Applies a function to each.
    pub fn map<U>(self, mut of: impl FnMut(T) -> U) -> Both<U> {
        Both {
            down: of(self.down),
            up: of(self.up),
        }
    }
}

impl<T> Index<Direction> for Both<T> {
    type Output = T;

    fn index(&self, direction: Direction) -> &T {
        match direction {
            Direction::Down => &self.down,
            Direction::Up => &self.up,
        }
    }
}

impl<T> IndexMut<Direction> for Both<T> {
    fn index_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Down => &mut self.down,
            Direction::Up => &mut self.up,
        }
    }
}

impl<T: Add<Output = T>> Add for Both<T> {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            down: self.down + other.down,
            up: self.up + other.up,
        }
    }
}

impl<T: AddAssign> AddAssign for Both<T> {
    fn add_assign(&mut self, other: Self) {
        self.down += other.down;
        self.up += other.up;
    }
}
