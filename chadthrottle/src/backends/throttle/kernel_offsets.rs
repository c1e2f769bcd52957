//! Where this kernel keeps what we read of its structs, taken from its own type information.
//!
//! Rust has no CO-RE relocations for BPF, so user space looks the offsets up in
//! /sys/kernel/btf/vmlinux and hands them to the programs as constants.

use std::{collections::HashMap, path::Path};

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
    /// Whether they may ask for the MPTCP socket of a subflow (kernel 5.19).
    pub finds_mptcp: bool,
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
const KIND_UNION: u32 = 5;

fn find(btf: &[u8]) -> Option<Offsets> {
    let types = Types::parse(btf)?;
    let has = |name: &[u8]| types.strings.windows(name.len()).any(|found| found == name);
    Some(Offsets {
        kernel: kernel(&types).unwrap_or_default(),
        tcp: tcp(&types).unwrap_or_default(),
        hears_of_packets: has(b"\0TCP_BPF_SOCK_OPS_CB_FLAGS\0"),
        finds_mptcp: types.structs.contains_key(&b"mptcp_sock"[..])
            && has(b"\0bpf_skc_to_mptcp_sock\0"),
    })
}

fn kernel(types: &Types<'_>) -> Option<KernelOffsets> {
    let offset = |path: &[&str]| types.offset(path);
    // By itself each may be missing, all that it goes with are missing with it.
    let optional = |path: &[&str]| offset(path).unwrap_or(0);
    Some(KernelOffsets {
        task_tgid: offset(&["task_struct", "tgid"])?,
        task_group_leader: offset(&["task_struct", "group_leader"])?,
        task_start_boottime: offset(&["task_struct", "start_boottime"])
            .or_else(|| offset(&["task_struct", "real_start_time"]))?,
        task_comm: offset(&["task_struct", "comm"])?,
        task_flags: offset(&["task_struct", "flags"])?,
        sock_family: offset(&["sock_common", "skc_family"])?,
        sock_socket: offset(&["sock", "sk_socket"])?,
        socket_file: offset(&["socket", "file"])?,
        task_real_parent: optional(&["task_struct", "real_parent"]),
        task_cred: optional(&["task_struct", "cred"]),
        cred_euid: optional(&["cred", "euid"]),
        task_mm: optional(&["task_struct", "mm"]),
        mm_exe_file: optional(&["mm_struct", "exe_file"]),
        file_inode: optional(&["file", "f_inode"]),
        inode_number: optional(&["inode", "i_ino"]),
        inode_super_block: optional(&["inode", "i_sb"]),
        super_block_device: optional(&["super_block", "s_dev"]),
        sock_type: optional(&["sock", "sk_type"]),
        sock_lock_owned: optional(&["sock", "sk_lock", "owned"]),
    })
}

fn tcp(types: &Types<'_>) -> Option<TcpOffsets> {
    let offset = |path: &[&str]| types.offset(path);
    Some(TcpOffsets {
        state: offset(&["sock_common", "skc_state"])?,
        v6_remote: offset(&["sock_common", "skc_v6_daddr"])?,
        v6_local: offset(&["sock_common", "skc_v6_rcv_saddr"])?,
        max_pacing_rate: offset(&["sock", "sk_max_pacing_rate"])?,
        window_clamp: offset(&["tcp_sock", "window_clamp"])?,
        snd_cwnd_clamp: offset(&["tcp_sock", "snd_cwnd_clamp"])?,
        snd_cwnd: offset(&["tcp_sock", "snd_cwnd"])?,
        srtt_us: offset(&["tcp_sock", "srtt_us"])?,
        mss_cache: offset(&["tcp_sock", "mss_cache"])?,
        bytes_received: offset(&["tcp_sock", "bytes_received"])?,
        bytes_acked: offset(&["tcp_sock", "bytes_acked"])?,
        data_segs_out: offset(&["tcp_sock", "data_segs_out"])?,
        window_scales: offset(&["tcp_sock", "rx_opt", "rcv_wscale"])?,
        cb_flags: offset(&["tcp_sock", "bpf_sock_ops_cb_flags"])?,
    })
}

/// The structs that something is looked up in.
const STRUCTS: [&str; 12] = [
    "task_struct",
    "sock_common",
    "sock",
    "socket",
    "tcp_sock",
    "tcp_options_received",
    "cred",
    "mm_struct",
    "file",
    "inode",
    "super_block",
    "mptcp_sock",
];

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

/// All types, by their id, and the structs of [`STRUCTS`].
struct Types<'a> {
    /// From the second on; the first, "void", has no entry.
    all: Vec<Type<'a>>,
    strings: &'a [u8],
    structs: HashMap<&'a [u8], usize>,
}

