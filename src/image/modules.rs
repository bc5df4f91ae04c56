//! Lists of modules as depmod(8) writes them, and what has to be loaded for a driver, in order.
//!
//! Takes text and gives names; reads no files. Paths of modules are foreign: what is not a plain path below the lists'
//! own directory is not there.

use std::collections::{BTreeMap, HashMap, HashSet};

/// Modules that one driver may need; mlx5 needs six.
const MOST_NEEDED: usize = 32;

/// Length of a path in a list.
const LONGEST_PATH: usize = 256;

/// Length of an alias; the longest, of USB, have 60 characters.
const LONGEST_ALIAS: usize = 128;

/// `modules.dep`: each module by its name, with its file and what it needs.
pub struct Deps {
    by_name: HashMap<String, Module>,
    by_path: HashMap<String, String>,
}

struct Module {
    path: String,
    /// Paths, the one to be loaded last first.
    needs: Vec<String>,
}

impl Deps {
    /// Reads the list (modules.dep(5)).
    pub fn parse(text: &[u8]) -> Self {
        let mut deps = Self { by_name: HashMap::new(), by_path: HashMap::new() };
        for line in String::from_utf8_lossy(text).lines() {
            let Some((path, needs)) = line.split_once(':') else { continue };
            let (Some(path), Some(name)) = (plain_path(path.trim()), name_of(path)) else { continue };
            let needs = needs.split_whitespace().filter_map(plain_path).take(MOST_NEEDED).collect();
            deps.by_path.insert(path.clone(), name.clone());
            deps.by_name.insert(name, Module { path, needs });
        }
        deps
    }

    /// Whether a module is there.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(&canonical(name))
    }

    /// Files to load for a module, in order, itself last; `None` if it or one of them isn't there. `first` are modules
    /// that must be loaded before others without being needed by them.
    pub fn load_order(&self, name: &str, first: &Softdeps) -> Option<Vec<&str>> {
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        self.add(&canonical(name), first, &mut seen, &mut order)?;
        Some(order)
    }

    fn add<'a>(
        &'a self,
        name: &str,
        first: &Softdeps,
        seen: &mut HashSet<String>,
        order: &mut Vec<&'a str>,
    ) -> Option<()> {
        // Whoever needs himself is loaded once, and a list that has no end ends here.
        if seen.len() >= MOST_NEEDED || !seen.insert(name.to_owned()) {
            return Some(());
        }
        let module = self.by_name.get(name)?;
        for wanted in first.of(name) {
            // What is built in has no line, and what isn't there at all is not needed.
            let _ = self.add(wanted, first, seen, order);
        }
        // The file names all that is needed, the deepest at the end.
        for path in module.needs.iter().rev() {
            let need = self.by_path.get(path)?;
            self.add(need, first, seen, order)?;
        }
        if !order.contains(&module.path.as_str()) {
            order.push(&module.path);
        }
        Some(())
    }
}

/// `modules.softdep`: what is better loaded first.
#[derive(Default)]
pub struct Softdeps(HashMap<String, Vec<String>>);

impl Softdeps {
    /// Reads the list (modprobe.d(5), "softdep").
    pub fn parse(text: &[u8]) -> Self {
        let mut found: HashMap<String, Vec<String>> = HashMap::new();
        for line in String::from_utf8_lossy(text).lines() {
            let mut words = line.split_whitespace();
            let (Some("softdep"), Some(module)) = (words.next(), words.next()) else { continue };
            let mut before = false;
            for word in words {
                match word {
                    "pre:" => before = true,
                    "post:" => before = false,
                    name if before => {
                        let entry = found.entry(canonical(module)).or_default();
                        if entry.len() < MOST_NEEDED {
                            entry.push(canonical(name));
                        }
                    }
                    _ => {}
                }
            }
        }
        Self(found)
    }

    fn of(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Whether `modules.builtin` has a module of that name.
pub fn is_builtin(text: &[u8], name: &str) -> bool {
    String::from_utf8_lossy(text).lines().any(|line| name_of(line.trim()).is_some_and(|found| found == name))
}

/// The aliases of these modules in `modules.alias`, by module.
pub fn aliases<'a>(text: &[u8], wanted: &[&'a str]) -> BTreeMap<&'a str, Vec<String>> {
    let by_name: HashMap<String, &'a str> = wanted.iter().map(|name| (canonical(name), *name)).collect();
    let mut found: BTreeMap<&'a str, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8_lossy(text).lines() {
        let mut words = line.split_whitespace();
        let (Some("alias"), Some(alias), Some(module)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let plain = alias.len() <= LONGEST_ALIAS && alias.bytes().all(|byte| byte.is_ascii_graphic());
        if let Some(name) = by_name.get(&canonical(module)).filter(|_| plain && alias.contains(':')) {
            found.entry(name).or_default().push(alias.to_owned());
        }
    }
    found
}

