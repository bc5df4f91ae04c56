//! The rows of a menu: one an ISO, with what else it has behind it; more ISOs than fit a screen in groups.
//!
//! Loaders differ in how they write rows, not in which there are. Names of rows are an ISO's label, or have a `/` in them,
//! which no label has.

use super::{Choice, Firmware, IsoEntry, Item, LOCAL, Menu, title};

/// ISOs of a group, and beside the local disk and the one that boots by itself on the first screen: GRUB's text menu has 12
/// rows.
const PAGE: usize = 10;

/// Groups, before they get larger than a page.
const MAX_GROUPS: usize = 10;

/// A row.
#[derive(Debug)]
pub enum Row<'a> {
    /// Boots something.
    Boot(Boot<'a>),
    /// Opens a menu.
    Sub(Sub<'a>),
}

/// A row that boots something.
#[derive(Debug)]
pub struct Boot<'a> {
    /// Name of the row: the ISO's label, if it is what the ISO stands for.
    pub name: String,
    /// The text that is shown.
    pub title: String,
    /// The item that is booted.
    pub item: &'a Item,
}

/// A row that opens a menu.
#[derive(Debug)]
pub struct Sub<'a> {
    /// Name of the row.
    pub name: String,
    /// Label of the ISO, if the first row behind it is what the ISO stands for.
    pub label: Option<&'a str>,
    /// The text that is shown, and the heading of the menu.
    pub title: String,
    /// Its rows; never empty.
    pub rows: Vec<Row<'a>>,
}

impl<'a> Row<'a> {
    /// Whether it stands for the ISO of that label.
    pub fn stands_for(&self, label: &str) -> bool {
        match self {
            Self::Boot(boot) => boot.name == label,
            Self::Sub(sub) => sub.label == Some(label),
        }
    }

    /// Whether what has that name is it, or behind it.
    pub fn leads_to(&self, name: &str) -> bool {
        self.boots().any(|boot| boot.name == name)
    }

    /// All that can be booted, in order.
    pub fn boots<'r>(&'r self) -> Box<dyn Iterator<Item = &'r Boot<'a>> + 'r> {
        match self {
            Self::Boot(boot) => Box::new(std::iter::once(boot)),
            Self::Sub(sub) => Box::new(sub.rows.iter().flat_map(Row::boots)),
        }
    }
}

/// The rows of a loader's menu, without the one for the local disk.
#[derive(Debug)]
pub struct Rows<'a> {
    /// In order.
    pub rows: Vec<Row<'a>>,
    /// Name of what boots by itself: that of a row, or [`LOCAL`] if it can't be booted by this loader. Nothing else ever
    /// takes its place.
    pub default: String,
}

impl<'a> Rows<'a> {
    /// The rows for machines of that firmware, of the items that the loader can say.
    pub fn new(menu: &'a Menu, firmware: Firmware, can_say: impl Fn(&Item) -> bool) -> Self {
        let of_iso = |entry: &'a IsoEntry| of_iso(entry, firmware, &can_say);
        let isos: Vec<(String, Row<'_>)> =
            menu.entries.iter().filter_map(|entry| Some((short(entry), of_iso(entry)?))).collect();
        let wanted = by_itself(menu, firmware).filter(|name| isos.iter().any(|(_, row)| row.leads_to(name)));
        let default = wanted.unwrap_or_else(|| LOCAL.to_owned());
        Self { rows: paged(isos, &default), default }
    }

    /// All that can be booted, in order.
    pub fn boots(&self) -> impl Iterator<Item = &Boot<'a>> {
        self.rows.iter().flat_map(Row::boots)
    }

    /// The names of the rows that lead to what has that name, outermost first; a row that stands for an ISO has its label.
    pub fn path<'r>(&'r self, name: &'r str) -> Option<Vec<&'r str>> {
        path(&self.rows, name)
    }
}

fn path<'r>(rows: &'r [Row<'_>], name: &'r str) -> Option<Vec<&'r str>> {
    rows.iter().find(|row| row.leads_to(name)).and_then(|row| match row {
        row if row.stands_for(name) => Some(vec![name]),
        Row::Sub(sub) => {
            let mut names = vec![sub.label.unwrap_or(&sub.name)];
            names.extend(path(&sub.rows, name)?);
            Some(names)
        }
        Row::Boot(_) => None,
    })
}

