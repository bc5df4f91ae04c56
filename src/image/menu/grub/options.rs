//! The options of GRUB's commands, and how it hands arguments to a kernel.

/// Options of `menuentry` that take a value.
const VALUED: [&str; 5] = ["--class", "--id", "--hotkey", "--users", "--source"];

/// The arguments of `menuentry` and `submenu` that are no options, title first, and the id.
pub fn menu_entry(args: &[String]) -> (Vec<String>, Option<String>) {
    let mut id = None;
    let mut rest = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (option, value) = arg.split_once('=').map_or((arg.as_str(), None), |(o, v)| (o, Some(v)));
        if arg == "--" {
            rest.extend(args.by_ref().cloned());
        } else if VALUED.contains(&option) {
            let value = value.or_else(|| args.next().map(String::as_str));
            if option == "--id" {
                id = value.map(String::from);
            }
        } else if !arg.starts_with("--") {
            rest.push(arg.clone());
        }
    }
    (rest, id)
}

/// What `search` looks for, and the variable that gets the device.
pub struct Search<'a> {
    pub is_file: bool,
    pub wanted: Option<&'a str>,
    pub variable: &'a str,
}

pub fn search<'a>(name: &str, args: &'a [String]) -> Search<'a> {
    let is_file = name == "search.file" || args.iter().any(|arg| matches!(arg.as_str(), "--file" | "-f"));
    let mut search = Search { is_file, wanted: None, variable: "root" };
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        match arg {
            "--hint" | "-h" => drop(args.next()),
            arg if arg.starts_with("--set=") => search.variable = arg.trim_start_matches("--set="),
            arg if arg.starts_with('-') => {}
            arg if search.wanted.is_none() => search.wanted = Some(arg),
            // `search.file NAME VARIABLE HINT…`
            arg if name != "search" && search.variable == "root" => search.variable = arg,
            _ => {}
        }
    }
    search
}

/// The variable that `probe` sets, and the option that says to what.
pub fn probe(args: &[String]) -> (Option<&str>, Option<&str>) {
    let mut variable = None;
    let mut what = None;
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        match arg {
            "--set" | "-s" => variable = args.next(),
            arg if arg.starts_with("--set=") => variable = arg.strip_prefix("--set="),
            arg if arg.starts_with('-') => what = Some(arg),
            _ => {}
        }
    }
    (variable, what)
}

/// The arguments of `regexp`.
pub struct Regexp<'a> {
    /// Numbers of groups, and the variables that get them.
    pub variables: Vec<(usize, &'a str)>,
    pub pattern: &'a str,
    pub text: &'a str,
}

/// `regexp [--set [NUMBER:]VARIABLE]… PATTERN TEXT`; without a number it is the first group.
pub fn regexp(args: &[String]) -> Option<Regexp<'_>> {
    let mut variables = Vec::new();
    let mut rest = Vec::new();
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        let variable = match arg {
            "--set" | "-s" => args.next(),
            arg => arg.strip_prefix("--set="),
        };
        match variable {
            Some(variable) => variables.push(match variable.split_once(':') {
                Some((number, name)) => (number.parse().ok()?, name),
                None => (1, variable),
            }),
            None => rest.push(arg),
        }
    }
    match *rest.as_slice() {
        [pattern, text] => Some(Regexp { variables, pattern, text }),
        _ => None,
    }
}

/// An argument as GRUB passes it to the kernel (`lib/cmdline.c`): in quotes if it holds a blank, quotes and backslashes
/// escaped, but not those of `\x20`.
pub fn quote(arg: &str) -> String {
    let mut out = String::with_capacity(arg.len());
    for (index, c) in arg.char_indices() {
        let is_code = arg.get(index..).is_some_and(|rest| {
            let mut digits = rest.strip_prefix("\\x").unwrap_or_default().chars();
            (0..2).all(|_| digits.next().is_some_and(|c| c.is_ascii_hexdigit()))
        });
        if matches!(c, '\\' | '\'' | '"') && !is_code {
            out.push('\\');
        }
        out.push(c);
    }
    if arg.contains(' ') { format!("\"{out}\"") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Vec<String> {
        text.split(' ').map(String::from).collect()
    }

    #[test]
    fn options_of_an_entry_are_taken_out() {
        let (rest, id) = menu_entry(&args("--class a T --id=x b --unrestricted --hotkey s -- --c"));
        assert_eq!((rest, id.as_deref()), (args("T b --c"), Some("x")));
        assert_eq!(menu_entry(&args("T --id")), (args("T"), None));
    }

    #[test]
    fn a_search_names_what_and_where() {
        let of = |name: &str, text: &str| {
            let args = args(text);
            let search = search(name, &args);
            (search.is_file, search.wanted.map(String::from), search.variable.to_owned())
        };
        assert_eq!(of("search", "--no-floppy --set=x -f /a --hint y"), (true, Some("/a".into()), "x".into()));
        assert_eq!(of("search", "-l LABEL --set"), (false, Some("LABEL".into()), "root".into()));
        assert_eq!(of("search.fs_uuid", "12-34 x hd0"), (false, Some("12-34".into()), "x".into()));
    }

    #[test]
    fn words_are_quoted_for_the_kernel() {
        assert_eq!(quote("a b"), "\"a b\"");
        assert_eq!(quote("a'b\"c\\d"), "a\\'b\\\"c\\\\d");
        assert_eq!(quote("LABEL=a\\x20b"), "LABEL=a\\x20b");
        assert_eq!(quote("\\xz"), "\\\\xz");
    }
}
