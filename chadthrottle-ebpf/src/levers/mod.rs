// SPDX-License-Identifier: MIT OR GPL-2.0-only

//! Levers: what makes a TCP connection of a limited process slower without refusing its packets.
//!
//! User space moves one number per limit and direction, the fair rate that one connection may have. Here it
//! is applied to each: at every packet that a limited connection sends, and by a pass over all TCP sockets
//! to those that were there before, and when a limit ends. What a socket was before is noted on it, in the
//! same value that says what it has been set to.
//!
//! One lever is one file and one line of `levers!`.

mod flight;
mod pace;
mod setting;
mod window;

use core::ffi::c_void;

use aya_ebpf::bindings::bpf_sock_ops;
use chadthrottle_common::{
    abi::Rule,
    connection::{Connection, Facts, Hearing, SETTINGS, epoch, is_busy, new_ns},
    gate::{Mode, quiet_ns},
    kernel::{AF_INET, INITIAL_WINDOW, OPEN_STATES},
    ownership::{Note, Owner, RuleId},
    policer::Bucket,
    scope::Scope,
    sys::Shared,
    tuning::{crowd::LONGEST_NEW_NS, window::SMALL_UNITS},
};

use crate::{
    maps::{RULES, SLOTS, TCP_OFFSETS},
    processes, sys,
};
use setting::{Context, Lever};

/// The levers, each with its number: its place in [`Connection::settings`].
macro_rules! levers {
    ($($number:literal: $lever:ty,)*) => {
        const _: () = {
            let mut used = [false; SETTINGS];
            $(
                assert!($number < SETTINGS, "a note has no room for that many levers");
                assert!(!used[$number], "two levers have one number");
                used[$number] = true;
            )*
        };

        /// Holds each where it is wanted.
        #[inline(always)]
        fn hold_each<C>(ctx: *mut C, connection: &mut Connection, address: u64, context: &Context) {
            $(hold_setting::<$number, $lever, C>(ctx, connection, address, context);)*
        }

        /// Puts each back to what it was.
        #[inline(always)]
        fn put_each_back<C>(ctx: *mut C, connection: &mut Connection, address: u64) {
            $(put_setting_back::<$number, $lever, C>(ctx, connection, address);)*
        }
    };
}

levers! {
    0: pace::Pace,
    1: window::Window,
    2: flight::Flight,
}

/// A limit, as it is for one connection.
struct Terms {
    rule: &'static Rule,
    /// What it may receive, in bytes a second; 0: as much as it likes.
    down: u64,
    /// What it may send.
    up: u64,
}

/// The limit of the process that the socket belongs to, as a [`RuleId`]; 0: it has none.
#[inline(always)]
fn limit_of(note: &Note) -> u64 {
    let owner = note.owner.get();
    match SLOTS.get(Owner::from_word(owner).slot) {
        Some(slot) if processes::is_of(slot, owner) => slot.egress.rule.get(),
        // Where the owner has ended, his limit goes on to hold.
        _ => processes::still_set(note.rule.get()),
    }
}

/// The limit of a connection that the kernel calls us for.
#[inline(always)]
fn limit_of_connection(sk: *mut c_void) -> u64 {
    let note = sys::note_of(sk).or_else(|| sys::note_of_parent(sk));
    note.map_or(0, limit_of)
}

/// Its rule, where it has one and levers may be set.
#[inline(always)]
fn rule_of(limit: u64) -> Option<&'static Rule> {
    match RuleId::from_word(limit).index {
        0 => None,
        index if sys::levers_are_on() => RULES.get(index),
        _ => None,
    }
}

/// What the rule allows a connection to an address of that class; `None`: as much as it likes.
#[inline(always)]
fn terms(rule: &'static Rule, class: Scope, is_new: bool) -> Option<Terms> {
    let share = |bucket: &Bucket| {
        if !Scope(bucket.scope.get() as u32).contains(class) {
            return 0;
        }
        let fair = bucket.fair_rate.get();
        if !is_new {
            return fair;
        }
        let (new, known) = (rule.crowd.new.get(), rule.crowd.known.get());
        (fair * known).checked_div(known + new).unwrap_or(fair)
    };
    let (down, up) = (share(&rule.ingress), share(&rule.egress));
    (down != 0 || up != 0).then_some(Terms { rule, down, up })
}

/// The same for a connection that is about to be made.
#[inline(always)]
fn terms_when_new(sk: *mut c_void) -> Option<Terms> {
    let rule = rule_of(limit_of_connection(sk))?;
    terms(rule, class_of(sys::address_of(&sk)), true)
}

