//! The words of SYSLINUX's command lines: programs by their names, and the arguments of those that choose for others.

use crate::image::menu::Reason;
use crate::image::menu::path;

/// The first word, and the rest without blanks before it.
pub fn split_word(line: &str) -> (&str, &str) {
    let line = line.trim_start();
    line.split_once(char::is_whitespace).map_or((line, ""), |(word, rest)| (word, rest.trim_start()))
}

/// A program by its name alone: `boot/syslinux/Menu.C32` is `menu`.
pub fn program_name(path: &str) -> String {
    let name = path::base_name(path).to_ascii_lowercase();
    name.strip_suffix(".c32").map(String::from).unwrap_or(name)
}

/// What `KERNEL` loads as something else than Linux, by its extension (SYSLINUX's documentation, "Kernel file types").
pub fn is_program(path: &str) -> bool {
    let name = path::base_name(path).to_ascii_lowercase();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    matches!(extension, "c32" | "com" | "cbt" | "0" | "bin" | "bs" | "bss" | "img")
}

/// `whichsys.c32 -pxe- a -sys- b -iso- c`: booted from an ISO, it runs `c`.
pub fn chosen_by_system(args: &str) -> String {
    let is_option = |word: &&str| matches!(*word, "-iso-" | "-sys-" | "-pxe-");
    let after = args.split_whitespace().skip_while(|word| *word != "-iso-").skip(1);
    after.take_while(|word| !is_option(word)).collect::<Vec<_>>().join(" ")
}

/// `ifcpu64.c32 a -- b`: a 64-bit processor runs `a`. `ifcpu.c32` names what it looks for before that, as options.
pub fn chosen_by_cpu(args: &str) -> String {
    let words = args.split_whitespace().take_while(|word| *word != "--");
    words.collect::<Vec<_>>().join(" ")
}

/// The arguments without `initrd=`, and its first value: what SYSLINUX and pxelinux load (`elflink/ldlinux/kernel.c`).
pub fn without_initrd(args: &str) -> (String, Option<String>) {
    let mut initrd = None;
    let mut kept: Vec<&str> = Vec::new();
    for word in args.split_whitespace() {
        match word.strip_prefix("initrd=") {
            Some(value) => drop(initrd.get_or_insert(value.to_owned())),
            None => kept.push(word),
        }
    }
    (kept.join(" "), initrd)
}

/// The files of `mboot.c32`'s arguments: the kernel, and after each `---` a module.
pub fn multiboot_files(args: &str) -> Vec<String> {
    let words: Vec<&str> = args.split_whitespace().collect();
    words
        .split(|word| *word == "---")
        .filter_map(|module| module.first().map(|file| (*file).into()))
        .collect()
}

/// Why a file that `KERNEL` or `COM32` names boots no Linux.
pub fn program_reason(path: &str) -> Reason {
    let name = program_name(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match (name.as_str(), extension) {
        ("chain" | "pxechn" | "sanboot", _) | (_, "0" | "bin" | "bs" | "bss" | "com" | "cbt") => {
            Reason::Chainload
        }
        ("mboot", _) => Reason::Multiboot,
        ("memdisk", _) | (_, "img") => Reason::DiskImage,
        ("reboot" | "poweroff", _) => Reason::Power,
        ("menu" | "vesamenu" | "whichsys", _) => Reason::OtherMenu,
        _ => Reason::Program,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_known_by_extension() {
        assert!(is_program("/a/vesamenu.C32") && is_program("pxelinux.0") && is_program("memtest.bin"));
        assert!(!is_program("vmlinuz") && !is_program("/a.c32/linux") && !is_program("vmlinuz-6.1"));
        assert_eq!(program_name("boot/syslinux/Menu.C32"), "menu");
    }

    #[test]
    fn whichsys_takes_what_stands_for_an_iso() {
        assert_eq!(chosen_by_system("-pxe- a -iso- chain.c32 hd0 -sys- b"), "chain.c32 hd0");
        assert_eq!(chosen_by_system("-pxe- a"), "");
    }

    #[test]
    fn ifcpu64_takes_the_first() {
        assert_eq!(chosen_by_cpu("a x -- b -- c"), "a x");
    }

    #[test]
    fn initrd_is_taken_out_of_the_arguments() {
        assert_eq!(without_initrd(" a initrd=x b  initrd=y"), ("a b".into(), Some("x".into())));
        assert_eq!(without_initrd("noinitrd=x"), ("noinitrd=x".into(), None));
    }

    #[test]
    fn programs_say_why_they_are_none() {
        assert_eq!(program_reason("/boot/chain.c32"), Reason::Chainload);
        assert_eq!(program_reason("memtest.bin"), Reason::Chainload);
        assert_eq!(program_reason("hdt.c32"), Reason::Program);
        assert_eq!(program_reason("/boot/syslinux/memdisk"), Reason::DiskImage);
    }

    #[test]
    fn modules_of_multiboot_stand_between_hyphens() {
        assert_eq!(multiboot_files("/xen.gz a=b --- /k x --- /i"), ["/xen.gz", "/k", "/i"]);
        assert!(multiboot_files("").is_empty());
    }
}
