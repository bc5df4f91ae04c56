//! Roots that are made of names and bytes.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use super::*;
use crate::storage::source::ReadAt;

struct Root(HashMap<String, Vec<u8>>);

impl Files for Root {
    fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, Error> {
        match self.0.get(path) {
            Some(bytes) if bytes.len() as u64 > most => Err(Error::TooLarge(path.into(), most)),
            found => Ok(found.cloned()),
        }
    }

    fn top(&self) -> Result<Vec<String>, Error> {
        Ok(self.0.keys().filter_map(|path| path.split('/').next()).map(str::to_owned).collect())
    }

    fn image(&self, _path: &str) -> Result<Option<Arc<dyn ReadAt>>, Error> {
        Ok(None)
    }
}

const ALIASES: &str = "alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\nalias virtio:d00000001v* virtio_net\n\
    alias pci:v000015B3d00001003sv* mlx4_core\nalias pci:v000015B3d00001007sv* mlx4_core\nalias pci:v00001969d* alx\n";

const DEP: &str = "kernel/drivers/block/nbd.ko.xz:\nkernel/drivers/virtio/virtio_pci.ko.zst: kernel/drivers/virtio/virtio.ko.gz\n\
    kernel/drivers/virtio/virtio.ko.gz:\nkernel/net/core/failover.ko:\n\
    kernel/drivers/net/virtio_net.ko: kernel/net/core/failover.ko kernel/drivers/virtio/virtio.ko.gz\n\
    kernel/mlx/mlx4_core.ko:\nkernel/mlx/mlx4_en.ko: kernel/mlx/mlx4_core.ko\n";

fn module(name: &str) -> Vec<u8> {
    format!("\x7fELF{name}").into_bytes()
}

fn packed(path: &str, module: &[u8]) -> Vec<u8> {
    match path.rsplit('.').next().unwrap() {
        "xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
            encoder.write_all(module).unwrap();
            encoder.finish().unwrap()
        }
        "zst" => zstd::encode_all(module, 3).unwrap(),
        "gz" => cpio::gzip(module),
        _ => module.to_vec(),
    }
}

/// A root with these lists, and every module that `dep` names.
fn root(directory: &str, dep: &str, builtin: &str) -> Root {
    let mut files = HashMap::from([
        (format!("{directory}/6.1/modules.dep"), dep.as_bytes().to_vec()),
        (format!("{directory}/6.1/modules.alias"), ALIASES.as_bytes().to_vec()),
        (format!("{directory}/6.1/modules.builtin"), builtin.as_bytes().to_vec()),
        (format!("{directory}/6.1/modules.softdep"), b"softdep virtio_net pre: failover\n".to_vec()),
    ]);
    for path in dep.lines().filter_map(|line| Some(line.split_once(':')?.0)) {
        let name = modules::name_of(path).unwrap();
        files.insert(format!("{directory}/6.1/{path}"), packed(path, &module(&name)));
    }
    Root(files)
}

const NBD: Wanted = Wanted { nbd: true, nics: Vec::new(), some_nic: false };

fn taken(root: &Root, wanted: &Wanted) -> Drivers {
    take(root, "6.1", wanted).unwrap().unwrap()
}

fn all_of(root: &Root) -> Drivers {
    taken(root, &Wanted::all())
}

#[test]
fn modules_are_unpacked_and_in_order() {
    let drivers = all_of(&root("lib/modules", DEP, ""));
    assert_eq!(drivers.load, ["nbd.ko"]);
    assert_eq!(drivers.nics, ["virtio_pci", "virtio_net", "mlx4_core"]);
    let nic: Vec<(usize, String)> =
        drivers.nic.iter().map(|(aliases, modules)| (aliases.len(), modules.join(" "))).collect();
    let want = [
        (1, "virtio.ko virtio_pci.ko"),
        (1, "failover.ko virtio.ko virtio_net.ko"),
        (2, "mlx4_core.ko mlx4_en.ko"),
    ];
    // The order among what doesn't need each other is modules.dep's.
    assert_eq!(nic[0], (want[0].0, want[0].1.to_owned()));
    assert_eq!(nic[2], (want[2].0, want[2].1.to_owned()));
    assert!(nic[1].1.ends_with(" virtio_net.ko") && nic[1].1.contains("failover.ko"), "{nic:?}");
    for (name, bytes) in &drivers.files {
        assert_eq!(*bytes, module(name.strip_suffix(".ko").unwrap()), "{name}");
    }
    assert_eq!(drivers.files.len(), 7);
}

