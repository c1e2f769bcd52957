//! Other people's programs on the same cgroup.

use std::{process::Command, time::Duration};

use aya::{Ebpf, programs::Program};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, Symbol, SymbolSection},
};

use crate::{
    audit::{OURS, attached, top},
    program::{Chadthrottle, eventually},
};

/// Another tool's program. Unloaded when dropped.
pub struct Foreign {
    object: Ebpf,
    place: &'static str,
    attached: Vec<String>,
}

/// `r0 = 1; exit`
const PASS: [u8; 16] = [0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// `if (op == BPF_SOCK_OPS_TIMEOUT_INIT) reply = 777; r0 = 1; exit`
const REPLY: [u8; 48] = [
    0x61, 0x12, 0, 0, 0, 0, 0, 0, // r2 = *(u32 *)(r1 + 0)
    0x55, 0x02, 2, 0, 1, 0, 0, 0, // if r2 != 1 goto +2
    0xb7, 0x03, 0, 0, 9, 3, 0, 0, // r3 = 777
    0x63, 0x31, 4, 0, 0, 0, 0, 0, // *(u32 *)(r1 + 4) = r3
    0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0,
];

/// `if (op == BPF_SOCK_OPS_HDR_OPT_LEN_CB) bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, 4); r0 = 1; exit`
const fn marking(mark: u8) -> [u8; 96] {
    [
        0x61, 0x12, 0, 0, 0, 0, 0, 0, // r2 = *(u32 *)(r1 + 0)
        0x55, 0x02, 8, 0, 14, 0, 0, 0, // if r2 != 14 goto +8
        0xb7, 0x03, 0, 0, mark, 0, 0, 0, // r3 = mark
        0x63, 0x3a, 0xfc, 0xff, 0, 0, 0, 0, // *(u32 *)(r10 - 4) = r3
        0xb7, 0x02, 0, 0, 1, 0, 0, 0, // r2 = SOL_SOCKET
        0xb7, 0x03, 0, 0, 36, 0, 0, 0, // r3 = SO_MARK
        0xbf, 0xa4, 0, 0, 0, 0, 0, 0, // r4 = r10
        0x07, 0x04, 0, 0, 0xfc, 0xff, 0xff, 0xff, // r4 += -4
        0xb7, 0x05, 0, 0, 4, 0, 0, 0, // r5 = 4
        0x85, 0, 0, 0, 49, 0, 0, 0, // call bpf_setsockopt
        0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0,
    ]
}

impl Foreign {
    /// Loads one that lets every packet that arrives pass.
    pub fn load() -> Self {
        Self::of(&PASS, "cgroup_skb/ingress", "ingress")
    }

    /// Loads one that says how long the first timer of a TCP connection is.
    pub fn replying() -> Self {
        Self::of(&REPLY, "sockops", "sock_ops")
    }

    /// Loads one that marks each connection for whose headers it is called.
    pub fn marking(mark: u8) -> Self {
        Self::of(&marking(mark), "sockops", "sock_ops")
    }

    fn of(code: &[u8], section: &str, place: &'static str) -> Self {
        let mut file = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
        let section = file.add_section(vec![], section.into(), SectionKind::Text);
        file.append_section_data(section, code, 8);
        file.add_symbol(Symbol {
            name: b"other_tool".to_vec(),
            value: 0,
            size: code.len() as u64,
            kind: SymbolKind::Text,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        });
        let license = file.add_section(vec![], b"license".to_vec(), SectionKind::Data);
        file.append_section_data(license, b"GPL\0", 1);
        let mut object = Ebpf::load(&file.write().expect("an object")).expect("loading it");
        match object.program_mut("other_tool").expect("it") {
            Program::CgroupSkb(program) => program.load(),
            Program::SockOps(program) => program.load(),
            _ => panic!("another kind of program"),
        }
        .expect("loading it");
        Self {
            object,
            place,
            attached: Vec::new(),
        }
    }

    pub fn id(&self) -> u32 {
        let program = self.object.program("other_tool").expect("it");
        program.info().expect("its info").id()
    }

    /// Attaches it with bpftool; `flags` is `multi`, or nothing for exclusive.
    pub fn attach(&mut self, cgroup: &str, flags: &[&str]) {
        let id = self.id().to_string();
        let status = Command::new("bpftool")
            .args(["cgroup", "attach", cgroup, self.place, "id", &id])
            .args(flags)
            .status();
        assert!(status.expect("bpftool").success());
        self.attached.push(cgroup.to_owned());
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let id = self.id().to_string();
        for cgroup in &self.attached {
            let arguments = ["cgroup", "detach", cgroup, self.place, "id", &id];
            let _ = Command::new("bpftool").args(arguments).status();
        }
    }
}

/// Ids at ingress of the root, in the order in which they run.
fn ingress_ids() -> Vec<u64> {
    let output = Command::new("bpftool")
        .args(["-j", "cgroup", "show", &top()])
        .output();
    let text = output.expect("bpftool").stdout;
    let Ok(entries) = serde_json::from_slice::<serde_json::Value>(&text) else {
        return vec![];
    };
    let entries = entries.as_array().cloned().unwrap_or_default();
    let ingress = entries
        .iter()
        .filter(|entry| entry["attach_type"] == "cgroup_inet_ingress");
    ingress.filter_map(|entry| entry["id"].as_u64()).collect()
}

#[test]
fn programs_of_another_tool_stay_in_their_order_through_all_of_it() {
    let (mut first, mut second) = (Foreign::load(), Foreign::load());
    first.attach(&top(), &["multi"]);
    second.attach(&top(), &["multi"]);
    let order = [first.id(), second.id()].map(u64::from);
    assert_eq!(ingress_ids(), order);
    let program = Chadthrottle::new();
    for attach in ["link", "legacy"] {
        let ours = program.command(&format!(
            "run --root --attach {attach} -- bpftool -j cgroup"
        ));
        let mut ours = ours;
        let output = ours.args(["show", &top()]).output().expect("chadthrottle");
        assert!(output.status.success());
        let during = String::from_utf8_lossy(&output.stdout)
            .matches("other_tool")
            .count();
        assert_eq!(during, 2, "{attach}");
        assert_eq!(ingress_ids(), order, "{attach}: after a run");
        let mut engine = program.spawn(&format!("list --attach {attach}"));
        eventually("attached", Duration::from_secs(15), || {
            attached(&top()) == OURS
        });
        program.kill_engine(&mut engine);
        eventually("the guard has detached all", Duration::from_secs(1), || {
            attached(&top()).is_empty()
        });
        assert_eq!(ingress_ids(), order, "{attach}: after SIGKILL");
    }
    assert!(program.output("cleanup").status.success());
    assert_eq!(ingress_ids(), order, "after cleanup");
    drop((first, second));
    crate::audit::assert_nothing_left();
}

#[test]
fn an_exclusive_program_is_named_and_left_alone() {
    let mut other = Foreign::load();
    other.attach(&top(), &[]);
    let id = other.id();
    let program = Chadthrottle::new();
    for attach in ["auto", "link", "legacy"] {
        // The attachment before this one, at socket creation, has worked, and is undone.
        let output = program.output(&format!("list --count 1 --attach {attach}"));
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{text}");
        assert!(
            text.contains(&format!("program {id} ('other_tool')")),
            "{attach}: {text}"
        );
        assert_eq!(ingress_ids(), [u64::from(id)], "{attach}");
        crate::audit::assert_nothing_left();
    }
}
