//! Where this kernel keeps what we read of its structs, taken from its own type information.
//!
//! Rust has no CO-RE relocations for BPF, so user space looks the offsets up in
//! /sys/kernel/btf/vmlinux and hands them to the programs as constants.

use std::path::Path;

use chadthrottle_common::abi::{KernelOffsets, TcpOffsets};

/// The kernel's own BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// What the kernel tells of its structs, by what it is for: a kernel that lacks a field lacks one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// All zero where the kernel does not tell: then start times are not compared, children do not inherit in
    /// the kernel, and sockets that change hands are found by scanning only.
    pub kernel: KernelOffsets,
    /// All zero where it does not tell: then there are no levers.
    pub tcp: TcpOffsets,
    /// Whether programs can have the kernel call them for a connection's packets, in a pass over all (kernel
    /// 6.12).
    pub hears_of_packets: bool,
}

/// Looks them up.
pub fn read(vmlinux: &Path) -> Offsets {
    match std::fs::read(vmlinux) {
        Ok(btf) => find(&btf).unwrap_or_default(),
        Err(error) => {
            log::warn!("{}: {error}", vmlinux.display());
            Offsets::default()
        }
    }
}

const KIND_STRUCT: u32 = 4;

fn find(btf: &[u8]) -> Option<Offsets> {
    let header = Header::parse(btf)?;
    let types = btf.get(header.types.clone())?;
    let strings = btf.get(header.strings.clone())?;
    let names: [&[u8]; 6] = [
        b"task_struct",
        b"sock_common",
        b"sock",
        b"socket",
        b"tcp_sock",
        b"tcp_options_received",
    ];
    let [task, sock_common, sock, socket, tcp_sock, tcp_options] = structs(types, strings, names)?;
    let offset = |members: &[u8], name: &[u8]| {
        members.chunks_exact(12).find_map(|member| {
            let (name_offset, place) = (word(member, 0)?, word(member, 8)?);
            // The low 24 bits are the offset in bits, whether or not there are bit fields.
            (string(strings, name_offset)? == name).then_some((place & 0x00ff_ffff) / 8)
        })
    };
    let kernel = || {
        Some(KernelOffsets {
            task_tgid: offset(task, b"tgid")?,
            task_group_leader: offset(task, b"group_leader")?,
            task_start_boottime: offset(task, b"start_boottime")
                .or_else(|| offset(task, b"real_start_time"))?,
            task_comm: offset(task, b"comm")?,
            task_flags: offset(task, b"flags")?,
            sock_family: offset(sock_common, b"skc_family")?,
            sock_socket: offset(sock, b"sk_socket")?,
            socket_file: offset(socket, b"file")?,
        })
    };
    let tcp = || {
        Some(TcpOffsets {
            v6_remote: offset(sock_common, b"skc_v6_daddr")?,
            v6_local: offset(sock_common, b"skc_v6_rcv_saddr")?,
            max_pacing_rate: offset(sock, b"sk_max_pacing_rate")?,
            window_clamp: offset(tcp_sock, b"window_clamp")?,
            snd_cwnd_clamp: offset(tcp_sock, b"snd_cwnd_clamp")?,
            srtt_us: offset(tcp_sock, b"srtt_us")?,
            mss_cache: offset(tcp_sock, b"mss_cache")?,
            bytes_received: offset(tcp_sock, b"bytes_received")?,
            bytes_acked: offset(tcp_sock, b"bytes_acked")?,
            data_segs_out: offset(tcp_sock, b"data_segs_out")?,
            window_scales: offset(tcp_sock, b"rx_opt")? + offset(tcp_options, b"rcv_wscale")?,
            cb_flags: offset(tcp_sock, b"bpf_sock_ops_cb_flags")?,
        })
    };
    const CALLBACKS: &[u8] = b"\0TCP_BPF_SOCK_OPS_CB_FLAGS\0";
    Some(Offsets {
        kernel: kernel().unwrap_or_default(),
        tcp: tcp().unwrap_or_default(),
        hears_of_packets: strings
            .windows(CALLBACKS.len())
            .any(|text| text == CALLBACKS),
    })
}

/// Where the sections are (`struct btf_header`).
struct Header {
    types: std::ops::Range<usize>,
    strings: std::ops::Range<usize>,
}

impl Header {
    fn parse(btf: &[u8]) -> Option<Self> {
        const MAGIC: [u8; 2] = 0xeb9fu16.to_ne_bytes();
        if btf.get(..2)? != MAGIC {
            return None;
        }
        let base = word(btf, 4)? as usize;
        let section = |at: usize| {
            let start = base + word(btf, at)? as usize;
            Some(start..start + word(btf, at + 4)? as usize)
        };
        Some(Self {
            types: section(8)?,
            strings: section(16)?,
        })
    }
}

