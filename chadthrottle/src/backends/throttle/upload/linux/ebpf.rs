//! Uploads: the `cgroup_skb/egress` program.

use aya::Ebpf;
use chadthrottle_common::abi::{Meter, ProcessSlot, names};

use crate::{
    backends::throttle::{
        AttachMode, ThrottleBackend, ThrottleError,
        linux_ebpf_utils::{self, AttachPoint, Attachment},
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
    pub fn attach(
        object: &mut Ebpf,
        point: &AttachPoint,
        mode: AttachMode,
    ) -> Result<Self, ThrottleError> {
        let program = linux_ebpf_utils::load_cgroup_skb(object, names::EGRESS)?;
        let attachment =
            linux_ebpf_utils::attach(program, names::EGRESS, point, AttachType::Egress, mode)?;
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
