//! Paths in an ISO as its menus write them.

use crate::image::printable::is_control;

/// Bytes of a path: ECMA-119 allows 255, Rock Ridge and Joliet go beyond; kernels lie near the top.
pub const MAX_PATH: usize = 1024;

/// An absolute path inside the ISO: device prefixes (`(hd0,1)`, TFTP's `::`) are dropped, `.`, `..` and doubled slashes
/// resolved. Nothing for a URL, a block list, the root itself, or what is too long or holds control characters.
pub(super) fn resolve(text: &str, cwd: &str) -> Option<String> {
    let text = text.trim();
    if text.contains("://") || text.contains(is_control) {
        return None;
    }
    let text = text.rsplit_once("::").map_or(text, |(_, path)| path);
    let text = match text.strip_prefix('(') {
        Some(rest) => rest.split_once(')')?.1,
        None => text,
    };
    if text.starts_with('+') || text.len() > MAX_PATH {
        return None;
    }
    let base = if text.starts_with('/') { "" } else { cwd };
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(text.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let path: String = parts.iter().flat_map(|part| ["/", part]).collect();
    (!path.is_empty() && path.len() <= MAX_PATH).then_some(path)
}

/// The directory of an absolute path: `/` for one at the top.
pub(super) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((dir, _)) => dir,
    }
}

/// The last component of a path.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lose_their_device() {
        assert_eq!(resolve("(hd0,msdos1)/boot/k", "/x").as_deref(), Some("/boot/k"));
        assert_eq!(resolve("()/boot/k", "/x").as_deref(), Some("/boot/k"));
        assert_eq!(resolve("::/boot/k", "/x").as_deref(), Some("/boot/k"));
    }

    #[test]
    fn relative_paths_start_at_the_working_directory() {
        assert_eq!(resolve("k", "/isolinux").as_deref(), Some("/isolinux/k"));
        assert_eq!(resolve("../../k", "/a/b/c").as_deref(), Some("/a/k"));
    }

    #[test]
    fn paths_never_leave_the_iso() {
        assert_eq!(resolve("/../../etc/passwd", "/").as_deref(), Some("/etc/passwd"));
        assert_eq!(resolve("..", "/a"), None);
    }

    #[test]
    fn what_is_no_file_of_the_iso_is_no_path() {
        for text in ["", "/", "http://host/k", "(hd0)+1", "+1", "(hd0", "/a\nb", "/a\0"] {
            assert_eq!(resolve(text, "/"), None, "{text:?}");
        }
        assert_eq!(resolve(&format!("/{}", "a".repeat(MAX_PATH)), "/"), None);
    }
}
