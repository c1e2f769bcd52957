//! Downloads on Linux.

pub mod ebpf;