/// One type (`struct btf_type`).
struct Type<'a> {
    kind: u32,
    /// The type that it stands for, where it is another name for one.
    of: u32,
    /// Members, 12 bytes each, where it is a struct or a union.
    members: &'a [u8],
}

impl<'a> Types<'a> {
    fn parse(btf: &'a [u8]) -> Option<Self> {
        let header = Header::parse(btf)?;
        let mut rest = btf.get(header.types)?;
        let strings = btf.get(header.strings)?;
        let (mut all, mut structs) = (Vec::new(), HashMap::new());
        while let (Some(name_offset), Some(info), Some(of)) =
            (word(rest, 0), word(rest, 4), word(rest, 8))
        {
            let (kind, len) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            // What follows the 12 bytes that all kinds have (Documentation/bpf/btf.rst).
            let extra = match kind {
                1 | 14 | 17 => 4,            // int, variable, declaration tag
                3 => 12,                     // array
                4 | 5 | 15 | 19 => len * 12, // struct, union, data section, enum64
                6 | 13 => len * 8,           // enum, function prototype
                2 | 7..=12 | 16 | 18 => 0,
                _ => break, // a kind of a later kernel, of unknown size
            };
            let Some(members) = rest.get(12..12 + extra) else {
                break;
            };
            if kind == KIND_STRUCT {
                let name = string(strings, name_offset)?;
                if STRUCTS.iter().any(|wanted| wanted.as_bytes() == name) {
                    structs.entry(name).or_insert(all.len());
                }
            }
            all.push(Type { kind, of, members });
            rest = rest.get(12 + extra..)?;
        }
        Some(Self {
            all,
            strings,
            structs,
        })
    }

    /// Where a struct has a member, or a member of a member, in bytes.
    fn offset(&self, path: &[&str]) -> Option<u32> {
        let (name, members) = path.split_first()?;
        let mut holder = self.all.get(*self.structs.get(name.as_bytes())?)?;
        let mut bits = 0;
        for (n, member) in members.iter().enumerate() {
            let (place, of) = self.member(holder, member.as_bytes(), MOST_NESTED)?;
            bits += place;
            if n + 1 < members.len() {
                holder = self.composite(of)?;
            }
        }
        Some(bits / 8)
    }

    /// Where a struct or union has a member, in bits, and that member's type. Members of structs
    /// without a name are its own.
    fn member(&self, holder: &Type<'_>, name: &[u8], depth: u32) -> Option<(u32, u32)> {
        holder.members.chunks_exact(12).find_map(|member| {
            let (name_offset, of, place) = (word(member, 0)?, word(member, 4)?, word(member, 8)?);
            // The low 24 bits are the offset in bits, whether or not there are bit fields.
            let place = place & 0x00ff_ffff;
            let own_name = string(self.strings, name_offset)?;
            if own_name == name {
                return Some((place, of));
            }
            if !own_name.is_empty() || depth == 0 {
                return None;
            }
            let (inner, of) = self.member(self.composite(of)?, name, depth - 1)?;
            Some((place + inner, of))
        })
    }

    /// The struct or union that a type is by other names.
    fn composite(&self, id: u32) -> Option<&Type<'a>> {
        let mut id = id;
        for _ in 0..MOST_NESTED {
            let found = self.all.get((id as usize).checked_sub(1)?)?;
            match found.kind {
                KIND_STRUCT | KIND_UNION => return Some(found),
                8..=11 | 18 => id = found.of, // typedef, volatile, const, restrict, type tag
                _ => return None,
            }
        }
        None
    }
}

