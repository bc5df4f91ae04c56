//! Kernel arguments as a list, split and joined as the kernel does it (Linux, lib/cmdline.c, `next_arg`).
//!
//! Pure text. What comes in has passed the gate of the menu readers; what goes out is one line.

use std::fmt;

/// Arguments in order; each is `key`, `key=value` or `key="value with blanks"`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Args(Vec<String>);

impl Args {
    /// Splits a line at blanks that don't stand between double quotes.
    pub fn parse(line: &str) -> Self {
        let mut quoted = false;
        let words = line.split(|symbol: char| {
            quoted ^= symbol == '"';
            symbol.is_ascii_whitespace() && !quoted
        });
        Self(words.filter(|word| !word.is_empty()).map(str::to_owned).collect())
    }

    /// The arguments one by one.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether there is an argument of that key.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|arg| key_of(arg) == key)
    }

    /// The value of the last argument of that key, as the kernel takes it.
    pub fn value(&self, key: &str) -> Option<&str> {
        let arg = self.0.iter().rfind(|arg| key_of(arg) == key)?;
        Some(arg.split_once('=').map_or("", |(_, value)| value))
    }

    /// Takes out each argument whose key is one of these. A key that ends in `*` stands for all that begin so.
    pub fn without(mut self, keys: &[&str]) -> Self {
        self.0.retain(|arg| !keys.iter().any(|key| matches(key_of(arg), key)));
        self
    }

    /// Puts arguments in front, so that what follows `---` or `--` stays at the end.
    pub fn prepend(mut self, line: &str) -> Self {
        self.0.splice(0..0, Self::parse(line).0);
        self
    }

    /// Puts arguments at the end of the kernel's own: before a `---` or `--`, which begins those of init.
    pub fn append(mut self, line: &str) -> Self {
        let end = self.0.iter().position(|arg| arg == "--" || arg == "---").unwrap_or(self.0.len());
        self.0.splice(end..end, Self::parse(line).0);
        self
    }
}

impl fmt::Display for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

fn key_of(arg: &str) -> &str {
    arg.split_once('=').map_or(arg, |(key, _)| key)
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
        assert_eq!(args.0, ["quiet", "dyndbg=\"file a.c +p\"", "ro"]);
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
        let args = Args::parse("boot=casper quiet --- splash").append("console=ttyS0").prepend("ip=dhcp");
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
}
