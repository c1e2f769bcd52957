//! Uploads: the `cgroup_skb/egress` program.

use aya::Ebpf;
use chadthrottle_common::abi::{Meter, ProcessSlot, names};

use crate::{
    backends::throttle::{
        ThrottleBackend, ThrottleError,
        linux_ebpf_utils::{self, AttachConfig, Attachment},
    },
    sys::bpf::AttachType,
};

/// The egress program, attached.
#[derive(Debug)]
pub struct EbpfUpload {
    attachment: Attachment,
}

impl EbpfUpload {
    /// Loads the program and attaches it.
    pub fn attach(object: &mut Ebpf, config: &AttachConfig) -> Result<Self, ThrottleError> {
        let program = linux_ebpf_utils::load(object, names::EGRESS)?;
        let place = AttachType::Egress;
        let attachment = linux_ebpf_utils::attach(program, names::EGRESS, place, config)?;
        Ok(Self { attachment })
    }
}

impl ThrottleBackend for EbpfUpload {
    fn meter(slot: &ProcessSlot) -> &Meter {
        &slot.egress
    }

    fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    fn attachment_mut(&mut self) -> &mut Attachment {
        &mut self.attachment
    }
}
