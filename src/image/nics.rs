//! The drivers of network cards that machines boot from, as modules of Linux: what is looked for in an ISO's initramfs, and
//! carried by a second one where that lacks it.
//!
//! Chosen by what machines boot from: every card of the hypervisors, the ports on boards and in servers of the last
//! fifteen years, and the USB adapters of machines that have no port. Left out are drivers that do nothing without a
//! firmware file (bnx2, bnx2x, netxen), wireless ones, and those of cards before PCI Express but for e1000 and 8139,
//! which emulators show.

/// A driver, and what is loaded with it though it doesn't need it.
#[derive(Debug, PartialEq, Eq)]
pub struct Nic {
    /// The module that the card's alias names.
    pub name: &'static str,
    /// A module that does the work once the other has found the card, and that it would ask modprobe for.
    pub with: Option<&'static str>,
}

/// In the order in which they get into an archive that may become too large. Names as the kernel has them.
pub const NICS: &[Nic] = &[
    // The bus comes first: its devices are seen only when it is there.
    nic("virtio_pci"),
    nic("virtio_mmio"),
    nic("virtio_net"),
    nic("e1000"),
    nic("e1000e"),
    nic("igb"),
    nic("igc"),
    nic("r8169"),
    nic("tg3"),
    nic("vmxnet3"),
    nic("hv_vmbus"),
    nic("hv_netvsc"),
    nic("ena"),
    nic("gve"),
    nic("xen_netfront"),
    nic("8139cp"),
    nic("8139too"),
    nic("ixgbe"),
    nic("i40e"),
    nic("ice"),
    nic("bnxt_en"),
    Nic { name: "mlx4_core", with: Some("mlx4_en") },
    nic("be2net"),
    nic("atlantic"),
    nic("alx"),
    nic("atl1c"),
    nic("sky2"),
    nic("forcedeth"),
    nic("amd_xgbe"),
    // Boards for AArch64.
    nic("bcmgenet"),
    nic("macb"),
    nic("dwmac_rk"),
    nic("mvneta"),
    nic("fsl_dpaa2_eth"),
    // USB: the host controller, then the adapters.
    nic("xhci_pci"),
    nic("ehci_pci"),
    nic("r8152"),
    nic("ax88179_178a"),
    nic("asix"),
    nic("cdc_ether"),
    nic("cdc_ncm"),
    nic("smsc95xx"),
    nic("lan78xx"),
    // As large as ten others.
    nic("mlx5_core"),
];

/// The driver of that name.
pub fn named(name: &str) -> Option<&'static Nic> {
    NICS.iter().find(|nic| nic.name == name)
}

const fn nic(name: &'static str) -> Nic {
    Nic { name, with: None }
}
