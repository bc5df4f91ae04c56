//! Kernel arguments as values: a list of words, split as the kernel splits its command line.
//!
//! A word may hold the address of the server as a value of its own, for who knows it better when the word is written
//! down. What comes in has passed the gate of the menu readers; each renderer writes the words in its loader's language.

use std::fmt;

/// Arguments in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Args(Vec<Arg>);

/// One argument: `key`, `key=value` or `key="value with blanks"`, as the kernel reads it. Quotes are part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Arg(Vec<Part>);

/// A piece of an argument.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Part {
    /// As it is.
    Text(String),
    /// The address of the server that the loader came from.
    Server,
}

impl Arg {
    /// An argument of plain text.
    pub fn new(text: impl Into<String>) -> Self {
        Self::default().text(text)
    }

    /// With more text behind it.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        let text = text.into();
        match self.0.last_mut() {
            Some(Part::Text(last)) => last.push_str(&text),
            _ if text.is_empty() => {}
            _ => self.0.push(Part::Text(text)),
        }
        self
    }

    /// With the server's address behind it: this one, or what the loader knows.
    pub fn server(mut self, address: Option<&str>) -> Self {
        match address {
            Some(address) => self.text(address),
            None => {
                self.0.push(Part::Server);
                self
            }
        }
    }

    /// Its pieces, in order.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The text before the first `=`.
    pub fn key(&self) -> &str {
        let text = self.head();
        text.split_once('=').map_or(text, |(key, _)| key)
    }

    /// The text behind the first `=`, up to the server's address; `None` if there is no `=`.
    pub fn value(&self) -> Option<&str> {
        self.head().split_once('=').map(|(_, value)| value)
    }

    /// The text up to the server's address, or all of it.
    fn head(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// Whether it begins the arguments of init.
    fn ends_the_kernels(&self) -> bool {
        matches!(self.0.as_slice(), [Part::Text(text)] if text == "--" || text == "---")
    }
}

/// As the kernel gets it; the server's address, where it is left to the loader, as `<server>`.
impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Server => f.write_str("<server>"),
        })
    }
}

/// `---` and `--` end the kernel's own arguments; init's follow.
///
/// ```
/// use netrootfs::image::args::{Arg, Args};
///
/// let args = Args::parse("boot=live quiet --- splash").without(&["quiet"]);
/// let server = Arg::new("fetch=http://").server(Some("10.0.0.1")).text("/root.squashfs");
/// assert_eq!(args.prepend([server]).to_string(), "fetch=http://10.0.0.1/root.squashfs boot=live --- splash");
/// ```
impl Args {
    /// Splits a line at blanks that don't stand between double quotes (Linux, lib/cmdline.c, `next_arg`).
    pub fn parse(line: &str) -> Self {
        let mut quoted = false;
        let words = line.split(|symbol: char| {
            quoted ^= symbol == '"';
            symbol.is_ascii_whitespace() && !quoted
        });
        words.filter(|word| !word.is_empty()).map(Arg::new).collect()
    }

    /// The arguments one by one.
    pub fn iter(&self) -> impl Iterator<Item = &Arg> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is an argument of that key.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|arg| arg.key() == key)
    }

    /// The value of the last argument of that key, as the kernel takes it: up to the server's address, if that is in it.
    pub fn value(&self, key: &str) -> Option<&str> {
        let arg = self.0.iter().rfind(|arg| arg.key() == key)?;
        Some(arg.head().split_once('=').map_or("", |(_, value)| value))
    }

    /// The values of all arguments of that key, in order.
    pub fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        let of_key = self.0.iter().filter(move |arg| arg.key() == key);
        of_key.map(|arg| arg.head().split_once('=').map_or("", |(_, value)| value))
    }

    /// Takes out each argument whose key is one of these. A key that ends in `*` stands for all that begin so.
    pub fn without(mut self, keys: &[&str]) -> Self {
        self.0.retain(|arg| !keys.iter().any(|key| matches(arg.key(), key)));
        self
    }

    /// With this address in the place of what the loader would know.
    pub fn with_server(&self, address: &str) -> Self {
        let text = |arg: &Arg| match arg.0.contains(&Part::Server) {
            true => arg.0.iter().fold(Arg::default(), |arg, part| match part {
                Part::Text(text) => arg.text(text),
                Part::Server => arg.text(address),
            }),
            false => arg.clone(),
        };
        self.0.iter().map(text).collect()
    }

    /// Puts arguments in front, so that what follows `---` or `--` stays at the end.
    pub fn prepend(mut self, args: impl IntoIterator<Item = Arg>) -> Self {
        self.0.splice(0..0, args);
        self
    }

    /// Puts arguments at the end of the kernel's own: before a `---` or `--`, which begins those of init.
    pub fn append(mut self, args: impl IntoIterator<Item = Arg>) -> Self {
        let end = self.0.iter().position(Arg::ends_the_kernels).unwrap_or(self.0.len());
        self.0.splice(end..end, args);
        self
    }
}

