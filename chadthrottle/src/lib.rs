// SPDX-License-Identifier: MIT

//! ChadThrottle: hold a process, and only it, to a download and an upload limit.
//!
//! See ARCHITECTURE.md for a map, and docs/architecture.md for the invariants.
#![deny(unsafe_code)]

pub mod backends;
pub mod cli;
pub mod client;
pub mod commands;
pub mod config;
pub mod doctor;
pub mod engine;
pub mod error;
pub mod levers;
pub mod logging;
pub mod model;
pub mod output;
pub mod process;
pub mod protocol;
mod restraint;
pub mod reversal;
pub mod rules;
pub mod server;
pub mod service;
pub mod session;
#[expect(unsafe_code, reason = "the one place for it")]
pub mod sys;
pub mod text;
pub mod tui;
pub mod units;
