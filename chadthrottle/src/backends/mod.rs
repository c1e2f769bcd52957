//! What acts on the kernel.

pub mod throttle;
