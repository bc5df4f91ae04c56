//! How far a machine has come, as netroot-init says it: it asks a TFTP server for a file that isn't there, and whose name says
//! who asks and what it has done. Loaders tell who they are in the same way, so any server will do.
//!
//! Names and the packet that asks for one. Nothing is sent or looked up here.

use std::fmt;

use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::image::mac::Mac;

/// Port of TFTP servers (RFC 1350, 4).
pub const PORT: u16 = 69;

const PREFIX: &str = "netroot-init-";

/// Opcode of a read request (RFC 1350, 5).
const READ_REQUEST: u16 = 1;

/// What it has done last. Of two that come together the later variant is the later step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Step {
    /// It has an address.
    Address,
    /// It can't attach the disk, and will try again.
    Failed,
    /// It can't, and goes on without.
    GaveUp,
    /// It has attached the disk.
    Disk,
    /// It becomes the ISO's own init.
    Init,
    /// The connection to the disk is gone, and it calls again.
    Lost,
    /// The disk is connected again.
    Back,
}

impl Step {
    /// A word that stays.
    pub fn code(self) -> &'static str {
        self.into()
    }

    /// The name that a machine asks for: `netroot-init-52-54-00-12-34-56-disk`.
    pub fn name(self, machine: Mac) -> String {
        format!("{PREFIX}{}-{}", machine.dashed(), self.code())
    }

    /// Reads such a name, in just that form.
    pub fn parse(name: &str) -> Option<(Mac, Self)> {
        let (mac, step) = name.strip_prefix(PREFIX)?.split_at_checked(17)?;
        let (mac, step): (Mac, Self) = (mac.parse().ok()?, step.strip_prefix('-')?.parse().ok()?);
        (step.name(mac) == name).then_some((mac, step))
    }

    /// The packet that asks for it: opcode, file name, mode.
    pub fn request(self, machine: Mac) -> Vec<u8> {
        let mut packet = READ_REQUEST.to_be_bytes().to_vec();
        for word in [self.name(machine).as_str(), "octet"] {
            packet.extend(word.bytes().chain([0]));
        }
        packet
    }
}

/// A few words for people.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "has an address",
            Self::Failed => "can't attach its disk yet",
            Self::GaveUp => "gave up, went on without its disk",
            Self::Disk => "has attached its disk",
            Self::Init => "has begun the ISO's own init",
            Self::Lost => "has lost its disk, calls again",
            Self::Back => "has its disk again",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

    #[test]
    fn a_name_tells_the_machine_and_its_step() {
        let words: Vec<_> = Step::VARIANTS.iter().map(|step| step.code()).collect();
        assert_eq!(words, ["address", "failed", "gave-up", "disk", "init", "lost", "back"]);
        for step in Step::VARIANTS {
            assert_eq!(Step::parse(&step.name(MAC)), Some((MAC, *step)));
        }
        assert_eq!(Step::GaveUp.name(MAC), "netroot-init-52-54-00-12-34-56-gave-up");
    }

    #[test]
    fn what_is_not_in_just_that_form_is_no_step() {
        for name in [
            "netroot-init-",
            "netroot-init-52-54-00-12-34-56",
            "netroot-init-52-54-00-12-34-56-",
            "netroot-init-52-54-00-12-34-56-disk2",
            "netroot-init-52-54-00-12-34-56-Disk",
            "netroot-init-52:54:00:12:34:56-disk",
            "netroot-init-52-54-00-12-34-AB-disk",
            "netroot-init-52-54-00-12-34-ä-disk",
            "netroot-init-52-54-00-12-34-5ä-disk",
            "01-52-54-00-12-34-56",
            "netroot_F42.img",
        ] {
            assert_eq!(Step::parse(name), None, "{name}");
        }
    }

    #[test]
    fn it_is_asked_for_as_a_file_is() {
        assert_eq!(Step::Disk.request(MAC), b"\0\x01netroot-init-52-54-00-12-34-56-disk\0octet\0");
    }

    proptest! {
        #[test]
        fn any_name_is_read(name in "(netroot-init-)?[0-9a-f-]{0,20}(-disk|-gave-up)?\\PC{0,10}") {
            if let Some((mac, step)) = Step::parse(&name) {
                prop_assert_eq!(step.name(mac), name);
            }
        }
    }
}
