//! The backends that limit uploads, one folder a system.

pub mod linux;
