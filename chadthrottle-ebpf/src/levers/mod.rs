//! Levers: what makes a TCP connection of a limited process slower without refusing its packets.
//!
//! User space moves one number per limit and direction, the fair rate that one connection may have. Here it
//! is applied to each: at every packet that a limited connection sends, and by a pass over all TCP sockets
//! to those that were there before, and when a limit ends. What a socket was before is noted on it, in the
//! same value that says what it has been set to.
//!
//! One lever is one file and one line of [`each`].

mod flight;
mod pace;
mod setting;
mod window;

use core::ffi::c_void;

use aya_ebpf::bindings::bpf_sock_ops;
use chadthrottle_common::{
    abi::{Crowd, Rule},
    connection::{Connection, Facts, HEARD, HEARD_BEFORE, epoch, is_busy},
    flight::USUAL,
    gate::Mode,
    ownership::{Note, Owner, RuleId},
    policer::Bucket,
    scope::Scope,
};

use crate::{
    maps::{RULES, SLOTS, TCP_OFFSETS},
    processes, sys,
};
use setting::{Context, Lever};

/// Does the same with every lever. Its number is its place in [`Connection::settings`].
macro_rules! each {
    ($act:ident, $($argument:expr),*) => {
        $act::<0, pace::Pace, _>($($argument),*);
        $act::<1, window::Window, _>($($argument),*);
        $act::<2, flight::Flight, _>($($argument),*);
    };
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
fn terms(rule: &'static Rule, class: Scope) -> Option<Terms> {
    let (joined, known) = (rule.crowd.joined.get(), rule.crowd.known.get());
    let share = |bucket: &Bucket| {
        if !Scope(bucket.scope.get() as u32).contains(class) {
            return 0;
        }
        let fair = bucket.fair_rate.get();
        if joined == 0 {
            return fair;
        }
        // Until user space knows of those that have joined.
        (fair * known).checked_div(known + joined).unwrap_or(fair)
    };
    let (down, up) = (share(&rule.ingress), share(&rule.egress));
    (down != 0 || up != 0).then_some(Terms { rule, down, up })
}

/// The window that a connection is made with, in segments. What it offers cannot be taken back,
/// and while it is used up the kernel's tuning would take it for too small.
#[inline(always)]
pub fn first_window(ops: *mut bpf_sock_ops) -> Option<u32> {
    // The round-trip time is not known yet: enough for a near one.
    const FIRST_MS: u64 = 20;
    const SEGMENT: u64 = 1_448;
    const FEWEST: u64 = 2;
    let sk = sys::connection_socket(ops);
    if sk.is_null() {
        return None;
    }
    let rate = terms(
        rule_of(limit_of_connection(sk))?,
        class_of(sys::address_of(&sk)),
    )?
    .down;
    if rate == 0 || rate > chadthrottle_common::window::FASTEST {
        return None;
    }
    let segments = rate * FIRST_MS / (1_000 * SEGMENT);
    Some(if segments > USUAL {
        USUAL as u32
    } else if segments < FEWEST {
        FEWEST as u32
    } else {
        segments as u32
    })
}

/// A connection is about to be asked for. How large the units of its window are is decided now, by
/// the largest window that it may ever have: with units of more than 256 bytes no window is less
/// than a segment, and none could be closed.
#[inline(always)]
pub fn connection_begins(ops: *mut bpf_sock_ops) {
    /// In bytes a second: of eight connections that share it, each may pause.
    const FASTEST: u64 = 8 * chadthrottle_common::window::FASTEST_PAUSING;
    let sk = sys::connection_socket(ops);
    if sk.is_null() || TCP_OFFSETS.load().window_clamp == 0 {
        return;
    }
    let address = sys::address_of(&sk);
    let down = rule_of(limit_of_connection(sk))
        .and_then(|rule| terms(rule, class_of(address)))
        .map_or(0, |terms| terms.down);
    if down != 0 && down <= FASTEST && window::Window::present(address) == 0 {
        // Windows up to 16 MB are offered in units of 256 bytes.
        window::Window::write(ops, (1 << 24) - 1);
    }
}

/// A connection is established: the socket's owner is known, and so is the round-trip time of its
/// handshake.
#[inline(always)]
pub fn connection_established(ops: *mut bpf_sock_ops) {
    let sk = sys::connection_socket(ops);
    if sk.is_null() {
        return;
    }
    let address = sys::address_of(&sk);
    let (class, limit) = (class_of(address), limit_of_connection(sk));
    let Some(terms) = rule_of(limit).and_then(|rule| terms(rule, class)) else {
        return;
    };
    let Some(connection) = sys::connection(sk, true) else {
        return;
    };
    connection.rule = limit;
    let heard_before = sys::hear_of_packets(ops);
    connection.callbacks = HEARD | if heard_before { HEARD_BEFORE } else { 0 };
    connection.class = class.0;
    let crowd = &terms.rule.crowd;
    crowd.joined.add(1);
    let now = sys::now_ns();
    connection.epoch = epoch(now);
    count(crowd, connection.epoch, [true, true]);
    let facts = facts_of(address);
    if terms.up != 0 {
        // The first flight would not be paced.
        let segments = match chadthrottle_common::flight::largest(terms.up, &facts) {
            Some(segments) => u64::from(segments),
            None => facts
                .bytes_of(terms.up)
                .checked_div(facts.full_segment)
                .unwrap_or(0),
        };
        if segments < USUAL {
            sys::set_first_flight(ops, if segments < 2 { 2 } else { segments as u32 });
        }
    }
    hold(ops, connection, address, &facts, &terms, Some(now));
}

/// A packet, say an acknowledgement, is about to leave a limited connection, and to offer its window.
/// Settings of ours are held: the kernel tunes windows (`tcp_measure_rcv_mss`, `tcp_rcv_space_adjust`), and
/// the program may set what it likes.
#[inline(always)]
pub fn packet_leaves(ops: *mut bpf_sock_ops) {
    let sk = sys::connection_socket(ops);
    if sk.is_null() {
        return;
    }
    let Some(connection) = sys::connection(sk, false) else {
        return;
    };
    let (class, limit) = (Scope(connection.class), limit_of_connection(sk));
    // What it was is put back by the pass that follows the end of a limit.
    let Some(terms) = rule_of(limit).and_then(|rule| terms(rule, class)) else {
        return;
    };
    connection.rule = limit;
    let address = sys::address_of(&sk);
    let now = sys::now_ns();
    let facts = facts_of(address);
    count_busy(connection, address, &terms, now);
    if hold(ops, connection, address, &facts, &terms, Some(now)) {
        sys::ask_for_the_header(ops);
    }
}

/// A packet that closes the window has it in its header: the window is open again from now on, for whatever
/// comes when the sender asks. Opened no sooner than it is acknowledged it would have no room for a segment
/// (`tcp_set_window_clamp` raises `rcv_ssthresh` no further than what was offered last).
#[inline(always)]
pub fn packet_has_its_window(ops: *mut bpf_sock_ops) {
    let sk = sys::connection_socket(ops);
    if sk.is_null() {
        return;
    }
    let Some(connection) = sys::connection(sk, false) else {
        return;
    };
    let class = Scope(connection.class);
    let Some(terms) = rule_of(connection.rule).and_then(|rule| terms(rule, class)) else {
        return;
    };
    let address = sys::address_of(&sk);
    let facts = facts_of(address);
    let context = Context {
        terms_up: terms.up,
        terms_down: terms.down,
        facts: &facts,
        mode: connection.gate.mode(),
        is_closed: false,
    };
    hold_setting::<1, window::Window, _>(ops, connection, address, &context);
}

/// A TCP socket in a pass over all of them: a connection that was there before its limit is held from now
/// on, one whose limit has ended is put back.
#[inline(always)]
pub fn pass(sk: *mut c_void) {
    let address = sys::address_of(&sk);
    let class = class_of(address);
    let limit = match sys::note_of(sk) {
        Some(note) => limit_of(note),
        None => sys::connection(sk, false).map_or(0, |it| processes::still_set(it.rule)),
    };
    let Some(terms) = rule_of(limit).and_then(|rule| terms(rule, class)) else {
        put_back(sk);
        return;
    };
    let Some(connection) = sys::connection(sk, true) else {
        return;
    };
    (connection.class, connection.rule) = (class.0, limit);
    if connection.callbacks & HEARD == 0 {
        let flags = sys::callback_flags(address);
        if flags & sys::WRITE_HDR_OPT != 0 {
            connection.callbacks |= HEARD_BEFORE | HEARD;
        } else if sys::set_callback_flags(sk, flags | sys::WRITE_HDR_OPT) {
            connection.callbacks |= HEARD;
        }
    }
    let now = sys::now_ns();
    let facts = facts_of(address);
    count_busy(connection, address, &terms, now);
    // Only an acknowledgement can close a window, and open it again.
    hold(sk, connection, address, &facts, &terms, None);
}

/// Puts a socket back to what it was, where it is still as we have set it. Says whether there was anything to
/// put back.
#[inline(always)]
pub fn put_back(sk: *mut c_void) -> bool {
    let Some(connection) = sys::connection(sk, false) else {
        return false;
    };
    let address = sys::address_of(&sk);
    each!(put_setting_back, sk, connection, address);
    if connection.callbacks == HEARD {
        let flags = sys::callback_flags(address) & !sys::WRITE_HDR_OPT;
        sys::set_callback_flags(sk, flags);
    }
    sys::forget_connection(sk);
    true
}

/// Holds a connection to its terms; `acknowledges` is when a packet leaves that can close its window, if one
/// does. Says whether it is closed.
#[inline(always)]
fn hold<C>(
    ctx: *mut C,
    connection: &mut Connection,
    address: u64,
    facts: &Facts,
    terms: &Terms,
    acknowledges: Option<u64>,
) -> bool {
    let mode = if terms.down == 0 {
        Mode::Open
    } else {
        let may_close = connection.callbacks & HEARD != 0 && connection.gate.may_close();
        chadthrottle_common::window::mode(terms.down, facts, may_close)
    };
    connection.gate.set_mode(mode);
    let context = Context {
        terms_up: terms.up,
        terms_down: terms.down,
        facts,
        mode,
        is_closed: acknowledges.is_some_and(|now| connection.gate.closes(now)),
    };
    each!(hold_setting, ctx, connection, address, &context);
    context.is_closed
}

#[inline(always)]
fn hold_setting<const N: usize, L: Lever, C>(
    ctx: *mut C,
    connection: &mut Connection,
    address: u64,
    context: &Context<'_>,
) {
    if let Some(setting) = connection.settings.get_mut(N) {
        setting::hold::<L, C>(ctx, setting, address, L::wanted(context));
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

/// Counts the connection once an epoch, where it has carried a good part of what it may.
#[inline(always)]
fn count_busy(connection: &mut Connection, address: u64, terms: &Terms, now: u64) {
    let this = epoch(now);
    let epochs = this.wrapping_sub(connection.epoch);
    if epochs == 0 {
        return;
    }
    let offsets = TCP_OFFSETS.load();
    let received: u64 = sys::read_kernel(address + u64::from(offsets.bytes_received));
    let acknowledged: u64 = sys::read_kernel(address + u64::from(offsets.bytes_acked));
    let down = is_busy(
        received.wrapping_sub(connection.received),
        epochs,
        terms.down,
    );
    let up = is_busy(
        acknowledged.wrapping_sub(connection.acknowledged),
        epochs,
        terms.up,
    );
    connection.epoch = this;
    connection.received = received;
    connection.acknowledged = acknowledged;
    let crowd = &terms.rule.crowd;
    count(crowd, this, [down, up]);
    if down
        && connection.gate.mode().pauses()
        && let Some(pausing) = crowd.pausing.get((this & 1) as usize)
    {
        pausing.add(1);
    }
}

/// Counts a connection in an epoch: one that downloads, one that uploads.
#[inline(always)]
fn count(crowd: &Crowd, epoch: u64, [down, up]: [bool; 2]) {
    let parity = (epoch & 1) as usize;
    for (counts, counter) in [(down, crowd.down.get(parity)), (up, crowd.up.get(parity))] {
        if let Some(counter) = counter
            && counts
        {
            counter.add(1);
        }
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
    const AF_INET: u16 = 2;
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
