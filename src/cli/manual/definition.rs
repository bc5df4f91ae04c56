//! What the command line's definition says, as Markdown: pages don't list options by hand.
//!
//! A line of a page that is `{{synopsis}}`, `{{options}}` or `{{commands}}` is filled from [`Cli`]. Options that are hidden
//! are left out. An option that a command shares with the mount is described once, with the mount.

use clap::builder::PossibleValue;
use clap::{Arg, Command, CommandFactory};

use crate::cli::options::Cli;

/// The page with such lines filled.
pub fn fill(source: &str) -> String {
    let mut command = Cli::command();
    command.build();
    let filled = |line: &str| match line {
        "{{synopsis}}" => synopsis(&command),
        "{{options}}" => described(options(&command)),
        "{{commands}}" => commands(&command),
        other => format!("{other}\n"),
    };
    source.lines().map(filled).collect()
}

fn synopsis(command: &Command) -> String {
    let usage = |command: &Command| {
        let usage = command.clone().render_usage().to_string();
        usage.lines().next().unwrap_or_default().replace("Usage: ", "") + "\n"
    };
    let usages: String = std::iter::once(command).chain(subcommands(command)).map(usage).collect();
    format!("```\n{usages}```\n")
}

fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help")
}

fn commands(command: &Command) -> String {
    let section = |one: &Command| {
        let about = one.get_long_about().or(one.get_about()).map(ToString::to_string).unwrap_or_default();
        let is_shared = |arg: &&Arg| options(command).any(|other| same(arg, other));
        let (shared, own): (Vec<_>, Vec<_>) = options(one).partition(is_shared);
        let shared: Vec<_> =
            shared.iter().filter(|arg| arg.get_id() != "help").map(|arg| names(arg)).collect();
        let shared = match shared.as_slice() {
            [] => String::new(),
            names => format!("As above: {}.\n\n", names.join(", ")),
        };
        format!("### {}\n\n{about}.\n\n{}{shared}", one.get_name(), described(own.into_iter()))
    };
    subcommands(command).map(section).collect()
}

fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_hide_set())
}

fn same(one: &Arg, other: &Arg) -> bool {
    let text = |arg: &Arg| arg.get_help().map(ToString::to_string);
    one.get_id() == other.get_id() && (text(one) == text(other) || one.get_id() == "help")
}

/// A definition list.
fn described<'a>(args: impl Iterator<Item = &'a Arg>) -> String {
    args.map(|arg| format!("{}\n: {}\n\n", names(arg), text(arg).replace('\n', "\n  "))).collect()
}

/// `-s`, `--long` VALUE; or VALUE alone.
fn names(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| format!("`-{short}`"));
    let long = arg.get_long().map(|long| format!("`--{long}`"));
    let names = short.into_iter().chain(long).collect::<Vec<_>>().join(", ");
    let takes_value = arg.get_action().takes_values();
    let values = arg.get_value_names().unwrap_or_default().iter().map(|value| format!("*{value}*"));
    let values = if takes_value { values.collect::<Vec<_>>().join(" ") } else { String::new() };
    format!("{names} {values}").trim().to_owned()
}

/// The help, the default, and the values there are.
fn text(arg: &Arg) -> String {
    let mut text = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if !default.is_empty() && arg.get_action().takes_values() {
        text += &format!(" [default: {}]", default.join(" "));
    }
    if arg.get_action().takes_values() {
        text += &values(&arg.get_possible_values());
    }
    text
}

/// The values with their help, an item each; in one line where they have none.
fn values(values: &[PossibleValue]) -> String {
    let mut shown = values.iter().filter(|value| !value.is_hide_set()).peekable();
    if shown.peek().is_some_and(|value| value.get_help().is_none()) {
        let names: Vec<_> = shown.map(|value| format!("`{}`", value.get_name())).collect();
        return format!(": {}", names.join(", "));
    }
    let item = |value: &PossibleValue| {
        format!(
            "\n- `{}`: {}",
            value.get_name(),
            value.get_help().map(ToString::to_string).unwrap_or_default()
        )
    };
    shown.map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_described_as_in_the_help() {
        let filled = fill("# x\n{{options}}\nend");
        assert!(
            filled.contains("`--cache-size` *BYTES*\n: Memory for blocks of ISOs; K, M and G are powers of 1024 [default: 256M]\n"),
            "{filled}"
        );
        assert!(
            filled.contains("`-f`, `--foreground`\n: Stay in the foreground, and log to standard error\n"),
            "{filled}"
        );
        assert!(filled.contains("\n  - `cache`: "), "{filled}");
        assert!(filled.starts_with("# x\n") && filled.ends_with("end\n"), "{filled}");
    }

    #[test]
    fn what_a_command_shares_with_the_mount_is_only_named() {
        let filled = fill("{{commands}}");
        let check = filled.split("### ").find(|section| section.starts_with("check\n")).unwrap();
        assert!(check.contains("`--json`\n: Print JSON\n"), "{check}");
        assert!(check.contains("As above: `--server` *ADDR*, "), "{check}");
        assert!(!filled.contains("netroot-init"), "it is hidden");
    }
}
