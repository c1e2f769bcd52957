//! What several commands say in the same words.

use chadthrottle_common::scope::Scope;

use crate::{engine::Limit, units::Rate};

/// A limit in words: `down 1 MB/s (8 Mbit/s), up unlimited`.
pub fn describe(limit: Limit) -> String {
    let rate = |rate: Option<Rate>| rate.map_or("unlimited".to_owned(), |rate| rate.to_string());
    let scope = match limit.scope {
        Scope::DEFAULT => String::new(),
        scope => format!(", scope {}", scope_name(scope)),
    };
    format!("down {}, up {}{scope}", rate(limit.down), rate(limit.up))
}

/// The scope's word in JSON and on the command line.
pub fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::INTERNET => "internet",
        Scope::LOCAL => "local",
        Scope::ALL => "all",
        _ => "default",
    }
}
