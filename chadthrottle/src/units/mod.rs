//! Rates, sizes and durations: what users type, and how they read it back.

mod duration;
mod format;
mod rate;

pub use duration::{ParseDurationError, parse_duration};
pub use format::{Style, format_bytes, format_rate};
pub use rate::{ParseRateError, Rate, written};
