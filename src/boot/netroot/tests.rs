//! Findings out of kernels, initrds and roots together.

use super::*;

/// An x86 kernel's header with that version.
fn kernel(version: &str) -> Vec<u8> {
    let mut image = vec![0; 0x1000];
    image[0x1fe..0x206].copy_from_slice(b"\x55\xaa\x00\x00HdrS");
    image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    image[0x20e..0x210].copy_from_slice(&0x0800_u16.to_le_bytes());
    image[0x236] = 1;
    image.splice(0xa00.., version.bytes().chain([0]));
    image
}

fn initrd(drivers: &[Driver]) -> Features {
    Features {
        found: [Feature::Modprobe].into(),
        kernels: ["6.1.0-x".to_owned()].into(),
        modules: drivers.iter().copied().collect(),
        ..Features::default()
    }
}

/// An initrd with nbd and the drivers of all cards.
fn complete() -> Features {
    let nics = NICS.iter().map(|nic| nic.name.to_owned()).collect();
    Features { nics, ..initrd(&[Driver::Nbd, Driver::Nic]) }
}

fn found(initrd: &Features, roots: Vec<Root>) -> Finding {
    Finding::of(kernel("6.1.0-x (builder) #1").as_slice(), initrd, || roots).0
}

fn refused(finding: Finding) -> String {
    match finding {
        Finding::Refused(reason) => reason,
        Finding::Needs(needs) => panic!("{needs:?}"),
    }
}

#[test]
fn an_initrd_with_the_drivers_needs_no_more() {
    let all = complete();
    let unasked = || -> Vec<Root> { panic!("its root is of no interest") };
    let (finding, pack) = Finding::of(kernel("6.1.0-x").as_slice(), &all, unasked);
    assert_eq!(finding, Finding::Needs(Needs { arch: Arch::X86_64, pack: None, first: false }));
    assert!(pack.is_none());
    let built_in = Features {
        builtin: Some([Driver::Nbd, Driver::Nic].into()),
        builtin_nics: all.nics,
        ..Features::default()
    };
    assert_eq!(found(&built_in, Vec::new()), finding);
}

#[test]
fn drivers_of_further_cards_are_asked_for_and_not_needed() {
    let virtio = Features { nics: ["virtio_net".to_owned()].into(), ..initrd(&[Driver::Nbd, Driver::Nic]) };
    let asked = std::cell::Cell::new(false);
    let roots = || {
        asked.set(true);
        Vec::new()
    };
    let (finding, pack) = Finding::of(kernel("6.1.0-x").as_slice(), &virtio, roots);
    assert!(asked.get() && pack.is_none());
    assert_eq!(finding, Finding::Needs(Needs { arch: Arch::X86_64, pack: None, first: false }));
}

#[test]
fn what_a_kernel_does_not_get_behind_is_put_at_the_end() {
    let first = |version: &str, initrd: Features| match Finding::of(
        kernel(version).as_slice(),
        &initrd,
        Vec::new,
    )
    .0
    {
        Finding::Needs(needs) => needs.first,
        Finding::Refused(reason) => panic!("{reason}"),
    };
    assert!(!first("6.1.0-x", complete()));
    assert!(first("6.1.0-x", Features { damage: Some("junk".into()), ..complete() }));
    let lz4 = || Features { open_end: true, ..complete() };
    assert!(first("5.4.0-26-generic", Features { kernels: ["5.4.0-26-generic".to_owned()].into(), ..lz4() }));
    assert!(!first("6.1.0-x", lz4()), "zeros end it there");
}

#[test]
fn drivers_that_it_can_not_load_are_none() {
    let none = "no image in it has modules of its kernel, 6.1.0-x";
    let without_modprobe = Features { found: Default::default(), ..complete() };
    assert_eq!(refused(found(&without_modprobe, Vec::new())), none);
    let other_kernel = Features { kernels: ["5.10".to_owned()].into(), ..complete() };
    assert_eq!(refused(found(&other_kernel, Vec::new())), none);
    assert_eq!(refused(found(&initrd(&[Driver::Nic]), Vec::new())), none);
    assert_eq!(refused(found(&Features::default(), Vec::new())), none);
}

#[test]
fn a_root_that_can_not_be_read_is_named() {
    let roots = vec![("/live/x.squashfs".to_owned(), Arc::new(b"junk".to_vec()) as Arc<dyn ReadAt>)];
    assert_eq!(
        refused(found(&initrd(&[]), roots)),
        "/live/x.squashfs can't be read: no squashfs, EROFS or ext4"
    );
}

