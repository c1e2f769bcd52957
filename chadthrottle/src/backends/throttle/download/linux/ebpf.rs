//! Downloads: the `cgroup_skb/ingress` program.

use aya::Ebpf;
use chadthrottle_common::abi::{Meter, ProcessSlot, names};

use crate::{
    backends::throttle::{
        ThrottleBackend, ThrottleError,
        linux_ebpf_utils::{self, AttachConfig, Attachment},
    },
    sys::bpf::AttachType,
};

/// The ingress program, attached.
#[derive(Debug)]
pub struct EbpfDownload {
    attachment: Attachment,
}

impl EbpfDownload {
    /// Loads the program and attaches it.
    pub fn attach(object: &mut Ebpf, config: &AttachConfig) -> Result<Self, ThrottleError> {
        let program = linux_ebpf_utils::load(object, names::INGRESS)?;
        let place = AttachType::Ingress;
        let attachment = linux_ebpf_utils::attach(program, names::INGRESS, place, config)?;
        Ok(Self { attachment })
    }
}

impl ThrottleBackend for EbpfDownload {
    fn meter(slot: &ProcessSlot) -> &Meter {
        &slot.ingress
    }

    fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    fn attachment_mut(&mut self) -> &mut Attachment {
        &mut self.attachment
    }
}