/// The window that a connection is made with, in segments.
#[inline(always)]
pub fn first_window(ops: *mut bpf_sock_ops) -> Option<u32> {
    let sk = sys::connection_socket(ops);
    if sk.is_null() {
        return None;
    }
    let segments = chadthrottle_common::window::first(terms_when_new(sk)?.down)?;
    Some(segments as u32)
}

/// A connection is about to be asked for. How large the units of its window are is decided now, by the largest window
/// that it may ever have.
#[inline(always)]
pub fn connection_begins(ops: *mut bpf_sock_ops) {
    let sk = sys::connection_socket(ops);
    if sk.is_null() || TCP_OFFSETS.load().window_clamp == 0 {
        return;
    }
    let address = sys::address_of(&sk);
    let down = terms_when_new(sk).map_or(0, |terms| terms.down);
    let has_small = chadthrottle_common::window::has_small_units(down);
    if has_small && window::Window::present(address) == 0 {
        window::Window::write(ops, u64::from(SMALL_UNITS));
    }
}

/// What becomes of a limited connection that the kernel calls us for.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Event {
    /// It is established: its owner is known, and so is the round-trip time of its handshake.
    Established,
    /// A packet, say an acknowledgement, is about to leave, and to offer the window.
    PacketLeaves,
    /// That packet has closed the window, and has it in its header: it is open again from now on, for whatever
    /// comes when the sender asks. Opened no sooner than that is acknowledged it would have no room for a segment
    /// (`tcp_set_window_clamp` raises `rcv_ssthresh` no further than what was offered last).
    PacketHasItsWindow,
}

/// Holds a connection to its terms, from its beginning on and again at each packet: the kernel tunes windows
/// (`tcp_measure_rcv_mss`, `tcp_rcv_space_adjust`), and the program may set what it likes.
#[inline(always)]
pub fn connection(ops: *mut bpf_sock_ops, event: Event) {
    let sk = sys::connection_socket(ops);
    if sk.is_null() {
        return;
    }
    let limit = limit_of_connection(sk);
    let Some(rule) = rule_of(limit) else {
        // Its limit has ended, or it is another process's by now that has none.
        if event == Event::PacketLeaves {
            put_back_at_packet(ops, sk);
        }
        return;
    };
    let Some(connection) = sys::connection(sk, event == Event::Established) else {
        return;
    };
    let address = sys::address_of(&sk);
    let now = sys::now_ns();
    if event == Event::Established {
        rule.crowd.new.add(1);
        // A socket that was used before may have the flag from us.
        let others = sys::hear_of_packets(ops) && connection.hearing != Hearing::Ours;
        connection.hearing = if others {
            Hearing::Others
        } else {
            Hearing::Ours
        };
        (connection.is_download, connection.is_upload) = (false, false);
        connection.class = class_of(address).0;
        connection.made_ns = now;
    }
    connection.rule = limit;
    let event = sys::noted(&mut connection.event, event as u64);
    let facts = facts_of(address);
    let is_new = is_new(connection, now, &facts);
    let Some(terms) = terms(rule, Scope(connection.class), is_new) else {
        return;
    };
    if event == Event::Established as u64 && terms.up != 0 {
        // The first flight would not be paced.
        let segments = match chadthrottle_common::flight::largest(terms.up, &facts) {
            Some(segments) => u64::from(segments),
            None => facts
                .bytes_of(terms.up)
                .checked_div(facts.full_segment)
                .unwrap_or(0),
        };
        if segments < INITIAL_WINDOW {
            sys::set_first_flight(ops, if segments < 2 { 2 } else { segments as u32 });
        }
    }
    count_busy(connection, address, &terms, now);
    let leaves = event == Event::PacketLeaves as u64;
    if hold(ops, connection, address, &facts, &terms, now, leaves) {
        sys::ask_for_the_header(ops);
    }
    if leaves
        && connection.gate.awaits()
        && !is_hushed(sk, connection, now)
        && connection.gate.hushes()
    {
        hush(sk, now, &facts);
    }
}

/// Whether a socket is to send nothing at `now`. Where it was until then, and nothing has come, it is not again.
#[inline(always)]
fn is_hushed(sk: *mut c_void, connection: &Connection, now: u64) -> bool {
    let Some(note) = sys::note_of(sk) else {
        return false;
    };
    let until = note.hushed_ns.get();
    if until != 0 && until <= now {
        note.hushed_ns.set(0);
        connection.gate.awaits_no_more();
    }
    now < until
}

