//! The maps of the loaded object, with their types.

use aya::{
    Ebpf, Pod,
    maps::{HashMap, Map, MapData, MapError, MapFd, PerCpuArray, Queue, SkStorage, Stack},
};
use chadthrottle_common::{
    abi::{MAX_PATTERNS, MAX_PROCESSES, MAX_RULES, ProcessSlot, Rule, Totals, names},
    ownership::{Note, Pattern},
    shares,
    sys::Shared,
};

use super::ThrottleError;
use crate::sys::{
    SyscallError,
    map::{LeversWord, MappedArray},
};

/// [`chadthrottle_common::ownership::Owner`] in the form that aya takes: slot, generation.
pub type OwnerWords = [u32; 2];

/// [`chadthrottle_common::ownership::Note`] in the form that aya takes: its words.
pub type NoteWords = [u64; size_of::<Note>() / size_of::<u64>()];

/// All maps.
pub struct Maps {
    /// Socket to owner.
    pub owners: SkStorage<MapData, NoteWords>,
    /// Thread-group id to owner.
    pub processes: HashMap<MapData, u32, OwnerWords>,
    /// Free slots.
    pub free: Stack<MapData, u32>,
    /// Ids of processes that have called exec.
    pub execs: Queue<MapData, u32>,
    /// Slots, mapped.
    pub slots: MappedArray<ProcessSlot>,
    /// Rules, mapped.
    pub rules: MappedArray<Rule>,
    /// Which processes limits take in, mapped.
    pub patterns: MappedArray<Pattern>,
    /// How many slots are in use, mapped.
    pub shares: MappedArray<Shared>,
    totals: PerCpuArray<MapData, [u64; TOTALS_WORDS]>,
}

const TOTALS_WORDS: usize = size_of::<Totals>() / size_of::<u64>();

impl Maps {
    /// Takes the maps out of the object.
    pub fn take(object: &mut Ebpf) -> Result<Self, ThrottleError> {
        // A mapping outlives the descriptor, but the programs that are loaded later still need
        // it, so these stay in the object.
        let slots = mapped(object, names::SLOTS, |map| {
            MappedArray::slots(map, MAX_PROCESSES)
        })?;
        let rules = mapped(object, names::RULES, |map| {
            MappedArray::rules(map, MAX_RULES)
        })?;
        let patterns = mapped(object, names::PATTERNS, |map| {
            MappedArray::patterns(map, MAX_PATTERNS)
        })?;
        let shares = mapped(object, names::SHARES, |map| {
            MappedArray::shares(map, shares::WORDS)
        })?;
        Ok(Self {
            owners: typed(object, names::OWNERS)?,
            processes: typed(object, names::PROCESSES)?,
            free: typed(object, names::FREE_SLOTS)?,
            execs: typed(object, names::EXECS)?,
            slots,
            rules,
            patterns,
            shares,
            totals: typed(object, names::TOTALS)?,
        })
    }

    /// What belongs to no process, summed over the CPUs.
    pub fn totals(&self) -> Result<Totals, MapError> {
        let per_cpu = self.totals.get(&0, 0)?;
        let mut sum = [0u64; TOTALS_WORDS];
        for words in per_cpu.iter() {
            for (sum, word) in sum.iter_mut().zip(words) {
                *sum = sum.wrapping_add(*word);
            }
        }
        Ok(Totals::from_words(sum))
    }
}

/// The word that says whether levers may be set.
///
/// # Errors
/// Where it cannot be mapped.
pub fn levers(object: &Ebpf) -> Result<MappedArray<LeversWord>, ThrottleError> {
    MappedArray::levers(data(object, names::LEVERS)?.fd()).map_err(|source| {
        ThrottleError::Mapping {
            map: names::LEVERS,
            source,
        }
    })
}

fn typed<M>(object: &mut Ebpf, name: &'static str) -> Result<M, ThrottleError>
where
    M: TryFrom<Map, Error = MapError>,
{
    object
        .take_map(name)
        .ok_or(ThrottleError::Missing(name))?
        .try_into()
        .map_err(|source| ThrottleError::Map { map: name, source })
}

fn mapped<T>(
    object: &Ebpf,
    map: &'static str,
    new: impl FnOnce(&MapFd) -> Result<MappedArray<T>, SyscallError>,
) -> Result<MappedArray<T>, ThrottleError> {
    new(data(object, map)?.fd()).map_err(|source| ThrottleError::Mapping { map, source })
}

/// The bare map, of which only the descriptor is used.
fn data<'a>(object: &'a Ebpf, name: &'static str) -> Result<&'a MapData, ThrottleError> {
    match object.map(name) {
        Some(Map::Array(data)) => Ok(data),
        _ => Err(ThrottleError::Missing(name)),
    }
}

/// Compile-time proof that aya may copy the values.
const fn assert_pod<T: Pod>() {}
const _: () = {
    assert_pod::<OwnerWords>();
    assert_pod::<NoteWords>();
    assert_pod::<[u64; TOTALS_WORDS]>();
};