/// The name of the module in a file, as the kernel has it.
pub fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (name, compression) = file.split_once(".ko")?;
    let known = matches!(compression, "" | ".xz" | ".zst" | ".gz");
    let plain =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    (known && plain).then(|| canonical(name))
}

/// In names of modules `-` and `_` are the same (modprobe(8)).
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

fn plain_path(path: &str) -> Option<String> {
    let plain =
        |part: &str| !part.is_empty() && part != ".." && part.bytes().all(|byte| byte.is_ascii_graphic());
    let fits = path.len() <= LONGEST_PATH && path.split('/').all(plain) && name_of(path).is_some();
    fits.then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEP: &str = "kernel/drivers/block/nbd.ko.xz:\n\
        kernel/net/core/failover.ko.xz:\n\
        kernel/drivers/net/net_failover.ko.xz: kernel/net/core/failover.ko.xz\n\
        kernel/drivers/net/virtio_net.ko.xz: kernel/drivers/net/net_failover.ko.xz kernel/net/core/failover.ko.xz\n\
        kernel/drivers/net/phy/libphy.ko.xz:\n\
        kernel/drivers/net/phy/realtek.ko.xz: kernel/drivers/net/phy/libphy.ko.xz\n\
        kernel/drivers/net/ethernet/realtek/r8169.ko.xz: kernel/drivers/net/phy/libphy.ko.xz\n\
        kernel/a/lonely.ko: kernel/a/gone.ko\n\
        kernel/a/self.ko: kernel/a/self.ko kernel/a/other.ko\nkernel/a/other.ko: kernel/a/self.ko\n";

    fn order(name: &str) -> Option<Vec<String>> {
        let first =
            Softdeps::parse(b"softdep r8169 pre: realtek gone\nsoftdep x post: y\n# softdep\nsoftdep\n");
        let deps = Deps::parse(DEP.as_bytes());
        let order = deps.load_order(name, &first)?;
        Some(order.into_iter().map(|path| name_of(path).unwrap()).collect())
    }

    #[test]
    fn what_is_needed_is_loaded_first() {
        assert_eq!(order("nbd").unwrap(), ["nbd"]);
        assert_eq!(order("virtio-net").unwrap(), ["failover", "net_failover", "virtio_net"]);
        assert_eq!(order("r8169").unwrap(), ["libphy", "realtek", "r8169"]);
        assert_eq!(order("e1000"), None);
        assert_eq!(order("lonely"), None, "what it needs is not there");
        assert_eq!(order("self").unwrap(), ["other", "self"]);
    }

    #[test]
    fn paths_stay_below_their_directory() {
        let text = "../../etc/x.ko:\n/lib/modules/y.ko:\nkernel//z.ko:\nkernel/a b.ko:\nkernel/w.so:\nkernel/v.ko.bz2:\n.ko:\n";
        let deps = Deps::parse(text.as_bytes());
        assert!(deps.by_name.is_empty(), "{:?}", deps.by_path);
    }

    #[test]
    fn aliases_are_by_module() {
        let text = "# Aliases\nalias pci:v00008086d* e1000e\nalias pci:v00001AF4d*sv* virtio_pci\n\
            alias virtio:d00000001v* virtio_net\nalias net-pf-4 ipx\nalias fs-x virtio_net\nalias broken\n\
            alias usb:v0BDAp8153d* r8152\n";
        let found = aliases(text.as_bytes(), &["virtio_net", "e1000e", "igb"]);
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), ["e1000e", "virtio_net"]);
        assert_eq!(found["virtio_net"], ["virtio:d00000001v*"]);
    }

    #[test]
    fn what_is_built_in_has_a_line() {
        let text = b"kernel/drivers/block/loop.ko\nkernel/drivers/block/nbd.ko\n";
        assert!(is_builtin(text, "nbd") && !is_builtin(text, "bd") && !is_builtin(b"", "nbd"));
    }

    proptest! {
        #[test]
        fn any_text_ends_in_an_order_or_none(lines in prop::collection::vec(("[a-d/.]{0,3}[a-d]\\.ko", "([a-d]\\.ko ){0,4}"), 0..12)) {
            let text: String = lines.iter().map(|(path, needs)| format!("{path}: {needs}\n")).collect();
            let deps = Deps::parse(text.as_bytes());
            for name in ["a", "b", "c", "d"] {
                if let Some(order) = deps.load_order(name, &Softdeps::default()) {
                    let set: HashSet<_> = order.iter().collect();
                    prop_assert_eq!(set.len(), order.len());
                    prop_assert_eq!(name_of(order.last().unwrap()).unwrap(), name);
                }
            }
        }

        #[test]
        fn hostile_bytes_are_no_trouble(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let deps = Deps::parse(&bytes);
            prop_assert!(deps.by_name.values().all(|module| !module.path.contains("..") && !module.path.starts_with('/')));
            Softdeps::parse(&bytes);
            aliases(&bytes, &["nbd"]);
        }
    }
}
