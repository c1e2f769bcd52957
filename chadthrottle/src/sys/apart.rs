//! Threads that may hang in the kernel for ever, where not even SIGKILL ends them.
//!
//! Whoever asks about a socket waits while a program has it locked (`lock_sock`), and a program that sends from memory
//! that never comes, of a file system whose server is silent, has it locked for as long as it likes. A thread that waits
//! keeps its process from ending, and with it every descriptor of the process: programs would stay attached, and the lock
//! would stay taken. So such a thread has a table of descriptors of its own, with next to nothing in it. It must not log:
//! the number of the log's descriptor may be another file there.

use std::{os::fd::RawFd, thread};

use nix::sched::{CloneFlags, unshare};

/// Does something that may hang in a thread of its own, which has only these descriptors, and those of standard streams.
/// What it gives must hold none. `None` where there is no such thread to be had.
pub fn apart<T: Send>(keep: &[RawFd], act: impl FnOnce() -> T + Send) -> Option<T> {
    let kept = keep.iter().chain(&[0, 1, 2]);
    let mut keep: Vec<u32> = kept.map(|fd| fd.unsigned_abs()).collect();
    keep.sort_unstable();
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, || {
            unshare(CloneFlags::CLONE_FILES).ok()?;
            close_all_but(&keep);
            Some(act())
        });
        thread.ok()?.join().ok().flatten()
    })
}

/// Closes all descriptors but these, in ascending order. Needs a table of the thread's own.
fn close_all_but(keep: &[u32]) {
    let gaps = keep.windows(2).filter_map(|pair| match *pair {
        [before, after] if before + 1 < after => Some((before + 1, after - 1)),
        _ => None,
    });
    let last = keep.last().map(|last| (last + 1, u32::MAX));
    for (first, last) in gaps.chain(last) {
        // SAFETY: the table is this thread's alone, and it uses none of these. Before kernel 5.9 there is no such call,
        // and they stay open.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        io::{Read, Seek, Write},
        os::fd::AsRawFd,
    };

    #[test]
    fn it_has_what_it_is_given_and_nothing_else_and_others_keep_theirs() {
        let mut files = [1, 2, 3].map(|_| tempfile::tempfile().unwrap());
        let [first, kept, last] = &files;
        let open = |file: &File| nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_GETFD).is_ok();
        let seen = apart(&[kept.as_raw_fd()], || {
            let mut kept = kept;
            kept.write_all(b"x").unwrap();
            // Numbers that the thread opens itself may be theirs.
            [open(first), open(kept), open(last)]
        });
        assert_eq!(seen, Some([false, true, false]));
        for file in &mut files {
            file.rewind().unwrap();
            file.read_to_end(&mut Vec::new()).unwrap();
        }
    }
}
