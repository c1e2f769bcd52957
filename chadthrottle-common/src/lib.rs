//! What the kernel programs and user space share: the layout of the maps ([`abi`]), the
//! arithmetic of the policer ([`policer`]), of gates ([`gate`]) and of congestion windows
//! ([`flight`]), what is done for senders that stay slow after a limit ([`undo`]), and the classes of
//! remote addresses ([`scope`]).
//!
//! `no_std`, no I/O: everything here runs in the kernel as it does in a host test.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod abi;
pub mod flight;
pub mod gate;
pub mod policer;
pub mod scope;
pub mod sys;
pub mod undo;
