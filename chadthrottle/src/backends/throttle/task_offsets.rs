//! Where this kernel keeps what we read of a task, taken from the kernel's own type information.
//!
//! Rust has no CO-RE relocations for BPF, so user space looks the offsets up in
//! /sys/kernel/btf/vmlinux and hands them to the programs as constants.

use std::path::Path;

use chadthrottle_common::abi::TaskOffsets;

/// The kernel's own BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Looks the offsets up. All zero where the kernel has no BTF or a field is not found: then start
/// times are not compared, and children do not inherit in the kernel.
pub fn read(vmlinux: &Path) -> TaskOffsets {
    match std::fs::read(vmlinux) {
        Ok(btf) => find(&btf).unwrap_or_default(),
        Err(error) => {
            log::warn!("{}: {error}", vmlinux.display());
            TaskOffsets::default()
        }
    }
}

const KIND_STRUCT: u32 = 4;

fn find(btf: &[u8]) -> Option<TaskOffsets> {
    let header = Header::parse(btf)?;
    let types = btf.get(header.types.clone())?;
    let strings = btf.get(header.strings.clone())?;
    let members = struct_members(types, strings, b"task_struct")?;
    let offset = |name: &[u8]| {
        members.chunks_exact(12).find_map(|member| {
            let (name_offset, place) = (word(member, 0)?, word(member, 8)?);
            // The low 24 bits are the offset in bits, whether or not there are bit fields.
            (string(strings, name_offset)? == name).then_some((place & 0x00ff_ffff) / 8)
        })
    };
    Some(TaskOffsets {
        tgid: offset(b"tgid")?,
        group_leader: offset(b"group_leader")?,
        start_boottime: offset(b"start_boottime").or_else(|| offset(b"real_start_time"))?,
        comm: offset(b"comm")?,
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

/// The members, 12 bytes each, of the struct with that name.
fn struct_members<'a>(mut types: &'a [u8], strings: &[u8], name: &[u8]) -> Option<&'a [u8]> {
    loop {
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
        if kind == KIND_STRUCT && string(strings, name_offset)? == name {
            return types.get(12..end);
        }
        types = types.get(end..)?;
    }
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

    /// A BTF with an int, an enum and a task_struct whose fields are at 8, 24, 40 and 48.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0task_struct\0tgid\0group_leader\0start_boottime\0comm\0";
        let types = words(&[
            1,
            1 << 24,
            4,
            32, // int
            0,
            6 << 24 | 1,
            4,
            1,
            7, // enum with one value
            5,
            4 << 24 | 4,
            64,
            17,
            1,
            64,
            22,
            1,
            192,
            35,
            1,
            320,
            50,
            1,
            384,
        ]);
        let mut btf = Vec::from(0xeb9fu16.to_ne_bytes());
        btf.extend([1, 0]);
        btf.extend(words(&[
            24,
            0,
            types.len() as u32,
            types.len() as u32,
            strings.len() as u32,
        ]));
        btf.extend(types);
        btf.extend(strings);
        btf
    }

    #[test]
    fn the_offsets_are_found_behind_other_kinds_of_types() {
        let expected = TaskOffsets {
            tgid: 8,
            group_leader: 24,
            start_boottime: 40,
            comm: 48,
        };
        assert_eq!(find(&sample()), Some(expected));
    }

    #[test]
    fn a_cut_or_foreign_file_gives_nothing_and_does_not_panic() {
        let btf = sample();
        for len in 0..btf.len() - 21 {
            assert_eq!(find(&btf[..len]), None, "{len}");
        }
        assert_eq!(find(b"\x7fELF and so on and on and on and on"), None);
    }

    #[test]
    fn this_kernel_tells() {
        let offsets = read(Path::new(VMLINUX));
        assert!(
            offsets.tgid > 0 && offsets.group_leader > offsets.tgid,
            "{offsets:?}"
        );
        assert!(offsets.start_boottime > offsets.group_leader, "{offsets:?}");
    }
}