#[test]
fn a_kernel_that_is_not_known_is_told_so() {
    let (finding, _) = Finding::of(&b"junk"[..], &initrd(&[]), Vec::new);
    assert_eq!(refused(finding), "its kernel is of no known kind");
}

#[test]
fn an_archive_is_the_program_and_then_the_drivers() {
    let directory = tempfile::tempdir().unwrap();
    let programs = || Programs::find(Some(directory.path()));
    let pack = Pack {
        len: 3,
        sum: 7,
        from: "/x.squashfs".into(),
        nbd: true,
        nics: vec!["igb".into(), "igc".into()],
    };
    let needs = Finding::Needs(Needs { arch: Arch::X86_64, pack: Some(pack), first: false });
    let bytes = Arc::new(Content::text("abc".into()));
    match needs.archive(&programs(), Some(&bytes)) {
        Netroot::Refused(reason) => {
            assert!(reason.starts_with("netroot-init-x86_64 is not installed"), "{reason}")
        }
        _ => panic!("there is no program"),
    }
    let program = program::tests::static_program(62, 1);
    std::fs::write(directory.path().join("netroot-init-x86_64"), program).unwrap();
    let Netroot::Ready(archive) = needs.archive(&programs(), Some(&bytes)) else { panic!("no archive") };
    assert_eq!(archive.holds, "nbd and 2 network drivers out of /x.squashfs");
    let whole = archive.content().read_at(0, usize::MAX).unwrap();
    assert_eq!((&whole[512..514], &whole[whole.len() - 3..]), (&[0x1f, 0x8b][..], &b"abc"[..]));
    assert_eq!(whole[..512], [0; 512], "for an unpacker that takes it for more of the initrd");
    assert_eq!(archive.content().size(), whole.len() as u64);
    let Netroot::Ready(again) = needs.archive(&programs(), Some(&bytes)) else { panic!("no archive") };
    assert_eq!(again.content().identity(), archive.content().identity());
}

#[test]
fn an_installers_archive_has_drivers_out_of_packages_and_makes_a_disc_of_the_disk() {
    let path =
        |name: &str| format!("/pool/main/l/linux/{name}-modules-6.1.0-50-amd64-di_6.1.176-1_amd64.udeb");
    let names = ["nbd", "nic-shared", "nic"].map(path);
    let other = (
        "/pool/main/l/linux/nbd-modules-6.1.0-47-amd64-di_1_amd64.udeb".to_owned(),
        Arc::new(vec![0_u8]) as _,
    );
    let packages = names.into_iter().zip(udeb::tests::disc("data.tar.xz"));
    let roots: Vec<Root> = std::iter::once(other).chain(packages).collect();
    let installer =
        Features { found: [Feature::DebianInstaller, Feature::Modprobe].into(), ..Features::default() };
    let (finding, bytes) = Finding::of(kernel("6.1.0-50-amd64 (x)").as_slice(), &installer, || roots);
    let pack = finding.pack().unwrap_or_else(|| panic!("{finding:?}"));
    assert_eq!((pack.nbd, pack.nics.as_slice()), (true, &["r8169".to_owned(), "amd_xgbe".to_owned()][..]));
    assert_eq!(pack.from, "/pool/main/l/linux/");
    let mut archive = Vec::new();
    flate2::read::GzDecoder::new(bytes.unwrap().as_slice()).read_to_end(&mut archive).unwrap();
    let text = String::from_utf8_lossy(&archive);
    assert!(
        text.contains("lib/udev/rules.d/61-netroot-cd.rules\0") && text.contains("ENV{ID_CDROM}=\"1\"\n")
    );
    assert!(!text.contains("\0lib\0"), "it may be a link");
}

#[test]
fn a_finding_survives_being_stored() {
    let pack = Pack { len: 3, sum: u64::MAX, from: "/x".into(), nbd: true, nics: vec!["igb".into()] };
    for finding in [
        Finding::Needs(Needs { arch: Arch::Aarch64, pack: Some(pack), first: false }),
        Finding::Needs(Needs { arch: Arch::X86_64, pack: None, first: false }),
        Finding::Refused("x".into()),
    ] {
        let json = serde_json::to_string(&finding).unwrap();
        assert_eq!(serde_json::from_str::<Finding>(&json).unwrap(), finding, "{json}");
    }
}