/// No kernel nests deeper; made-up files may.
const MOST_NESTED: u32 = 16;

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

    /// The number of `tcp_options_received` in it.
    const OPTIONS_TYPE: u32 = 10;

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
        // The third to the fifth: a struct without a name, in another one, and one by another name.
        let (anonymous, owned) = (KIND_STRUCT << 24 | 1, KIND_STRUCT << 24 | 1);
        types.extend(words(&[0, anonymous, 64, name("exe_file"), 1, 56 * 8]));
        types.extend(words(&[0, owned, 8, name("owned"), 1, 4 * 8]));
        types.extend(words(&[name("socket_lock_t"), 8 << 24, 4]));
        let kind = KIND_STRUCT << 24 | 1;
        types.extend(words(&[name("mm_struct"), kind, 128, 0, 3, 64 * 8]));
        for (struct_name, fields) in [
            (
                "task_struct",
                &[
                    ("tgid", 8),
                    ("group_leader", 24),
                    ("start_boottime", 40),
                    ("comm", 48),
                    ("flags", 4),
                    ("cred", 64),
                ][..],
            ),
            ("cred", &[("euid", 24)][..]),
            (
                "sock_common",
                &[
                    ("skc_family", 16),
                    ("skc_state", 18),
                    ("skc_v6_daddr", 56),
                    ("skc_v6_rcv_saddr", 72),
                ][..],
            ),
            ("tcp_options_received", &[("rcv_wscale", 9)][..]),
            (
                "sock",
                &[
                    ("sk_socket", 32),
                    ("sk_max_pacing_rate", 40),
                    ("sk_lock", 72),
                ][..],
            ),
            ("socket", &[("file", 24)][..]),
            (
                "tcp_sock",
                &[
                    ("window_clamp", 48),
                    ("snd_cwnd_clamp", 52),
                    ("snd_cwnd", 124),
                    ("srtt_us", 56),
                    ("mss_cache", 60),
                    ("bytes_received", 64),
                    ("bytes_acked", 72),
                    ("data_segs_out", 80),
                    ("rx_opt", 84),
                    ("bpf_sock_ops_cb_flags", 120),
                ][..],
            ),
        ] {
            let kind = KIND_STRUCT << 24 | fields.len() as u32;
            types.extend(words(&[name(struct_name), kind, 64]));
            for (field, offset) in fields {
                let of = match *field {
                    "sk_lock" => 5,
                    // The ninth, behind the first two, those three, and four of this list.
                    "rx_opt" => OPTIONS_TYPE,
                    _ => 1,
                };
                types.extend(words(&[name(field), of, offset * 8]));
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
        let kernel = KernelOffsets {
            task_tgid: 8,
            task_group_leader: 24,
            task_start_boottime: 40,
            task_comm: 48,
            task_flags: 4,
            sock_family: 16,
            sock_socket: 32,
            socket_file: 24,
            task_cred: 64,
            cred_euid: 24,
            mm_exe_file: 120,
            sock_lock_owned: 76,
            ..KernelOffsets::default()
        };
        let tcp = TcpOffsets {
            state: 18,
            v6_remote: 56,
            v6_local: 72,
            max_pacing_rate: 40,
            window_clamp: 48,
            snd_cwnd_clamp: 52,
            snd_cwnd: 124,
            srtt_us: 56,
            mss_cache: 60,
            bytes_received: 64,
            bytes_acked: 72,
            data_segs_out: 80,
            window_scales: 93,
            cb_flags: 120,
        };
        let found = find(&sample()).unwrap();
        assert_eq!((found.kernel, found.tcp), (kernel, tcp));
        assert!(!found.hears_of_packets && !found.finds_mptcp);
    }

    /// A file in which a field has another name of the same length.
    fn without(field: &str) -> Offsets {
        let mut btf = sample();
        let at = btf
            .windows(field.len())
            .position(|found| found == field.as_bytes())
            .unwrap();
        btf[at] = b'?';
        find(&btf).unwrap()
    }

    #[test]
    fn a_kernel_that_lacks_a_field_lacks_what_it_is_for_and_nothing_else() {
        let all = find(&sample()).unwrap();
        let no_levers = without("snd_cwnd_clamp");
        assert_eq!(no_levers.tcp, TcpOffsets::default());
        assert_eq!(no_levers.kernel, all.kernel);
        let no_processes = without("group_leader");
        assert_eq!(no_processes.kernel, KernelOffsets::default());
        assert_eq!(no_processes.tcp, all.tcp);
        assert_eq!(without("euid").kernel.cred_euid, 0);
        assert_eq!(without("euid").tcp, all.tcp);
    }

    #[test]
    fn a_cut_or_foreign_file_gives_nothing_and_does_not_panic() {
        let btf = sample();
        for len in 0..btf.len() {
            let _ = find(&btf[..len]);
        }
        assert_eq!(find(&btf[..24]), None);
        assert_eq!(find(b"\x7fELF and so on and on and on and on"), None);
    }

    #[test]
    fn this_kernel_tells() {
        let Offsets {
            kernel,
            tcp,
            hears_of_packets,
            ..
        } = read(Path::new(VMLINUX));
        assert!(
            kernel.task_tgid > 0 && kernel.task_group_leader > kernel.task_tgid,
            "{kernel:?}"
        );
        assert!(
            kernel.task_start_boottime > kernel.task_group_leader,
            "{kernel:?}"
        );
        assert!(
            kernel.sock_socket > kernel.sock_family && kernel.socket_file > 0,
            "{kernel:?}"
        );
        assert!(!kernel.words().contains(&0), "{kernel:?}");
        assert!(!tcp.words().contains(&0) && hears_of_packets, "{tcp:?}");
    }
}
