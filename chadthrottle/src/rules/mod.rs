//! Rules: limits that last, written in files and chosen by name, time and profile.
//!
//! Nothing here knows an engine. What is read becomes [`Rule`]s in the order in which they are tried; a [`Calendar`]
//! says which of them are on; [`edit`] writes changes back without touching the rest of a file.

mod calendar;
pub mod edit;
mod mistake;
mod network_manager;
mod networks;
mod places;
mod read;
#[cfg(test)]
mod round_trip_tests;
mod route;
mod rule;
mod stamp;
#[cfg(test)]
mod testing;
mod units;
mod write;

pub use calendar::{Calendar, CalendarError};
pub use mistake::Mistake;
pub use network_manager::{NetworkManager, Said, Silence, Wanted};
pub use networks::{Networks, OnNetworks};
pub use places::Places;
pub use places::{Problem, Rules};
pub use rule::{Rule, Share, Why};
pub use stamp::Stamp;
pub use units::{UnitRules, running};
pub use write::WriteError;
