//! A page for browsers: what can be booted, who boots it, and what is left out.
//!
//! It is right without a script; with one, what is on it is taken anew every few seconds. It asks nobody but the server that
//! it came from, and whatever a name or a title holds is text in it.

use std::fmt::{self, Display, Write as _};

use super::{Iso, LeftOut, Machine, Status, bytes, progress, span};

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>netrootfs</title>
<style>
:root { color-scheme: light dark; --line: #8884; --dim: #777; --good: #18794e; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --dim: #999; --good: #4cc38a; --bad: #ff8b7d; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; }
td.n, th.n { text-align: right; white-space: nowrap; }
code { font-size: .9em; }
small, .dim { color: var(--dim); }
.good { color: var(--good); }
.bad { color: var(--bad); }
td { overflow-wrap: anywhere; }
</style>
</head>
<body>
<main>
"#;

/// What is there is put in the place of what was; where that fails, what was stays.
const FOOT: &str = r#"</main>
<script>
setInterval(async () => {
  try {
    const answer = await fetch("index.html", { cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const main = page.querySelector("main");
    if (answer.ok && main) document.querySelector("main").replaceWith(main);
  } catch (error) { }
}, 5000);
</script>
</body>
</html>
"#;

/// The page. It is HTML and XML at once.
pub fn page(status: &Status) -> String {
    let mut out = String::from(HEAD);
    // Writing to a String can't fail.
    let _ = summary(&mut out, status)
        .and_then(|()| isos(&mut out, &status.isos))
        .and_then(|()| left_out(&mut out, &status.left_out))
        .and_then(|()| machines(&mut out, status))
        .and_then(|()| links(&mut out));
    out + FOOT
}

fn summary(out: &mut String, status: &Status) -> fmt::Result {
    let Status { version, mountpoint, time, .. } = status;
    writeln!(out, "<h1>netrootfs</h1>")?;
    let up = span(status.started, *time);
    let server = status.server.as_deref().unwrap_or("the loader’s own server");
    let (version, mountpoint, server) = (Text(version), Text(mountpoint), Text(server));
    writeln!(
        out,
        "<p class=\"dim\">{version} on <code>{mountpoint}</code>, up {up}; menus say <code>{server}</code></p>"
    )?;
    if !status.iso_directory_readable {
        let directory = Text(&status.iso_directory);
        writeln!(
            out,
            "<p class=\"bad\"><code>{directory}</code> can’t be read; its ISOs stay as they were</p>"
        )?;
    }
    Ok(())
}

fn isos(out: &mut String, isos: &[Iso]) -> fmt::Result {
    writeln!(out, "<h2>Menu</h2>")?;
    if isos.is_empty() {
        return writeln!(out, "<p>There are no ISOs.</p>");
    }
    writeln!(out, "<table>")?;
    writeln!(out, "<tr><th>ISO</th><th>boots by</th><th class=\"n\">size</th></tr>")?;
    for iso in isos {
        let by = match &iso.boots_by {
            Some(by) => format!("<span class=\"good\">{}</span>", Text(by)),
            None => "<span class=\"bad\">not at all</span>".into(),
        };
        let initrd = if iso.initrd == "waiting" { "its initrd is yet to be looked into" } else { "" };
        let remarks = [iso.caveat.as_deref().unwrap_or_default(), initrd];
        let remarks: Vec<String> = remarks
            .iter()
            .filter(|remark| !remark.is_empty())
            .map(|remark| format!("<br/><small>{}</small>", Text(remark)))
            .collect();
        let (title, file, size) = (Text(&iso.title), Text(&iso.file), bytes(iso.size));
        let remarks = remarks.concat();
        writeln!(
            out,
            "<tr><td>{title}<br/><small>{file}</small></td><td>{by}{remarks}</td><td class=\"n\">{size}</td></tr>"
        )?;
    }
    writeln!(out, "</table>")
}

fn left_out(out: &mut String, files: &[LeftOut]) -> fmt::Result {
    if files.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>Not served</h2>\n<table>\n<tr><th>file</th><th>why</th></tr>")?;
    for file in files {
        writeln!(out, "<tr><td>{}</td><td>{}</td></tr>", Text(&file.file), Text(&file.reason))?;
    }
    writeln!(out, "</table>")
}

fn machines(out: &mut String, status: &Status) -> fmt::Result {
    writeln!(out, "<h2>Machines</h2>")?;
    if status.machines.is_empty() {
        writeln!(out, "<p>None has booted since netrootfs began.</p>")?;
    } else {
        let head = "<tr><th>machine</th><th>kernel</th><th>root</th><th class=\"n\">seen</th></tr>";
        writeln!(out, "<table>\n{head}")?;
        status.machines.iter().try_for_each(|machine| row(out, machine, status.time))?;
        writeln!(out, "</table>")?;
    }
    for server in status.servers.iter().filter(|server| server.opens_hidden > 0) {
        let name = Text(&server.name);
        let sentence = "serves many machines in one process: which of them reads what can’t be seen";
        writeln!(out, "<p><small>{name} {sentence}.</small></p>")?;
    }
    Ok(())
}

fn row(out: &mut String, machine: &Machine, now: u64) -> fmt::Result {
    let names = [machine.mac.as_deref(), machine.uuid.as_deref(), machine.loader.as_deref()];
    let name = machine.name();
    let more: Vec<String> = names
        .into_iter()
        .flatten()
        .filter(|more| *more != name)
        .map(|more| format!("<br/><small>{}</small>", Text(more)))
        .collect();
    let kernel = machine.kernel.as_ref().map_or("", |kernel| file_name(&kernel.path));
    let root = machine.root.as_ref().map_or(String::new(), |root| {
        let connected = if machine.connected { "<span class=\"good\">connected</span>, " } else { "" };
        format!("{}<br/><small>{connected}{}</small>", Text(file_name(&root.path)), progress(root))
    });
    let step = machine.step.as_ref().map_or(String::new(), |step| {
        let since = span(step.time, now);
        format!("<br/><small>netroot-init {}, {since} ago</small>", Text(&step.words()))
    });
    let (name, more, kernel) = (Text(name), more.concat(), Text(kernel));
    let seen = span(machine.last_seen, now);
    writeln!(
        out,
        "<tr><td>{name}{more}</td><td>{kernel}{step}</td><td>{root}</td><td class=\"n\">{seen} ago</td></tr>"
    )
}

fn links(out: &mut String) -> fmt::Result {
    let links = ["status.json", "metrics", "images/", "tftp/", "trees/"];
    let links: Vec<String> = links.iter().map(|link| format!("<a href=\"{link}\">{link}</a>")).collect();
    writeln!(out, "<h2>More</h2>\n<p>{}</p>", links.join(" · "))
}

/// Without the directories.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Text in a page. Control characters are in no XML, whatever stands for them.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => {
                    f.write_char('?')?;
                }
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::status;
    use super::*;
    use proptest::prelude::*;

    /// The elements of a page in their order, and its text; fails unless each that begins ends, in its place.
    fn read(page: &str) -> (Vec<String>, String) {
        let (mut elements, mut text, mut open) = (Vec::new(), String::new(), Vec::new());
        let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("what it is");
        while let Some((before, after)) = rest.split_once('<') {
            text += before;
            let (tag, after) = after.split_once('>').expect("the end of a tag");
            rest = after;
            let name = tag.trim_matches('/').split(' ').next().unwrap().to_owned();
            if tag.starts_with('/') {
                assert_eq!(open.pop().as_ref(), Some(&name), "{tag}");
                continue;
            }
            elements.push(name.clone());
            if name == "script" || name == "style" {
                // Neither is text, and none has an end tag in it.
                rest = rest.split_once(&format!("</{name}>")).expect("its end").1;
            } else if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
        for (at, _) in text.match_indices('&') {
            let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
            assert!(known.iter().any(|one| text[at..].starts_with(one)), "{}", &text[at..]);
        }
        (elements, text)
    }

    #[test]
    fn the_page_is_whole_and_a_title_is_text() {
        let (elements, text) = read(&page(&status()));
        assert_eq!(elements.iter().filter(|name| *name == "script").count(), 1, "ours alone");
        assert!(text.contains("F42: &lt;script&gt;alert(&quot;1 &amp; 2&quot;)&lt;/script&gt;"), "{text}");
        for words in [
            "there is nothing in it to boot",
            "its initrd is yet to be looked into",
            "not an ISO 9660 image",
            "10.0.0.100",
            "52:54:00:12:34:56",
            "350 MB read",
            "netroot-init has begun the ISO&#39;s own init, 59 s ago",
            "nbdkit serves many machines",
        ] {
            assert!(text.contains(words), "{words} in {text}");
        }
    }

    #[test]
    fn it_asks_nobody_but_its_own_server() {
        let page = page(&status());
        assert!(!page.contains("//") && !page.contains(" src="), "{page}");
    }

    #[test]
    fn with_nothing_to_show_it_says_so() {
        let (_, text) = read(&page(&Status::default()));
        assert!(text.contains("There are no ISOs.") && text.contains("None has booted"), "{text}");
        assert!(text.contains("can’t be read; its ISOs stay as they were"), "{text}");
    }

    proptest! {
        #[test]
        fn no_text_becomes_an_element(text in "[<>&\"'a-z/\\PC\\x00-\\x1f]{0,40}") {
            let plain = read(&page(&status())).0;
            let mut status = status();
            status.isos[0].title = text.clone();
            status.isos[0].file = text.clone();
            status.left_out[0].reason = text.clone();
            status.machines[0].mac = Some(text.clone());
            status.machines[0].step.as_mut().unwrap().code = text.clone();
            status.mountpoint = text.clone();
            prop_assert_eq!(read(&page(&status)).0, plain);
        }
    }
}
