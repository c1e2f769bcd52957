//! What signals do to us and to what we start, beyond catching them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};

/// Highest number of a signal (include/uapi/asm-generic/signal.h, `_NSIG`).
const LAST: i32 = 64;

/// The signals that were ignored when the program was started, one bit each.
static IGNORED: AtomicU64 = AtomicU64::new(0);

/// Before `main`, since Rust's runtime has SIGPIPE ignored then, whoever started us.
#[used]
// SAFETY: the section holds pointers to functions like this one, which needs nothing that has to be
// set up first.
#[unsafe(link_section = ".init_array")]
static NOTE: extern "C" fn() = note_ignored;

extern "C" fn note_ignored() {
    let mut ignored = 0;
    for signal in 1..=LAST {
        // SAFETY: all zeroes are a valid `sigaction`.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: it only writes to `action`, which outlives the call.
        let result = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
        if result == 0 && action.sa_sigaction == libc::SIG_IGN {
            ignored |= 1 << (signal - 1);
        }
    }
    IGNORED.store(ignored, Relaxed);
    // Ignored, it would have the kernel tell nobody how our children end.
    // SAFETY: no handler is set.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Whether whoever started us had this signal ignored, as `nohup` does with SIGHUP.
pub fn ignored_at_start(signal: i32) -> bool {
    (1..=LAST).contains(&signal) && IGNORED.load(Relaxed) >> (signal - 1) & 1 == 1
}

/// Ignores again what was ignored at the start. Only makes system calls, so it may be called
/// between fork and exec.
pub fn ignore_as_at_start() {
    for signal in (1..=LAST).filter(|signal| ignored_at_start(*signal)) {
        // SAFETY: no handler is set.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Stops this process as Ctrl-Z does, and returns when it is continued. It returns at once where
/// nobody would continue it (its process group is orphaned) or where SIGTSTP is to be ignored.
///
/// # Errors
/// Where the kernel refuses.
pub fn stop_self() -> nix::Result<()> {
    if ignored_at_start(Signal::SIGTSTP as i32) {
        return Ok(());
    }
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is set.
    let before = unsafe { sigaction(Signal::SIGTSTP, &default) }?;
    let stopped = raise(Signal::SIGTSTP);
    // SAFETY: the handler was in place before.
    unsafe { sigaction(Signal::SIGTSTP, &before) }?;
    stopped
}
