//! Kernel tests: the real programs on the real kernel, with real packets between two network
//! namespaces. They need root, and fail where they cannot run.
//!
//! `cargo xtask test` runs most of them two at a time, each in a cgroup of its own, and the others one after the
//! other: those share the root cgroup.

mod attach;
mod attribution;
mod audit;
mod bad_input;
mod blocked_output;
mod bounds;
mod cleanup;
mod client;
mod closed_pipes;
mod containers;
mod custody;
mod debt;
mod described;
mod doctor;
mod documents;
mod ecn;
mod engine;
mod exactness;
mod faults;
mod few_colours;
mod following;
mod foreign;
mod gates;
mod headers;
mod hostile;
mod ignored_signals;
mod interfaces;
mod iperf;
mod job_control;
mod lab;
mod levers;
mod lifecycle;
mod limits;
mod listed;
mod load;
mod members;
mod mptcp;
mod names;
mod namespaces;
#[cfg(feature = "network-manager")]
mod networks;
mod no_harm;
mod observer;
mod offspring;
mod ownership;
mod program;
mod pty;
mod rejecting;
mod ruled;
mod rules;
mod run;
mod screen;
mod service;
mod short_lives;
mod shrinking;
mod silent;
mod sockets;
mod starts;
mod state;
mod systemd;
mod targets;
mod terminal;
mod traffic;
mod unseen;
mod users;
mod varlink;
mod views;
