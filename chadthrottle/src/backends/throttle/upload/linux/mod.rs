//! Uploads on Linux.

pub mod ebpf;
