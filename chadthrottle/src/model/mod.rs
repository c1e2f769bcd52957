//! What the parts of the program tell each other: limits, samples, abilities.
//!
//! Architecture invariant: a leaf. Nothing here knows the kernel, /proc or the engine.

mod ability;
mod connections;
mod direction;
mod key;
mod limit;
mod snapshot;
#[cfg(test)]
pub mod testing;

pub use ability::Ability;
pub use connections::Connections;
pub use direction::{Both, Direction};
pub use key::ProcessKey;
pub use limit::{Limit, LimitId, scope_name, scope_of};
pub use snapshot::{
    Carried, EngineInfo, LimitSample, Origin, ProcessSample, RuleSample, Ruled, Snapshot, Traffic,
    Unmatched,
};