/// Has a socket send nothing until something comes, for long enough that the other end asks for room.
#[inline(always)]
fn hush(sk: *mut c_void, now: u64, facts: &Facts) {
    if let Some(note) = sys::note_of(sk) {
        note.hushed_ns.set(now + quiet_ns(facts.round_trip_us));
    }
}

/// A TCP socket in a pass over all of them: a connection that was there before its limit is held from now
/// on, one whose limit has ended is put back.
#[inline(always)]
pub fn pass(sk: *mut c_void) {
    let address = sys::address_of(&sk);
    let state = sys::read_kernel::<u8>(address + u64::from(TCP_OFFSETS.load().state));
    // What a listener has its connections inherit.
    if OPEN_STATES >> (state & 31) & 1 == 0 {
        put_back(sk);
        return;
    }
    let class = class_of(address);
    let limit = match sys::note_of(sk) {
        Some(note) => limit_of(note),
        None => sys::connection(sk, false).map_or(0, |it| processes::still_set(it.rule)),
    };
    let Some(terms) = rule_of(limit).and_then(|rule| terms(rule, class, false)) else {
        put_back(sk);
        return;
    };
    let Some(connection) = sys::connection(sk, true) else {
        return;
    };
    (connection.class, connection.rule) = (class.0, limit);
    if connection.hearing == Hearing::Nobody {
        let flags = sys::callback_flags(address);
        if flags & sys::WRITE_HDR_OPT != 0 {
            connection.hearing = Hearing::Others;
        } else if sys::set_callback_flags(sk, flags | sys::WRITE_HDR_OPT) {
            connection.hearing = Hearing::Ours;
        }
    }
    let now = sys::now_ns();
    let facts = facts_of(address);
    count_busy(connection, address, &terms, now);
    // Only an acknowledgement can close a window, and open it again.
    hold(sk, connection, address, &facts, &terms, now, false);
}

/// Puts a socket of a pass back to what it was, where it is still as we have set it. Says whether there was
/// anything to put back.
#[inline(always)]
pub fn put_back(sk: *mut c_void) -> bool {
    let Some(connection) = sys::connection(sk, false) else {
        return false;
    };
    let address = sys::address_of(&sk);
    put_each_back(sk, connection, address);
    if connection.gate.awaits() {
        hush(sk, sys::now_ns(), &connection.facts);
    }
    let is_ours = connection.hearing == Hearing::Ours;
    let flags = sys::callback_flags(address) & !sys::WRITE_HDR_OPT;
    // Kernels before 6.12 take no flags here: the next packet sees to it.
    if !is_ours || sys::set_callback_flags(sk, flags) {
        sys::forget_connection(sk);
    }
    true
}

/// The same for a connection of which a packet leaves.
#[inline(always)]
fn put_back_at_packet(ops: *mut bpf_sock_ops, sk: *mut c_void) {
    let Some(connection) = sys::connection(sk, false) else {
        return;
    };
    let address = sys::address_of(&sk);
    put_each_back(ops, connection, address);
    if connection.gate.awaits() {
        hush(sk, sys::now_ns(), &connection.facts);
    }
    if connection.hearing == Hearing::Ours {
        sys::hear_no_more(ops);
    }
    sys::forget_connection(sk);
}

/// Holds a connection to its terms at `now`; `leaves`: a packet does, and can close its window. Says whether it is
/// closed.
#[inline(always)]
fn hold<C>(
    ctx: *mut C,
    connection: &mut Connection,
    address: u64,
    facts: &Facts,
    terms: &Terms,
    now: u64,
    leaves: bool,
) -> bool {
    connection.facts = *facts;
    connection
        .gate
        .note_sent(now, facts.segments_sent.into(), facts.round_trip_us);
    let down = sys::noted(&mut connection.down, terms.down);
    let up = sys::noted(&mut connection.up, terms.up);
    let mode = if down == 0 {
        Mode::Open
    } else {
        let may_close = connection.hearing != Hearing::Nobody
            && connection.gate.may_close(now, facts.round_trip_us);
        chadthrottle_common::window::mode(down, &sys::again(&mut connection.facts), may_close)
    };
    connection.gate.set_mode(mode);
    let young = now.wrapping_sub(connection.made_ns) < LONGEST_NEW_NS;
    let limit_tat_ns = terms.rule.ingress.tat_ns.get();
    let context = Context {
        terms_up: up,
        terms_down: down,
        facts: *facts,
        // As noted.
        mode: connection.gate.mode(),
        is_closed: leaves && connection.gate.closes(now, limit_tat_ns, young),
    };
    hold_each(ctx, connection, address, &context);
    context.is_closed
}