impl From<&str> for Args {
    fn from(line: &str) -> Self {
        Self::parse(line)
    }
}

/// Compared as the kernel gets them.
impl PartialEq<&str> for Args {
    fn eq(&self, line: &&str) -> bool {
        let text = self.to_string();
        text == *line
    }
}

impl PartialEq<str> for Arg {
    fn eq(&self, word: &str) -> bool {
        let text = self.to_string();
        text == word
    }
}

impl FromIterator<Arg> for Args {
    fn from_iter<I: IntoIterator<Item = Arg>>(args: I) -> Self {
        Self(args.into_iter().collect())
    }
}

impl IntoIterator for Args {
    type Item = Arg;
    type IntoIter = std::vec::IntoIter<Arg>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(number, arg)| match number {
            0 => write!(f, "{arg}"),
            _ => write!(f, " {arg}"),
        })
    }
}

fn matches(key: &str, pattern: &str) -> bool {
    pattern.strip_suffix('*').map_or(key == pattern, |prefix| key.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_blanks_together() {
        let args = Args::parse("  quiet\tdyndbg=\"file a.c +p\" ro ");
        let words: Vec<String> = args.iter().map(Arg::to_string).collect();
        assert_eq!(words, ["quiet", "dyndbg=\"file a.c +p\"", "ro"]);
        assert_eq!(args.to_string(), "quiet dyndbg=\"file a.c +p\" ro");
    }

    #[test]
    fn arguments_are_taken_out_by_key() {
        let args = Args::parse(
            "root=live:CDLABEL=X rd.live.image rd.live.check rootflags=loop inst.ks=a inst.repo=b",
        );
        let args = args.without(&["root", "rd.live.check", "inst.*"]);
        assert_eq!(args.to_string(), "rd.live.image rootflags=loop");
    }

    #[test]
    fn new_arguments_stand_before_those_of_init() {
        let args = Args::parse("boot=casper quiet --- splash")
            .append(Args::parse("console=ttyS0"))
            .prepend(Args::parse("ip=dhcp"));
        assert_eq!(args.to_string(), "ip=dhcp boot=casper quiet console=ttyS0 --- splash");
    }

    #[test]
    fn the_last_value_counts() {
        let args = Args::parse("console=tty0 console=ttyS0,115200 quiet");
        assert_eq!(args.value("console"), Some("ttyS0,115200"));
        assert_eq!(args.value("quiet"), Some(""));
        assert_eq!(args.value("ro"), None);
        assert!(args.has("quiet"));
    }

    #[test]
    fn the_server_is_a_value_of_its_own() {
        let left = Arg::new("netroot=nbd:").server(None).text(":F42");
        assert_eq!(
            left.parts(),
            [Part::Text("netroot=nbd:".into()), Part::Server, Part::Text(":F42".into())]
        );
        assert_eq!((left.key(), left.to_string()), ("netroot", "netroot=nbd:<server>:F42".into()));
        assert_eq!(Args::from_iter([left]).with_server("::1").to_string(), "netroot=nbd:::1:F42");
        let given = Arg::new("netroot=nbd:").server(Some("10.0.0.1")).text(":F42");
        assert_eq!(given, Arg::new("netroot=nbd:10.0.0.1:F42"));
    }
}
