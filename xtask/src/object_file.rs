//! The object as it is committed: without debug sections, and without a trace of the machine that
//! built it.

use anyhow::{Context, bail};
use object::build::elf;

/// Removes the DWARF sections and their relocations; BTF stays.
pub fn strip(object: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut builder = elf::Builder::read(object).context("reading the object")?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        if name.starts_with(b".debug_") || name.starts_with(b".rel.debug_") {
            section.delete = true;
        }
    }
    // LLVM keeps the names of sections and symbols in one table; the writer wants two.
    let names = builder.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = elf::SectionData::SectionString;
    // Symbols and section names of what is gone go with it.
    builder.delete_orphans();
    builder.delete_unused_versions();
    let mut stripped = Vec::new();
    builder.write(&mut stripped).context("writing the object")?;
    Ok(stripped)
}

/// Fails where the object holds one of the strings: paths and hosts of the building machine.
pub fn assert_without(object: &[u8], traces: &[String]) -> anyhow::Result<()> {
    for trace in traces.iter().filter(|trace| !trace.is_empty()) {
        let found = object
            .windows(trace.len())
            .any(|window| window == trace.as_bytes());
        if found {
            bail!(
                "the object holds '{}', which only this machine has",
                trace.escape_debug()
            );
        }
    }
    Ok(())
}