#[test]
fn the_archive_has_the_names_that_the_program_knows() {
    let drivers = all_of(&root("usr/lib/modules", DEP, ""));
    let bytes = drivers.pack(None);
    assert_eq!(bytes, all_of(&root("usr/lib/modules", DEP, "")).pack(None));
    let mut archive = Vec::new();
    flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut archive).unwrap();
    let text = String::from_utf8_lossy(&archive);
    for name in
        ["netrootfs/modules/nbd.ko", "netrootfs/modules/mlx4_en.ko", "netrootfs/load", "netrootfs/nic"]
    {
        assert_eq!(text.matches(&format!("{name}\0")).count(), 1, "{name}");
    }
    assert!(text.contains("\0nbd.ko\n\0"), "load");
    assert!(
        text.contains(
            "\npci:v000015B3d00001003sv* mlx4_core.ko mlx4_en.ko\npci:v000015B3d00001007sv* mlx4_core.ko mlx4_en.ko\n"
        ),
        "{text}"
    );
    let features = crate::image::initrd::probe(bytes.as_slice(), Default::default()).unwrap();
    assert_eq!(features.damage, None);
}

#[test]
fn what_is_not_wanted_is_not_taken() {
    let nbd = taken(&root("modules", DEP, ""), &NBD);
    assert_eq!((nbd.files.len(), nbd.nics.len(), nbd.has_nbd()), (1, 0, true));
    let nics = taken(&root("modules", DEP, ""), &Wanted { nbd: false, ..Wanted::all() });
    assert!(!nics.has_nbd() && !nics.files.contains_key("nbd.ko") && !nics.is_empty());
    let one = Wanted {
        nbd: false,
        nics: crate::image::nics::named("mlx4_core").into_iter().collect(),
        some_nic: false,
    };
    assert_eq!(taken(&root("modules", DEP, ""), &one).nics, ["mlx4_core"]);
}

#[test]
fn what_is_built_in_needs_no_module() {
    let builtin = "kernel/drivers/block/nbd.ko\nkernel/drivers/net/virtio_net.ko\n";
    let drivers = all_of(&root("lib/modules", "", builtin));
    assert!(drivers.is_empty() && !drivers.has_nbd());
}

#[test]
fn a_kernel_without_the_drivers_is_told_so() {
    let without = DEP.replace("kernel/drivers/block/nbd.ko.xz:\n", "");
    let reason = take(&root("lib/modules", &without, ""), "6.1", &Wanted::all()).unwrap_err();
    assert_eq!(reason, "its kernel has no nbd, neither built in nor as a module");
    let only_nbd = "kernel/drivers/block/nbd.ko.xz:\n";
    let only_nbd = root("lib/modules", only_nbd, "");
    let reason = take(&only_nbd, "6.1", &Wanted::all()).unwrap_err();
    assert_eq!(reason, "its kernel has no driver of a usual network card");
    assert!(taken(&only_nbd, &Wanted { some_nic: false, ..Wanted::all() }).has_nbd(), "the initrd has some");
}

#[test]
fn another_kernels_modules_are_none() {
    assert!(take(&root("lib/modules", DEP, ""), "6.2", &Wanted::all()).unwrap().is_none());
}

#[test]
fn a_store_has_them_in_a_package() {
    let store = root("abc123-linux-6.1-modules/lib/modules", DEP, "");
    assert!(taken(&store, &NBD).has_nbd());
    assert!(take(&root("abc123-firefox/lib/modules", DEP, ""), "6.1", &NBD).unwrap().is_none());
}

