//! Trouble with the root of a machine that is up, and its end.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::netns::TAP;
use testkit::netrootfs::Tree;
use testkit::process::run;
use testkit::work::Work;

use crate::support::qemu::Machine;
use crate::support::servers::Servers;

/// Trouble on the way to the root of a machine that runs.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// nbd-server and all its connections are killed, and it is started anew.
    ServerRestarted,
    /// The network is away for half a minute, and the machine's card doesn't notice.
    NetworkAway,
    /// The machine's own cable is out for half a minute, and all its network manager wants to do then it does.
    CableOut,
}

/// How a machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Without shutting down.
    AtOnce,
    /// Shut down, and off.
    PowerOff,
    /// Shut down, and started again.
    Reboot,
}

/// How long a network is away.
const AWAY: Duration = Duration::from_secs(30);

/// Lost packets are sent again after ever longer times.
const PATIENCE: Duration = Duration::from_secs(240);

impl Trouble {
    /// Makes it, sees that the machine reads on, and lets it end.
    pub fn make(self, machine: &mut Machine, servers: &mut Servers, tree: &Tree, work: &Work) -> Result<()> {
        machine.reads_on(1, PATIENCE)?;
        match self {
            Self::ServerRestarted => servers.restart_nbd(tree, work)?,
            Self::NetworkAway => {
                run(Command::new("ip").args(["link", "set", TAP, "down"]))?;
                sleep(AWAY);
                run(Command::new("ip").args(["link", "set", TAP, "up"]))?;
            }
            Self::CableOut => {
                machine.plug(false)?;
                sleep(AWAY);
                machine.plug(true)?;
            }
        }
        // What was in the machine's memory is read by the first of them at most.
        machine.reads_on(3, PATIENCE)?;
        machine.type_line()
    }
}

impl End {
    /// The kernel's argument that asks the machine for it.
    pub fn argument(self) -> &'static str {
        match self {
            Self::AtOnce => "",
            Self::PowerOff => " netrootfs.end=poweroff",
            Self::Reboot => " netrootfs.end=reboot",
        }
    }

    /// An error unless the kernel's last words are those of such an end.
    pub fn check(self, said: &str) -> Result<()> {
        let sentence = if self == Self::Reboot { "reboot: Restarting system" } else { "reboot: Power down" };
        ensure!(said.contains(sentence), "the machine is off without '{sentence}'");
        Ok(())
    }
}
