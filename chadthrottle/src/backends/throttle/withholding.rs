//! The program that withholds acknowledgements after a limit: attached for moments only, so that no packet
//! pays for it otherwise.

use aya::programs::ProgramFd;
use chadthrottle_common::abi::names;

use super::linux_ebpf_utils::{self, AttachConfig, Attachment};
use crate::{levers::Withhold, sys::bpf::AttachType};

/// The program, loaded.
#[derive(Debug)]
pub struct Withholding {
    program: ProgramFd,
    config: AttachConfig,
    attachment: Option<Attachment>,
}

impl Withholding {
    /// With a descriptor of the program, and where and how to attach it.
    pub fn new(program: ProgramFd, config: AttachConfig) -> Self {
        Self {
            program,
            config,
            attachment: None,
        }
    }
}

impl Withhold for Withholding {
    fn start(&mut self) -> bool {
        if self.attachment.is_none() {
            let place = AttachType::Egress;
            match linux_ebpf_utils::attach(&self.program, names::UNDO, place, &self.config) {
                Ok(attachment) => self.attachment = Some(attachment),
                Err(error) => log::warn!("senders may stay slow after a limit: {error}"),
            }
        }
        self.attachment.is_some()
    }

    fn stop(&mut self) {
        // Dropped, it is detached, and says so where it could not be.
        self.attachment = None;
    }
}