#[test]
fn a_package_whose_name_is_not_printable_is_passed_over() {
    let store = root("abc123-linux-\x1b[31m/lib/modules", DEP, "");
    assert!(take(&store, "6.1", &NBD).unwrap().is_none());
}

#[test]
fn a_module_that_can_not_be_used_is_a_reason() {
    let nbd = "lib/modules/6.1/kernel/drivers/block/nbd.ko.xz";
    let with = |bytes: Option<Vec<u8>>| {
        let mut root = root("lib/modules", DEP, "");
        match bytes {
            Some(bytes) => root.0.insert(nbd.into(), bytes),
            None => root.0.remove(nbd),
        };
        take(&root, "6.1", &NBD).unwrap_err()
    };
    assert_eq!(with(None), "kernel/drivers/block/nbd.ko.xz is not there");
    assert_eq!(with(Some(packed("x.xz", b"#!/bin/sh"))), "kernel/drivers/block/nbd.ko.xz is no module");
    assert!(with(Some(b"junk".to_vec())).starts_with("kernel/drivers/block/nbd.ko.xz: "));
    let bomb = packed("x.xz", &vec![0; LARGEST_MODULE as usize + 1]);
    assert_eq!(
        with(Some(bomb)),
        format!("kernel/drivers/block/nbd.ko.xz is larger than {LARGEST_MODULE} bytes")
    );
}

#[test]
fn a_network_driver_that_can_not_be_used_is_left_out() {
    let mut root = root("lib/modules", DEP, "");
    let broken = "lib/modules/6.1/kernel/drivers/virtio/virtio_pci.ko.zst";
    root.0.insert(broken.into(), b"junk".to_vec());
    assert_eq!(all_of(&root).nics, ["virtio_net", "mlx4_core"]);
    for path in ["net/core/failover.ko", "mlx/mlx4_core.ko"] {
        root.0.remove(&format!("lib/modules/6.1/kernel/{path}")).unwrap();
    }
    let reason = take(&root, "6.1", &Wanted::all()).unwrap_err();
    assert!(reason.starts_with("virtio_pci: kernel/drivers/virtio/virtio_pci.ko.zst: "), "{reason}");
    let more = Wanted { some_nic: false, ..Wanted::all() };
    assert!(taken(&root, &more).has_nbd(), "the initrd has some");
}

#[test]
fn network_drivers_that_are_too_much_are_left_out() {
    let mut root = root("lib/modules", DEP, "");
    let mut large = module("virtio_net");
    large.resize(LARGEST_MODULE as usize, 0);
    for path in ["kernel/drivers/net/virtio_net.ko", "kernel/net/core/failover.ko", "kernel/mlx/mlx4_en.ko"] {
        root.0.insert(format!("lib/modules/6.1/{path}"), large.clone());
    }
    // Two of three find room, and then there is none for the small ones that are needed with the third.
    let drivers = all_of(&root);
    assert!(drivers.nics.contains(&"virtio_pci".to_owned()), "{:?}", drivers.nics);
    assert!(!drivers.nics.contains(&"virtio_net".to_owned()), "{:?}", drivers.nics);
    assert!(drivers.nics.contains(&"mlx4_core".to_owned()), "{:?}", drivers.nics);
    assert!(drivers.files.values().map(Vec::len).sum::<usize>() <= MOST_BYTES);
}

#[test]
fn nbd_with_more_than_a_client_can_hold_is_a_reason() {
    let dep =
        "kernel/nbd.ko: kernel/a.ko kernel/b.ko kernel/c.ko\nkernel/a.ko:\nkernel/b.ko:\nkernel/c.ko:\n";
    let mut root = root("lib/modules", dep, "");
    for name in ["a", "b", "c"] {
        let mut large = module(name);
        large.resize(LARGEST_MODULE as usize, 0);
        root.0.insert(format!("lib/modules/6.1/kernel/{name}.ko"), large);
    }
    let reason = take(&root, "6.1", &NBD).unwrap_err();
    assert_eq!(reason, TOO_MUCH);
}