/// Name of what is to boot by itself on machines of that firmware, whether the loader can say it or not.
fn by_itself(menu: &Menu, firmware: Firmware) -> Option<String> {
    let entry = |label: &str| menu.entries.iter().find(|entry| entry.label == label);
    match &menu.default {
        Choice::Local => None,
        Choice::Iso(label) => Some(label.clone()),
        Choice::Live(label) => {
            let items = &entry(label)?.items;
            let mut fitting = items.iter().filter(|item| item.firmware.fits(firmware)).enumerate();
            let (number, item) = fitting.find(|(_, item)| item.live)?;
            Some(name_of(label, number == 0, item))
        }
    }
}

/// The first that a machine's firmware can boot is what the ISO stands for.
fn name_of(label: &str, is_first: bool, item: &Item) -> String {
    if is_first { label.to_owned() } else { format!("{label}/{}", item.name) }
}

fn of_iso<'a>(entry: &'a IsoEntry, firmware: Firmware, can_say: &impl Fn(&Item) -> bool) -> Option<Row<'a>> {
    let mut fitting = entry.items.iter().filter(|item| item.firmware.fits(firmware)).peekable();
    let first = *fitting.peek()?;
    let said: Vec<&Item> = fitting.filter(|item| can_say(item)).collect();
    let name = |item: &Item| name_of(&entry.label, std::ptr::eq(item, first), item);
    let title = title_of(entry);
    match said.as_slice() {
        [] => None,
        [item] => {
            let title = match std::ptr::eq(*item, first) {
                true => title,
                false => title::shown(&format!("{}: {}", entry.label, item.title)),
            };
            Some(Row::Boot(Boot { name: name(item), title, item }))
        }
        items => {
            let label = items.first().is_some_and(|item| std::ptr::eq(*item, first));
            let mut sub = Sub {
                name: format!("{}/", entry.label),
                label: label.then_some(entry.label.as_str()),
                title,
                rows: Vec::new(),
            };
            for item in items {
                let title = Some(title::shown(&item.title)).filter(|title| !title.is_empty());
                let title = title.unwrap_or_else(|| sub.title.clone());
                sub.add(&item.submenu, Boot { name: name(item), title, item });
            }
            Some(Row::Sub(sub))
        }
    }
}

fn title_of(entry: &IsoEntry) -> String {
    let title = title::shown(&title::with_way(&entry.title, entry.way));
    if title.is_empty() { entry.label.clone() } else { title }
}

impl<'a> Sub<'a> {
    /// Adds a row in the submenus of these titles, which are made if they aren't there.
    fn add(&mut self, submenu: &[String], boot: Boot<'a>) {
        let Some((title, rest)) = submenu.split_first() else {
            self.rows.push(Row::Boot(boot));
            return;
        };
        let title = title::shown(title);
        let there = self.rows.iter_mut().find_map(|row| match row {
            Row::Sub(sub) if sub.title == title => Some(sub),
            _ => None,
        });
        if let Some(sub) = there {
            return sub.add(rest, boot);
        }
        // A `/` more than any item has.
        let name = format!("{}/{}", self.name, self.rows.len());
        let mut sub = Self { name, label: None, title, rows: Vec::new() };
        if sub.title.is_empty() {
            sub.title = self.title.clone();
        }
        sub.add(rest, boot);
        self.rows.push(Row::Sub(sub));
    }
}

/// Rows on the first screen, and groups of those that don't fit. What boots by itself is never in a group: its row can be
/// seen.
fn paged<'a>(isos: Vec<(String, Row<'a>)>, default: &str) -> Vec<Row<'a>> {
    if isos.len() <= PAGE + 1 {
        return isos.into_iter().map(|(_, row)| row).collect();
    }
    let (first, others): (Vec<_>, Vec<_>) = isos.into_iter().partition(|(_, row)| row.leads_to(default));
    let groups = others.len().div_ceil(PAGE).min(MAX_GROUPS);
    let size = others.len().div_ceil(groups.max(1));
    let mut rows: Vec<Row<'a>> = first.into_iter().map(|(_, row)| row).collect();
    let mut others = others.into_iter().peekable();
    while others.peek().is_some() {
        let group: Vec<_> = others.by_ref().take(size).collect();
        let end = |row: Option<&(String, Row<'_>)>| row.map(|(name, _)| name.clone()).unwrap_or_default();
        let title = format!("{} to {}", end(group.first()), end(group.last()));
        let name = format!("/{}", rows.len());
        let group = group.into_iter().map(|(_, row)| row).collect();
        rows.push(Row::Sub(Sub { name, label: None, title, rows: group }));
    }
    rows
}

/// So much of a name that two of them fit a row.
fn short(entry: &IsoEntry) -> String {
    let name = Some(title::shown(&entry.name)).filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| entry.label.clone());
    name.get(..24).unwrap_or(&name).trim_end().to_owned()
}
