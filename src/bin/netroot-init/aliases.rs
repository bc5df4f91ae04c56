//! Which module for which device: the archive's lists, the globs of module aliases, and which devices lead to a network.
//!
//! Pure. The lists are netrootfs's own; what stands in them is checked all the same.

/// The file names of `netrootfs/load`, in order. Names only: what has a slash in it is left out.
pub fn load_list(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|name| is_name(name))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}

/// The modules that `netrootfs/nic` has for an alias, in load order: of each line `GLOB a.ko b.ko …` whose glob matches.
pub fn modules_for<'a>(table: &'a str, alias: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for line in table.lines() {
        let mut words = line.split_ascii_whitespace();
        if !words.next().is_some_and(|glob| matches(glob, alias)) {
            continue;
        }
        for name in words.filter(|name| is_name(name)) {
            if !found.contains(&name) {
                found.push(name);
            }
        }
    }
    found
}

/// Whether a device of that bus and alias is a network card, or what one may hang on.
pub fn leads_to_network(bus: &str, alias: &str) -> bool {
    match bus {
        // Base class 02 is the network, subclass 00 of it Ethernet; 0c03 is a USB controller.
        "pci" => alias.contains("bc02sc00") || alias.to_ascii_lowercase().contains("bc0csc03"),
        "virtio" => alias.starts_with("virtio:d00000001"),
        // GUID of the synthetic network device (Linux, include/linux/hyperv.h, HV_NIC_GUID).
        "vmbus" => alias == "vmbus:635161f83edfc546913ff2d2f965ed0e",
        // Hyper-V's bus itself, and virtio without PCI.
        "acpi" => alias.contains("VMBUS") || alias.contains("LNRO0005"),
        "xen" => alias == "xen:vif",
        // Interfaces of class 02 (communication), 0a (its data) and ff (the vendor's own: most of the fast cards).
        "usb" => ["ic02", "ic0A", "icFF", "ice0"].iter().any(|class| contains_ignoring_case(alias, class)),
        // Device tree, for what is soldered on.
        "platform" => alias.starts_with("of:N") && (alias.contains("ethernet") || alias.contains("usb")),
        _ => false,
    }
}

fn contains_ignoring_case(text: &str, part: &str) -> bool {
    text.to_ascii_lowercase().contains(&part.to_ascii_lowercase())
}

/// Whether a glob of `*`, `?` and `[…]` matches the whole text. Never more steps than the product of both lengths.
pub fn matches(glob: &str, text: &str) -> bool {
    let (mut glob, mut text) = (glob.as_bytes(), text.as_bytes());
    // Where to go on when what follows the last star doesn't match here: the star may take one byte more.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some(rest) = glob.strip_prefix(b"*") {
            retry = Some((rest, text));
            glob = rest;
            continue;
        }
        let step = match text.split_first() {
            None if glob.is_empty() => return true,
            None => return false,
            Some((&byte, text_rest)) => one(glob, byte).map(|glob_rest| (glob_rest, text_rest)),
        };
        if let Some(rests) = step {
            (glob, text) = rests;
            continue;
        }
        let Some((after_star, [_, rest @ ..])) = retry else { return false };
        retry = Some((after_star, rest));
        (glob, text) = (after_star, rest);
    }
}

/// The rest of the glob if its first symbol, which is no star, stands for that byte.
fn one(glob: &[u8], byte: u8) -> Option<&[u8]> {
    match glob.split_first()? {
        (b'?', rest) => Some(rest),
        (b'[', rest) => {
            let end = rest.iter().position(|symbol| *symbol == b']').filter(|end| *end > 0);
            match end.and_then(|end| rest.split_at_checked(end)) {
                Some((set, rest)) => in_set(set, byte).then(|| rest.get(1..).unwrap_or_default()),
                None => (byte == b'[').then_some(rest),
            }
        }
        (symbol, rest) => (*symbol == byte).then_some(rest),
    }
}

