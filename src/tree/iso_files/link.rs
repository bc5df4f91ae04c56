//! Symbolic links of an ISO, so that nobody who follows them leaves its tree.
//!
//! A target that may stay has `..` only at its beginning, and no more of them than the link's directory is deep. Then
//! each step leads up to a directory of the tree or down from one, and where a step is a link again, the same holds for
//! that one. A `..` behind a name would not be safe: the name may be a link to the root, and `..` of that is outside.

/// Longest target that the kernel takes from FUSE: PATH_MAX with its NUL (Linux, fs/fuse/dir.c, fuse_readlink_page).
const MAX_TARGET: usize = 4095;

/// The target to show for a link in a directory `depth` levels below the root of its tree; `None` if it leads outside
/// or is no target at all.
///
/// What may stay as it is does. An absolute target starts at the root of the tree, and `..` there leads nowhere, as in
/// any root. `name/..` is taken out of others.
pub fn confine(target: &[u8], depth: usize) -> Option<Vec<u8>> {
    if target.is_empty() || target.contains(&0) {
        return None;
    }
    let absolute = target.starts_with(b"/");
    let (mut ups, mut names, mut as_it_is) = (0, Vec::new(), !absolute);
    for part in target.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if !names.is_empty() => {
                names.pop();
                as_it_is = false;
            }
            b".." if absolute => {}
            b".." => ups += 1,
            name => names.push(name),
        }
    }
    if absolute {
        ups = depth;
    }
    if ups > depth {
        return None;
    }
    if as_it_is {
        return (target.len() <= MAX_TARGET).then(|| target.to_vec());
    }
    let parts = std::iter::repeat_n(b"..".as_slice(), ups).chain(names);
    let confined = parts.collect::<Vec<_>>().join(&b'/');
    match confined.len() {
        0 => Some(b".".to_vec()),
        1..=MAX_TARGET => Some(confined),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn shown(target: &str, depth: usize) -> Option<String> {
        confine(target.as_bytes(), depth).map(|target| String::from_utf8(target).unwrap())
    }

    #[test]
    fn relative_targets_inside_stay_as_they_are() {
        for target in ["a", "a/b", "./a//b/", "../a", "../../a/b", "../..", ".", "...", "..a/b.."] {
            assert_eq!(shown(target, 2).as_deref(), Some(target));
        }
    }

    #[test]
    fn absolute_targets_begin_at_the_root_of_the_tree() {
        assert_eq!(shown("/a/b", 2).as_deref(), Some("../../a/b"));
        assert_eq!(shown("/a/b", 0).as_deref(), Some("a/b"));
        assert_eq!(shown("/", 0).as_deref(), Some("."));
        assert_eq!(shown("//", 1).as_deref(), Some(".."));
        assert_eq!(shown("/../../etc/passwd", 1).as_deref(), Some("../etc/passwd"));
        assert_eq!(shown("/a/./../b/", 1).as_deref(), Some("../b"));
    }

    #[test]
    fn targets_outside_are_left_out() {
        assert_eq!(shown("..", 0), None);
        assert_eq!(shown("../../../etc/passwd", 2), None);
        assert_eq!(shown("a/../../..", 1), None);
        assert_eq!(shown("", 3), None);
        assert_eq!(shown("a\0b", 3), None);
    }

    #[test]
    fn a_step_up_behind_a_name_is_taken_out() {
        assert_eq!(shown("a/../b", 1).as_deref(), Some("b"));
        assert_eq!(shown("a/../../b", 1).as_deref(), Some("../b"));
        assert_eq!(shown("a/..", 1).as_deref(), Some("."));
    }

    /// Directories `a`, `a/a`, `a/a/a` … below each directory, and in each of them the links of that level.
    struct World {
        links: BTreeMap<(usize, Vec<u8>), Vec<u8>>,
    }

    impl World {
        /// Follows a path as the kernel does. Returns the depth where it ends; panics where it would leave the tree.
        fn walk(&self, depth: usize, path: &[u8], fuel: &mut usize) -> usize {
            path.split(|&byte| byte == b'/').fold(depth, |depth, part| {
                // The kernel follows forty links (MAXSYMLINKS).
                *fuel = fuel.saturating_sub(1);
                match (part, self.links.get(&(depth, part.to_vec()))) {
                    (b"" | b".", _) => depth,
                    (b"..", _) => depth.checked_sub(1).expect("a step out of the tree"),
                    (_, Some(target)) if *fuel > 0 => self.walk(depth, target, fuel),
                    _ => depth + 1,
                }
            })
        }
    }

    proptest! {
        #[test]
        fn nobody_gets_out(
            links in prop::collection::vec((0usize..5, "[ab]", "/?((\\.\\.|\\.|a|b|c|)/){0,5}(\\.\\.|a|b)?"), 0..12),
            path in "((a|b|c)/){0,4}", depth in 0usize..5,
        ) {
            let confined = links.into_iter().filter_map(|(depth, name, target)| {
                let target = confine(target.as_bytes(), depth)?;
                assert!(!target.is_empty() && !target.starts_with(b"/"));
                Some(((depth, name.into_bytes()), target))
            });
            let world = World { links: confined.collect() };
            world.walk(depth, path.as_bytes(), &mut 200);
            for (depth, name) in world.links.keys() {
                world.walk(*depth, name, &mut 200);
            }
        }

        #[test]
        fn what_is_shown_is_shown_again(target in prop::collection::vec(any::<u8>(), 0..40), depth in 0usize..9) {
            if let Some(once) = confine(&target, depth) {
                prop_assert_eq!(confine(&once, depth), Some(once));
            }
        }
    }
}
