//! Rendered scripts, read back by the model of each loader: whatever a menu says, the loader offers and boots exactly that.

use arbitrary::{Arbitrary, Result, Unstructured};
use netrootfs::image::args::{Arg, Args};
use netrootfs::tree::render::{self, Choice, Firmware, IsoEntry, Item, Menu};

/// Names of entries that mean something in one of the languages.
const LABELS: [&str; 14] = [
    "start", "local", "back", "failed", "linux", "F42", "F42.0", "0", "1-bios", "default", "a", "b", "c", "d",
];

/// grub.cfg.
pub fn grub(bytes: &[u8]) {
    if let Ok((menu, [uefi, given])) = menu(bytes) {
        render::grub::model::assert_reads(&menu, uefi, given);
    }
}

/// pxelinux.cfg, plain and for menu.c32.
pub fn pxelinux(bytes: &[u8]) {
    if let Ok((menu, [uefi, graphical])) = menu(bytes) {
        render::pxelinux::model::assert_reads(&menu, uefi, graphical);
    }
}

/// boot.ipxe.
pub fn ipxe(bytes: &[u8]) {
    if let Ok((menu, [uefi, given])) = menu(bytes) {
        render::ipxe::model::assert_reads(&menu, uefi, given);
    }
}

/// A menu of any bytes. What there are too few bytes for is empty, or the first of its kind.
fn menu(bytes: &[u8]) -> Result<(Menu, [bool; 2])> {
    let mut from = Unstructured::new(bytes);
    let choices = from.arbitrary()?;
    let many = from.ratio(1, 8)?;
    let count = if many { from.int_in_range(12..=13)? } else { from.int_in_range(1..=3)? };
    let choice = *from.choose(&[Choice::Iso, Choice::Live, |_| Choice::Local])?;
    let default = choice((*from.choose(&LABELS)?).to_owned());
    let timeout = *from.choose(&[0, 5])?;
    let entries = LABELS.iter().take(count).map(|label| entry(&mut from, label)).collect::<Result<_>>()?;
    Ok((Menu { default, timeout, append: Args::default(), entries }, choices))
}

fn entry(from: &mut Unstructured<'_>, label: &str) -> Result<IsoEntry> {
    let items = from.int_in_range(1..=3)?;
    Ok(IsoEntry {
        label: label.to_owned(),
        name: String::from_utf8_lossy(from.bytes(4.min(from.len()))?).into_owned(),
        title: text(from)?,
        way: *from.choose(&[None, Some("HTTP")])?,
        items: (0..items).map(|number| item(from, number)).collect::<Result<_>>()?,
    })
}

fn item(from: &mut Unstructured<'_>, number: usize) -> Result<Item> {
    let submenus = from.int_in_range(0..=2)?;
    let submenu =
        (0..submenus).map(|_| from.choose(&["Advanced", "&& x ${y}"]).map(|title| (*title).to_owned()));
    let submenu = submenu.collect::<Result<_>>()?;
    let args = Args::parse(&text(from)?.replace(char::is_control, ""));
    let server = Arg::new("root=nbd:").server(None).text(":X");
    Ok(Item {
        name: if number == 0 { String::new() } else { number.to_string() },
        title: text(from)?,
        submenu,
        kernel: format!("vmlinuz_X.{number}"),
        initrds: (0..from.int_in_range(0..=2)?).map(|initrd| format!("initrd_X.{initrd}")).collect(),
        args: if bool::arbitrary(from)? { args.prepend([server]) } else { args },
        firmware: *from.choose(&[Firmware::Both, Firmware::Bios, Firmware::Uefi])?,
        live: bool::arbitrary(from)?,
    })
}

fn text(from: &mut Unstructured<'_>) -> Result<String> {
    let len = usize::from(u8::arbitrary(from)?).min(from.len());
    Ok(String::from_utf8_lossy(from.bytes(len)?).into_owned())
}
