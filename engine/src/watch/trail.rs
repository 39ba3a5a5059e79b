//! The way to a file: every name on it that, made, replaced or removed, makes the path mean another file.
//!
//! It looks and remembers nothing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// How many links are followed; as many as Linux follows.
const MOST_LINKS: usize = 40;

/// A name in a folder that is there; the folder's path has no links in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub folder: PathBuf,
    pub name: OsString,
}

/// The spots on the way to an absolute path: each link, and the file or the first folder that is missing.
pub(super) fn trail(path: &Path) -> BTreeSet<Spot> {
    let (mut spots, mut links) = (BTreeSet::new(), 0);
    let (mut here, mut ahead) = (PathBuf::new(), steps(path));
    while let Some(step) = ahead.pop() {
        let name = match step {
            Step::To(root) => {
                here.push(root);
                continue;
            }
            Step::Up => {
                here.pop();
                continue;
            }
            Step::Down(name) => name,
        };
        let next = here.join(&name);
        let target = fs::read_link(&next).ok();
        let is_last = ahead.is_empty() || !next.is_dir();
        if target.is_some() || is_last {
            spots.insert(Spot { folder: here.clone(), name });
        }
        match target {
            Some(_) if links == MOST_LINKS => break,
            Some(target) => {
                links += 1;
                ahead.extend(steps(&target));
            }
            None if is_last => break,
            None => here = next,
        }
    }
    spots
}

/// One step on a way.
enum Step {
    To(OsString),
    Up,
    Down(OsString),
}

/// The steps of a path, the first one last.
fn steps(path: &Path) -> Vec<Step> {
    let step = |component: Component<'_>| match component {
        Component::Prefix(_) | Component::RootDir => Some(Step::To(component.as_os_str().to_owned())),
        Component::CurDir => None,
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Down(name.to_owned())),
    };
    path.components().rev().filter_map(step).collect()
}

/// What changes when a file is written or replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    identity: Identity,
    size_bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    /// The stamp of a file, if it is there.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let (size_bytes, modified) = (metadata.len(), metadata.modified().ok());
        Some(Self { identity: Identity::new(&metadata), size_bytes, modified })
    }
}

/// Which of the things that a path has meant it means, as far as the system tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    node: Option<(u64, u64)>,
    created: Option<SystemTime>,
}

impl Identity {
    /// The identity of what is at a path.
    pub(super) fn of(path: &Path) -> Option<Self> {
        Some(Self::new(&fs::metadata(path).ok()?))
    }

    fn new(metadata: &Metadata) -> Self {
        Self { node: node(metadata), created: metadata.created().ok() }
    }
}

#[cfg(unix)]
fn node(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn node(_: &Metadata) -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A folder without links in its path, and the trail of a path in it as text.
    fn trail_in(make: impl Fn(&Path), path: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        make(&root);
        let inside = |spot: Spot| spot.folder.join(spot.name).strip_prefix(&root).unwrap().to_owned();
        trail(&root.join(path)).into_iter().map(|spot| inside(spot).display().to_string()).collect()
    }

    #[test]
    fn it_ends_at_the_file_or_at_the_first_folder_that_is_missing() {
        let make = |root: &Path| fs::create_dir_all(root.join("a/b")).unwrap();
        assert_eq!(trail_in(make, "a/b/file"), ["a/b/file"]);
        assert_eq!(trail_in(make, "a/./b/../b/file"), ["a/b/file"]);
        assert_eq!(trail_in(make, "a/x/y/file"), ["a/x"]);
        assert_eq!(trail_in(make, "a/x/../file"), ["a/x"]);
    }

    #[test]
    fn links_on_it_are_named_and_followed() {
        let make = |root: &Path| {
            fs::create_dir_all(root.join("real/deep")).unwrap();
            symlink("real/deep", root.join("folder")).unwrap();
            symlink("../../file", root.join("real/deep/link")).unwrap();
            symlink(root.join("gone/far"), root.join("lost")).unwrap();
        };
        assert_eq!(trail_in(make, "folder/link"), ["file", "folder", "real/deep/link"]);
        assert_eq!(trail_in(make, "folder/../x"), ["folder", "real/x"]);
        assert_eq!(trail_in(make, "lost/x"), ["gone", "lost"]);
    }

    #[test]
    fn links_in_a_ring_end_it() {
        let make = |root: &Path| {
            symlink("b", root.join("a")).unwrap();
            symlink("a", root.join("b")).unwrap();
        };
        assert_eq!(trail_in(make, "a/file"), ["a", "b"]);
    }
}