fn in_set(set: &[u8], byte: u8) -> bool {
    let (negated, mut set) = match set {
        [b'!' | b'^', rest @ ..] if !rest.is_empty() => (true, rest),
        set => (false, set),
    };
    let mut found = false;
    while let [first, rest @ ..] = set {
        set = match rest {
            [b'-', last, rest @ ..] => {
                found |= (*first..=*last).contains(&byte);
                rest
            }
            rest => {
                found |= *first == byte;
                rest
            }
        };
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const E1000: &str = "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00";
    const TABLE: &str = "pci:v00008086d0000100Esv*sd*bc*sc*i* e1000.ko\n\
        pci:v00001AF4d*sv*sd*bc*sc*i* virtio.ko virtio_ring.ko virtio_pci.ko\n\
        virtio:d00000001v* failover.ko net_failover.ko virtio_net.ko\n\
        # a comment\n\n\
        usb:v0BDAp8152d*dc*dsc*dp*icFFisc*ip*in* mii.ko ../evil.ko r8152.ko\n\
        usb:v0BDAp*d*dc*dsc*dp*ic*isc*ip*in* mii.ko cdc_ether.ko\n";

    #[test]
    fn a_devices_modules_come_in_load_order() {
        assert_eq!(modules_for(TABLE, E1000), ["e1000.ko"]);
        assert_eq!(
            modules_for(TABLE, "virtio:d00000001v00001AF4"),
            ["failover.ko", "net_failover.ko", "virtio_net.ko"]
        );
        assert!(modules_for(TABLE, "virtio:d00000002v00001AF4").is_empty());
        assert!(modules_for("", E1000).is_empty());
    }

    #[test]
    fn several_lines_add_up_and_paths_are_left_out() {
        let alias = "usb:v0BDAp8152d3000dc00dsc00dp00icFFisc00ip00in00";
        assert_eq!(modules_for(TABLE, alias), ["mii.ko", "r8152.ko", "cdc_ether.ko"]);
    }

    #[test]
    fn a_list_holds_names() {
        let list: Vec<_> = load_list("a.ko\n\n  b.ko \n../../etc/c.ko\n.\n/d.ko\r\nnbd.ko\r\n").collect();
        assert_eq!(list, ["a.ko", "b.ko", "nbd.ko"]);
    }

    #[test]
    fn cards_and_what_they_hang_on_are_wanted() {
        for (bus, alias) in [
            ("pci", E1000),
            ("pci", "pci:v00001B36d0000000Dsv00001AF4sd00001100bc0Csc03i30"),
            ("virtio", "virtio:d00000001v00001AF4"),
            ("usb", "usb:v0BDAp8152d3000dc00dsc00dp00icFFisc00ip00in00"),
            ("usb", "usb:v0B95p772Bd0001dc00dsc00dp00ic02isc06ip00in00"),
            ("acpi", "acpi:VMBUS:VMBUS:"),
            ("xen", "xen:vif"),
        ] {
            assert!(leads_to_network(bus, alias), "{alias}");
        }
        for (bus, alias) in [
            ("pci", "pci:v00008086d00007010sv00001AF4sd00001100bc01sc01i80"),
            ("pci", "pci:v00008086d000024F3sv00008086sd00000010bc02sc80i00"),
            ("virtio", "virtio:d00000002v00001AF4"),
            ("usb", "usb:v0627p0001d0000dc00dsc00dp00ic03isc01ip02in00"),
            ("hid", "hid:b0003g0001v00000627p00000001"),
        ] {
            assert!(!leads_to_network(bus, alias), "{alias}");
        }
    }

    #[test]
    fn globs_match_the_whole_text() {
        for (glob, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZcd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("v[0-9A]x", "vAx", true),
            ("v[0-9A]x", "vBx", false),
            ("v[!0-9]x", "vBx", true),
            ("v[^0-9]x", "v5x", false),
            ("v[", "v[", true),
            ("v[]x", "v[]x", true),
            ("**a", "bbba", true),
            ("a", "", false),
        ] {
            assert_eq!(matches(glob, text), expected, "{glob} on {text}");
        }
    }

    #[test]
    fn many_stars_end_soon() {
        let glob = "*a".repeat(50);
        assert!(!matches(&glob, &format!("{}b", "a".repeat(5000))));
    }

    proptest! {
        #[test]
        fn any_glob_ends(glob in "[ab*?\\[\\]!-]{0,40}", text in "[ab]{0,200}") {
            let _ = matches(&glob, &text);
        }

        #[test]
        fn a_text_matches_itself(text in "[a-zA-Z0-9:._-]{0,60}") {
            prop_assert!(matches(&text, &text));
            prop_assert!(matches("*", &text));
        }

        #[test]
        fn any_table_is_read(table in "\\PC{0,200}", alias in "\\PC{0,80}") {
            let _ = modules_for(&table, &alias);
            prop_assert!(load_list(&table).all(|name| !name.contains('/')));
        }
    }
}