/// The members, 12 bytes each, of the structs with these names; all of them or none.
fn structs<'a, const N: usize>(
    mut types: &'a [u8],
    strings: &[u8],
    names: [&[u8]; N],
) -> Option<[&'a [u8]; N]> {
    let mut found = [None; N];
    while found.iter().any(Option::is_none) {
        let (name_offset, info) = (word(types, 0)?, word(types, 4)?);
        let (kind, len) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        // What follows the 12 bytes that all kinds have (Documentation/bpf/btf.rst).
        let extra = match kind {
            1 | 14 | 17 => 4,            // int, variable, declaration tag
            3 => 12,                     // array
            4 | 5 | 15 | 19 => len * 12, // struct, union, data section, enum64
            6 | 13 => len * 8,           // enum, function prototype
            2 | 7..=12 | 16 | 18 => 0,
            _ => return None, // a kind of a later kernel, of unknown size
        };
        let end = 12 + extra;
        if kind == KIND_STRUCT {
            let name = string(strings, name_offset)?;
            if let Some(place) = names.iter().position(|wanted| *wanted == name) {
                found[place] = Some(types.get(12..end)?);
            }
        }
        types = types.get(end..)?;
    }
    let mut members: [&[u8]; N] = [&[]; N];
    for (members, found) in members.iter_mut().zip(found) {
        *members = found?;
    }
    Some(members)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn string(strings: &[u8], at: u32) -> Option<&[u8]> {
    strings.get(at as usize..)?.split(|byte| *byte == 0).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    /// A BTF with an int, an enum, and the structs.
    fn sample() -> Vec<u8> {
        let mut strings = Vec::from(*b"\0");
        let mut name = |text: &str| {
            let at = strings.len() as u32;
            strings.extend(text.as_bytes());
            strings.push(0);
            at
        };
        let mut types = words(&[name("int"), 1 << 24, 4, 32]);
        types.extend(words(&[0, 6 << 24 | 1, 4, name("value"), 7]));
        for (struct_name, fields) in [
            (
                "task_struct",
                &[
                    ("tgid", 8),
                    ("group_leader", 24),
                    ("start_boottime", 40),
                    ("comm", 48),
                    ("flags", 4),
                ][..],
            ),
            ("sock_common", &[("skc_family", 16)][..]),
            ("sock", &[("sk_socket", 32), ("sk_max_pacing_rate", 40)][..]),
            ("socket", &[("file", 24)][..]),
            (
                "tcp_sock",
                &[("window_clamp", 48), ("snd_cwnd_clamp", 52)][..],
            ),
        ] {
            let kind = KIND_STRUCT << 24 | fields.len() as u32;
            types.extend(words(&[name(struct_name), kind, 64]));
            for (field, offset) in fields {
                types.extend(words(&[name(field), 1, offset * 8]));
            }
        }
        let (types_len, strings_len) = (types.len() as u32, strings.len() as u32);
        let mut btf = Vec::from(0xeb9fu16.to_ne_bytes());
        btf.extend([1, 0]);
        btf.extend(words(&[24, 0, types_len, types_len, strings_len]));
        btf.extend(types);
        btf.extend(strings);
        btf
    }

    #[test]
    fn the_offsets_are_found_behind_other_kinds_of_types() {
        let expected = KernelOffsets {
            task_tgid: 8,
            task_group_leader: 24,
            task_start_boottime: 40,
            task_comm: 48,
            task_flags: 4,
            sock_family: 16,
            sock_socket: 32,
            socket_file: 24,
            sock_max_pacing_rate: 40,
            tcp_window_clamp: 48,
            tcp_snd_cwnd_clamp: 52,
        };
        assert_eq!(find(&sample()), Some(expected));
    }

    #[test]
    fn a_cut_or_foreign_file_gives_nothing_and_does_not_panic() {
        let btf = sample();
        // The last string is the name of the last field, which nothing but it needs.
        for len in 0..btf.len() - 1 {
            assert_eq!(find(&btf[..len]), None, "{len}");
        }
        assert_eq!(find(b"\x7fELF and so on and on and on and on"), None);
    }

    #[test]
    fn this_kernel_tells() {
        let offsets = read(Path::new(VMLINUX));
        assert!(
            offsets.task_tgid > 0 && offsets.task_group_leader > offsets.task_tgid,
            "{offsets:?}"
        );
        assert!(
            offsets.task_start_boottime > offsets.task_group_leader,
            "{offsets:?}"
        );
        assert!(
            offsets.sock_socket > offsets.sock_family && offsets.socket_file > 0,
            "{offsets:?}"
        );
    }
}
