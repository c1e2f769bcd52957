//! Other people's programs on the same cgroup.

use std::process::Command;

use aya::{Ebpf, programs::CgroupSkb};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, Symbol, SymbolSection},
};

use crate::{audit::cgroup2, program::Chadthrottle};

/// Another tool's program, which lets everything pass. Unloaded when dropped.
pub struct Foreign {
    object: Ebpf,
    attached: Vec<(String, &'static str)>,
}

impl Foreign {
    /// Loads it, made of two instructions: `r0 = 1; exit`.
    pub fn load() -> Self {
        let mut file = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
        let code = [0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
        let section = file.add_section(vec![], b"cgroup_skb/ingress".to_vec(), SectionKind::Text);
        file.append_section_data(section, &code, 8);
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
        Self::program(&mut object).load().expect("loading it");
        Self {
            object,
            attached: Vec::new(),
        }
    }

    fn program(object: &mut Ebpf) -> &mut CgroupSkb {
        object
            .program_mut("other_tool")
            .expect("it")
            .try_into()
            .expect("a cgroup_skb")
    }

    pub fn id(&mut self) -> u32 {
        Self::program(&mut self.object)
            .info()
            .expect("its info")
            .id()
    }

    /// Attaches it with bpftool; `flags` is `multi`, or nothing for exclusive.
    pub fn attach(&mut self, cgroup: &str, flags: &[&str]) {
        let id = self.id().to_string();
        let status = Command::new("bpftool")
            .args(["cgroup", "attach", cgroup, "ingress", "id", &id])
            .args(flags)
            .status();
        assert!(status.expect("bpftool").success());
        self.attached.push((cgroup.to_owned(), "ingress"));
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let id = self.id().to_string();
        for (cgroup, place) in &self.attached {
            let arguments = ["cgroup", "detach", cgroup, place, "id", &id];
            let _ = Command::new("bpftool").args(arguments).status();
        }
    }
}

/// Ids at ingress of the root, in the order in which they run.
fn ingress_ids() -> Vec<u64> {
    let output = Command::new("bpftool")
        .args(["-j", "cgroup", "show", &cgroup2()])
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
    first.attach(&cgroup2(), &["multi"]);
    second.attach(&cgroup2(), &["multi"]);
    let order = [first.id(), second.id()].map(u64::from);
    assert_eq!(ingress_ids(), order);
    let program = Chadthrottle::new();
    for attach in ["link", "legacy"] {
        let ours = program.command(&format!(
            "run --root --attach {attach} -- bpftool -j cgroup"
        ));
        let mut ours = ours;
        let output = ours
            .args(["show", &cgroup2()])
            .output()
            .expect("chadthrottle");
        assert!(output.status.success());
        let during = String::from_utf8_lossy(&output.stdout)
            .matches("other_tool")
            .count();
        assert_eq!(during, 2, "{attach}");
        assert_eq!(ingress_ids(), order, "{attach}: after a run");
        let mut engine = program.spawn(&format!("list --attach {attach}"));
        std::thread::sleep(std::time::Duration::from_millis(500));
        engine.signal("-KILL");
        engine.wait(std::time::Duration::from_secs(1));
        std::thread::sleep(std::time::Duration::from_millis(300));
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
    other.attach(&cgroup2(), &[]);
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
