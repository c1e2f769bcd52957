// SPDX-License-Identifier: MIT

//! What the kernel programs and user space share: the layout of the maps ([`abi`]), the
//! arithmetic of the policer ([`policer`]) and what it spares ([`sparing`]), the classes of remote addresses ([`scope`]), who owns a socket
//! ([`ownership`]), and who may have how many slots ([`shares`]); of TCP connections what is known of each
//! ([`connection`]), its pace ([`pace`]), its window ([`window`]), its gate ([`gate`]) and its congestion window
//! ([`flight`]).
//! [`tuning`] has what may be tried otherwise, [`kernel`] what Linux decides.
//!
//! `no_std`, no I/O: everything here runs in the kernel as it does in a host test.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod abi;
pub mod connection;
pub mod flight;
pub mod gate;
pub mod kernel;
pub mod ownership;
pub mod pace;
pub mod policer;
pub mod scope;
pub mod shares;
pub mod sparing;
pub mod sys;
pub mod tuning;
pub mod window;