#[inline(always)]
fn hold_setting<const N: usize, L: Lever, C>(
    ctx: *mut C,
    connection: &mut Connection,
    address: u64,
    context: &Context,
) {
    let context = Context {
        facts: sys::again(&mut connection.facts),
        ..*context
    };
    if let Some(setting) = connection.settings.get_mut(N) {
        setting::hold::<L, C>(ctx, setting, address, L::wanted(&context));
    }
}

#[inline(always)]
fn put_setting_back<const N: usize, L: Lever, C>(
    ctx: *mut C,
    connection: &mut Connection,
    address: u64,
) {
    if let Some(setting) = connection.settings.get_mut(N) {
        setting::put_back::<L, C>(ctx, setting, address);
    }
}

/// Whether the connection has been made a moment ago and has not carried anything to speak of.
#[inline(always)]
fn is_new(connection: &Connection, now: u64, facts: &Facts) -> bool {
    !connection.is_download
        && !connection.is_upload
        && now.wrapping_sub(connection.made_ns) < new_ns(facts.round_trip_us)
}

/// Counts the connection in an epoch once it has carried a good part of what it may.
#[inline(always)]
fn count_busy(connection: &mut Connection, address: u64, terms: &Terms, now: u64) {
    let this = epoch(now);
    if connection.epoch == this && connection.is_download && connection.is_upload {
        return;
    }
    let offsets = TCP_OFFSETS.load();
    let received: u64 = sys::read_kernel(address + u64::from(offsets.bytes_received));
    let acknowledged: u64 = sys::read_kernel(address + u64::from(offsets.bytes_acked));
    if connection.epoch != this {
        connection.epoch = this;
        connection.received = received;
        connection.acknowledged = acknowledged;
        (connection.is_download, connection.is_upload) = (false, false);
        return;
    }
    let crowd = &terms.rule.crowd;
    let counts = |counters: &[Shared; 2]| {
        if let Some(counter) = counters.get((this & 1) as usize) {
            counter.add(1);
        }
    };
    let came = received.wrapping_sub(connection.received);
    if !connection.is_download && is_busy(came, terms.down) {
        connection.is_download = true;
        counts(&crowd.down);
        if connection.gate.mode().pauses() {
            counts(&crowd.pausing);
        }
    }
    let went = acknowledged.wrapping_sub(connection.acknowledged);
    if !connection.is_upload && is_busy(went, terms.up) {
        connection.is_upload = true;
        counts(&crowd.up);
    }
}

#[inline(always)]
fn facts_of(address: u64) -> Facts {
    let offsets = TCP_OFFSETS.load();
    let word = |offset: u32| u64::from(sys::read_kernel::<u32>(address + u64::from(offset)));
    // Both scales in a byte: ours in the high half.
    let scales = sys::read_kernel::<u8>(address + u64::from(offsets.window_scales));
    Facts {
        // It has three fraction bits.
        round_trip_us: word(offsets.srtt_us) >> 3,
        full_segment: word(offsets.mss_cache),
        window_unit: 1 << (scales >> 4),
        segments_sent: word(offsets.data_segs_out) as u32,
    }
}

/// The class of the other end. A connection with this machine itself has one address twice.
#[inline(always)]
fn class_of(address: u64) -> Scope {
    use chadthrottle_common::scope;
    /// `sock_common.skc_daddr` and `skc_rcv_saddr`, with which a `struct sock` begins.
    const REMOTE_V4: u64 = 0;
    const LOCAL_V4: u64 = 4;
    let family = u64::from(crate::maps::KERNEL_OFFSETS.load().sock_family);
    if sys::read_kernel::<u16>(address + family) == AF_INET {
        let remote: [u8; 4] = sys::read_kernel(address + REMOTE_V4);
        let local: [u8; 4] = sys::read_kernel(address + LOCAL_V4);
        if remote == local {
            return Scope::LOOPBACK;
        }
        return scope::classify_v4(remote);
    }
    let offsets = TCP_OFFSETS.load();
    let remote: [[u8; 4]; 4] = sys::read_kernel(address + u64::from(offsets.v6_remote));
    let local: [[u8; 4]; 4] = sys::read_kernel(address + u64::from(offsets.v6_local));
    if remote == local {
        return Scope::LOOPBACK;
    }
    scope::classify_v6(remote)
}
