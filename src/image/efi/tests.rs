//! Small programs made by hand: each has only what the readers look at.

use std::sync::Arc;

use object::write;
use proptest::prelude::*;

use super::*;
use crate::storage::extent::Extent;

/// A PE with these sections; `signed` adds a certificate table.
struct Program {
    machine: u16,
    sections: Vec<(&'static str, Vec<u8>)>,
    signed: bool,
}

impl Program {
    fn new(sections: &[(&'static str, &[u8])]) -> Self {
        let sections = sections.iter().map(|(name, bytes)| (*name, bytes.to_vec())).collect();
        Self { machine: 0x8664, sections, signed: true }
    }

    fn bytes(&self) -> Vec<u8> {
        const HEADERS: usize = 0x400;
        let mut file = vec![0; HEADERS];
        let (mut table, mut strings) = (Vec::new(), vec![0; 4]);
        for (name, bytes) in &self.sections {
            let mut field = name.as_bytes().to_vec();
            if name.len() > 8 {
                field = format!("/{}", strings.len()).into_bytes();
                strings.extend_from_slice(name.as_bytes());
                strings.push(0);
            }
            field.resize(8, 0);
            let (len, at) = (bytes.len() as u32, file.len() as u32);
            table.extend_from_slice(&field);
            for number in [len, at, len, at, 0, 0, 0, 0x4000_0000] {
                table.extend_from_slice(&number.to_le_bytes());
            }
            file.extend_from_slice(bytes);
        }
        let symbols = file.len() as u32;
        let strings_len = strings.len() as u32;
        strings[..4].copy_from_slice(&strings_len.to_le_bytes());
        file.extend_from_slice(&strings);
        let certificates = file.len() as u32;
        if self.signed {
            // WIN_CERTIFICATE: length, revision 2.0, PKCS #7.
            file.extend_from_slice(&[16, 0, 0, 0, 0, 2, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        }
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"MZ");
        put(0x3c, &0x80_u32.to_le_bytes());
        put(0x80, b"PE\0\0");
        put(0x84, &self.machine.to_le_bytes());
        put(0x86, &(self.sections.len() as u16).to_le_bytes());
        put(0x8c, &symbols.to_le_bytes());
        put(0x94, &240_u16.to_le_bytes());
        put(0x98, &0x20b_u16.to_le_bytes());
        put(0x98 + 108, &16_u32.to_le_bytes());
        if self.signed {
            put(0x98 + 112 + 4 * 8, &certificates.to_le_bytes());
            put(0x98 + 112 + 4 * 8 + 4, &16_u32.to_le_bytes());
        }
        put(0x98 + 240, &table);
        file
    }
}

/// A GRUB module: an ELF file with its name in it.
fn module(name: &str) -> Vec<u8> {
    let mut elf = write::Object::new(
        object::BinaryFormat::Elf,
        object::Architecture::X86_64,
        object::Endianness::Little,
    );
    let section = elf.add_section(Vec::new(), b".modname".to_vec(), object::SectionKind::ReadOnlyData);
    elf.append_section_data(section, format!("{name}\0").as_bytes(), 1);
    elf.write().unwrap()
}

/// A section `mods` with these objects.
fn mods(objects: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, payload) in objects {
        body.extend_from_slice(&kind.to_le_bytes());
        body.extend_from_slice(&(payload.len() as u32 + 8).to_le_bytes());
        body.extend_from_slice(payload);
    }
    let mut section = b"mimg\0\0\0\0".to_vec();
    section.extend_from_slice(&24_u64.to_le_bytes());
    section.extend_from_slice(&(24 + body.len() as u64).to_le_bytes());
    section.extend_from_slice(&body);
    section
}

fn grub(modules: &[&str], prefix: &str) -> Vec<u8> {
    let mut objects: Vec<_> = modules.iter().map(|name| (0, module(name))).collect();
    objects.push((3, format!("{prefix}\0\0\0").into_bytes()));
    mods(&objects)
}

fn whole(bytes: Vec<u8>) -> (Arc<dyn ReadAt>, iso::File) {
    let len = bytes.len() as u64;
    let extents = vec![Extent { offset: 0, len }];
    (Arc::new(bytes), iso::File { path: "/EFI/BOOT/X.EFI".into(), len, extents })
}

fn headers(bytes: Vec<u8>) -> Option<pe::Headers> {
    let (source, file) = whole(bytes);
    pe::headers(&content(&source, &file))
}

#[test]
fn headers_tell_processor_signature_and_sections() {
    let program = Program::new(&[(".text", b"code"), (".vendor_cert", b"cert")]);
    let sections = vec![".text".to_owned(), ".vendor_cert".to_owned()];
    assert_eq!(headers(program.bytes()).unwrap(), pe::Headers { arch: Arch::X64, signed: true, sections });
    let unsigned = Program { signed: false, machine: 0xaa64, ..program };
    let found = headers(unsigned.bytes()).unwrap();
    assert_eq!((found.arch, found.signed), (Arch::Aa64, false));
}

#[test]
fn a_certificate_table_outside_the_file_is_no_signature() {
    let mut bytes = Program::new(&[(".text", b"code")]).bytes();
    bytes.truncate(bytes.len() - 1);
    assert!(!headers(bytes).unwrap().signed);
}

#[test]
fn what_is_no_program_for_a_known_processor_is_left_out() {
    assert_eq!(headers(b"MZ, and then nothing".to_vec()), None);
    assert_eq!(headers(Vec::new()), None);
    let riscv = Program { machine: 0x5064, ..Program::new(&[(".text", b"code")]) };
    assert_eq!(headers(riscv.bytes()), None);
}

#[test]
fn roles_come_from_sections_and_only_then_from_names() {
    let role = |name: &str, sections: &[&str]| {
        role(name, &sections.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(role("BOOTX64.EFI", &[".text", ".vendor_cert"]), Some(Role::Shim));
    assert_eq!(role("BOOTX64.EFI", &[".text", "mods"]), Some(Role::Grub));
    assert_eq!(role("BOOTX64.EFI", &[".text", ".linux"]), None);
    assert_eq!(role("mmx64.efi", &[".text"]), Some(Role::MokManager));
    assert_eq!(role("MokManager.efi", &[".text"]), Some(Role::MokManager));
    assert_eq!(role("fbx64.efi", &[".text"]), Some(Role::Fallback));
}

#[test]
fn names_that_get_into_the_tree_are_clean() {
    for name in ["BOOTX64.EFI", "grubx64.efi", "MokManager.efi", "a-b_1.efi"] {
        assert!(is_program(name), "{name}");
    }
    let long = format!("{}.efi", "x".repeat(61));
    for name in ["grub.cfg", ".efi", ".a.efi", "a b.efi", "a/b.efi", "é.efi", "efi", "", long.as_str()] {
        assert!(!is_program(name), "{name}");
    }
}

#[test]
fn a_grub_tells_its_modules_and_its_prefix() {
    let modules = Modules::parse(&grub(&["normal", "efinet", "tftp"], "/grub"));
    assert_eq!(modules, Modules { network: true, prefix: "/grub".into() });
    let modules = Modules::parse(&grub(&["normal", "tftp"], "(hd0)/boot\n"));
    assert_eq!(modules, Modules { network: false, prefix: String::new() });
    assert_eq!(Modules::parse(b""), Modules::default());
}

#[test]
fn a_32_bit_grub_has_a_shorter_head() {
    let wide = grub(&["efinet", "tftp"], "/grub");
    let mut narrow = b"mimg".to_vec();
    narrow.extend_from_slice(&12_u32.to_le_bytes());
    narrow.extend_from_slice(&(wide.len() as u32 - 12).to_le_bytes());
    narrow.extend_from_slice(&wide[24..]);
    assert!(Modules::parse(&narrow).network);
}

#[test]
fn modules_are_read_from_the_program_once() {
    let (source, file) = whole(Program::new(&[("mods", &grub(&["efinet", "tftp"], "/"))]).bytes());
    let loader = loader(&source, file).unwrap();
    assert_eq!((loader.role, loader.signed), (Role::Grub, true));
    assert!(loader.modules(&source).network);
    let gone: Arc<dyn ReadAt> = Arc::new(Vec::new());
    assert!(loader.modules(&gone).network);
}

impl EfiLoader {
    /// One whose GRUB has a network, or none. Its file is a byte long.
    pub(crate) fn made_up(name: &str, arch: Arch, role: Role, signed: bool, network: bool) -> Self {
        let (_, file) = whole(b"x".to_vec());
        let modules = OnceLock::from(Modules { network, prefix: String::new() });
        Self { name: name.into(), arch, role, signed, file, modules }
    }
}

fn named(name: &str, role: Role, signed: bool) -> EfiLoader {
    EfiLoader::made_up(name, Arch::X64, role, signed, false)
}

#[test]
fn a_chain_is_a_shim_and_the_grub_that_it_asks_for() {
    let shim = || named("BOOTX64.EFI", Role::Shim, true);
    for grub in ["grubx64.efi", "GRUB.EFI"] {
        let loaders = [shim(), named(grub, Role::Grub, true), named("mmx64.efi", Role::MokManager, true)];
        let chain = chain(&loaders, Arch::X64).unwrap();
        assert_eq!((chain.grub.name.as_str(), chain.signed()), (grub, true));
    }
    assert!(chain(&[shim()], Arch::X64).is_none());
    assert!(chain(&[shim(), named("grubx64.efi", Role::Fallback, true)], Arch::X64).is_none());
    let alone = [named("bootx64.efi", Role::Grub, true)];
    assert!(!chain(&alone, Arch::X64).unwrap().signed());
    assert!(chain(&alone, Arch::Aa64).is_none());
}

proptest! {
    #[test]
    fn damaged_programs_are_read_without_panic(
        flips in prop::collection::vec((0usize..4096, any::<u8>()), 1..12), cut in 0usize..4096,
    ) {
        let mods = grub(&["efinet", "tftp"], "/grub");
        let mut bytes = Program::new(&[("mods", &mods), (".vendor_cert", b"cert")]).bytes();
        for (at, value) in flips {
            let len = bytes.len();
            bytes[at % len] = value;
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        let (source, file) = whole(bytes);
        if let Some(loader) = loader(&source, file) {
            let _ = loader.modules(&source);
        }
    }

    #[test]
    fn damaged_module_sections_are_read_without_panic(
        flips in prop::collection::vec((0usize..2048, any::<u8>()), 1..12),
    ) {
        let mut section = grub(&["efinet", "tftp"], "/grub");
        for (at, value) in flips {
            let len = section.len();
            section[at % len] = value;
        }
        let _ = Modules::parse(&section);
    }
}
