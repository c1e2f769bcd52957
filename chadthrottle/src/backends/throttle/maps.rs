//! The maps of the loaded object, with their types.

use aya::{
    Ebpf, Pod,
    maps::{HashMap, Map, MapData, MapError, PerCpuArray, Queue, SkStorage, Stack},
};
use chadthrottle_common::abi::{MAX_PROCESSES, MAX_RULES, ProcessSlot, Rule, Totals, names};

use super::ThrottleError;
use crate::sys::map::{LeversWord, MappedArray};

/// [`chadthrottle_common::abi::Owner`] in the form that aya takes: slot, generation.
pub type OwnerWords = [u32; 2];

/// All maps.
pub struct Maps {
    /// Socket to owner.
    pub owners: SkStorage<MapData, OwnerWords>,
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
    totals: PerCpuArray<MapData, [u64; TOTALS_WORDS]>,
}

const TOTALS_WORDS: usize = size_of::<Totals>() / size_of::<u64>();

impl Maps {
    /// Takes the maps out of the object.
    pub fn take(object: &mut Ebpf) -> Result<Self, ThrottleError> {
        // A mapping outlives the descriptor, but the programs that are loaded later still need
        // it, so these two stay in the object.
        let slots = MappedArray::slots(data(object, names::SLOTS)?.fd(), MAX_PROCESSES).map_err(
            |source| ThrottleError::Mapping {
                map: names::SLOTS,
                source,
            },
        )?;
        let rules =
            MappedArray::rules(data(object, names::RULES)?.fd(), MAX_RULES).map_err(|source| {
                ThrottleError::Mapping {
                    map: names::RULES,
                    source,
                }
            })?;
        Ok(Self {
            owners: typed(object, names::OWNERS)?,
            processes: typed(object, names::PROCESSES)?,
            free: typed(object, names::FREE_SLOTS)?,
            execs: typed(object, names::EXECS)?,
            slots,
            rules,
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
    assert_pod::<[u64; TOTALS_WORDS]>();
};
