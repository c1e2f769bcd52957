//! The backends that limit downloads, one folder a system.

pub mod linux;
