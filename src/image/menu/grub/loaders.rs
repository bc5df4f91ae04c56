//! GRUB's commands that load something to boot, or end it. The last one counts, as the last loader does in GRUB.

use super::eval::{Flow, Machine};
use super::options;
use crate::image::menu::Reason;
use crate::image::menu::draft::{Draft, MAX_INITRDS};

impl Machine<'_, '_> {
    /// True if it was such a command.
    pub(super) fn load(&mut self, name: &str, args: &[String]) -> bool {
        match name {
            "linux" | "linux16" | "linuxefi" => self.linux(args),
            "initrd" | "initrd16" | "initrdefi" => self.initrd(args),
            "multiboot" | "multiboot2" | "xen_hypervisor" => self.instead(Reason::Multiboot, args),
            "module" | "module2" | "xen_module" | "xen_linux" | "xen_initrd" => self.module(args),
            "chainloader" | "appleloader" => self.instead(Reason::Chainload, args),
            "kfreebsd" | "kopenbsd" | "knetbsd" | "xnu_kernel" | "xnu_kernel64" | "ntldr" | "freedos"
            | "plan9" | "truecrypt" => self.instead(Reason::OtherSystem, args),
            "halt" | "reboot" | "fwsetup" | "exit" => self.end(),
            "boot" => self.boot_now(),
            _ => return false,
        }
        true
    }

    fn linux(&mut self, args: &[String]) {
        let [kernel, args @ ..] = args else { return };
        self.boot = Draft {
            kernel: kernel.clone(),
            args: args.iter().map(|arg| options::quote(arg)).collect::<Vec<_>>().join(" "),
            cwd: "/".into(),
            ..Draft::default()
        };
    }

    fn initrd(&mut self, args: &[String]) {
        // `newc:` packs a file by GRUB's own hand; what is in the ISO would not be the same.
        let files = args.iter().filter(|arg| !arg.starts_with("newc:") && !arg.starts_with("--"));
        self.boot.initrds = files.take(MAX_INITRDS + 1).cloned().collect();
    }

    fn instead(&mut self, reason: Reason, args: &[String]) {
        let file = args.iter().find(|arg| !arg.starts_with("--")).cloned();
        self.boot =
            Draft { instead: Some(reason), files: Vec::from_iter(file), cwd: "/".into(), ..Draft::default() };
    }

    fn module(&mut self, args: &[String]) {
        let file = args.iter().find(|arg| !arg.starts_with("--"));
        if self.boot.files.len() < MAX_INITRDS {
            self.boot.files.extend(file.cloned());
        }
    }

    /// Nothing that was loaded is booted.
    fn end(&mut self) {
        if self.in_entry {
            self.boot = Draft { instead: Some(Reason::Power), ..Draft::default() };
        }
        self.flow = Some(Flow::Exit);
    }

    fn boot_now(&mut self) {
        if self.in_entry && (self.boot.instead.is_some() || !self.boot.kernel.is_empty()) {
            self.flow = Some(Flow::Exit);
        }
    }
}
