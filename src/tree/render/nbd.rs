//! nbd.conf, for `nbd-server -C` (nbd-server(5)).
//!
//! nbd-server reads it with GKeyFile and refuses the whole file for one bad key, so the text is always valid; and it
//! ends when there is no export at all, so there is always one.

use crate::boot::names::NBD_CONF;
use crate::boot::servers::NBD_PORT;

/// A section: one export.
pub struct Section {
    /// The export's name, which is the section's.
    pub name: String,
    /// File in `images/` that it shows.
    pub file: String,
}

/// Renders the file. `images` is the absolute path of the directory that holds the files.
pub fn render(port: u16, images: &str, sections: &[Section]) -> String {
    let mut text = String::from("[generic]\nallowlist = true\n");
    if port != NBD_PORT {
        text.push_str(&format!("port = {port}\n"));
    }
    if sections.is_empty() {
        text.push_str("\n# No ISO yet. nbd-server doesn't run without an export: here is this file.\n");
        push(&mut text, images, &Section { name: NBD_CONF.into(), file: NBD_CONF.into() });
    }
    for section in sections {
        text.push('\n');
        push(&mut text, images, section);
    }
    text
}

fn push(text: &mut String, images: &str, section: &Section) {
    let path = escape(&format!("{images}/{}", section.file));
    text.push_str(&format!("[{}]\nexportname = {path}\n", section.name));
    // Without virtstyle = none, a % in the path is a printf conversion.
    text.push_str("virtstyle = none\nreadonly = true\nmultifile = false\ncopyonwrite = false\n");
}

/// A value as GKeyFile reads it back (GLib, "Key-value file parser").
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for (position, symbol) in value.chars().enumerate() {
        match symbol {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' ' if position == 0 => out.push_str("\\s"),
            _ => out.push(symbol),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_export_is_a_section() {
        let export = |name: &str, file: &str| Section { name: name.into(), file: file.into() };
        let exports = [export("F42", "liveos_F42.img"), export("F42.iso", "F42.iso")];
        assert_eq!(
            render(10809, "/srv/netboot/images", &exports),
            "[generic]\nallowlist = true\n\n\
             [F42]\nexportname = /srv/netboot/images/liveos_F42.img\nvirtstyle = none\nreadonly = true\n\
             multifile = false\ncopyonwrite = false\n\n\
             [F42.iso]\nexportname = /srv/netboot/images/F42.iso\nvirtstyle = none\nreadonly = true\n\
             multifile = false\ncopyonwrite = false\n"
        );
    }

    #[test]
    fn there_is_always_an_export() {
        let text = render(10809, "/mnt/images", &[]);
        assert!(text.contains("[nbd.conf]\nexportname = /mnt/images/nbd.conf\n"), "{text}");
    }

    #[test]
    fn another_port_is_named() {
        assert!(render(10810, "/mnt", &[]).starts_with("[generic]\nallowlist = true\nport = 10810\n"));
    }

    #[test]
    fn paths_are_escaped() {
        assert_eq!(escape(" a\\b\tc %s"), "\\sa\\\\b\\tc %s");
    }
}
