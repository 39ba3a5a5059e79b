//! Which files a path of a graph means: a folder's pictures, a pattern's, or one file; and what lies beside them.

use std::cmp::Ordering;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use flow_engine::{Problem, Project, Result};
use glob::{MatchOptions, Pattern, glob_with};

use flow_engine::file::{is_special, special_file};

/// The endings by which a picture is known in a folder, in lower case.
pub const ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// What stands between a picture's name and its ending in the name of its mask.
const MASK: &str = "mask.png";

/// The picture files at a path of a graph: the file itself, all pictures of a folder, or all that a pattern with `*`,
/// `?` or `[..]` matches; in natural order, `2.png` before `10.png`.
///
/// Folders inside a folder, hidden files and masks are left out.
///
/// # Errors
/// Nothing there, no picture, a pattern that is none, a pipe or a device.
pub fn find(path: &str, project: &Project) -> Result<Vec<PathBuf>, Problem> {
    let full = project.path(path);
    let cannot = |what: &str, error: &dyn std::fmt::Display| {
        Problem::new(format!("cannot {what} `{path}`: {error}")).hint(project.describe())
    };
    let files = match fs::metadata(&full) {
        Ok(metadata) if metadata.is_dir() => pictures_in(&full).map_err(|error| cannot("list", &error))?,
        Ok(_) => vec![full],
        Err(_) if path.contains(['*', '?', '[']) => matching(path, project)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Problem::new(format!("there is no `{path}`")).hint(project.describe()));
        }
        Err(error) => return Err(cannot("read", &error)),
    };
    if let Some(special) = files.iter().find(|file| is_special(file)) {
        return Err(special_file(&special.display().to_string()));
    }
    if files.is_empty() {
        let endings = ENDINGS.map(|ending| format!(".{ending}")).join(", ");
        return Err(Problem::new(format!("there is no picture in `{path}`"))
            .hint(format!("read are files that end in {endings}; {}", project.describe())));
    }
    Ok(files)
}

fn pictures_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    Ok(pictures_of(paths.collect::<std::io::Result<_>>()?))
}

/// The pictures that a pattern matches.
fn matching(path: &str, project: &Project) -> Result<Vec<PathBuf>, Problem> {
    // The folder of the project is no pattern, whatever it is called.
    let pattern = match Path::new(path).is_absolute() {
        true => path.to_owned(),
        false => format!("{}/{path}", Pattern::escape(&project.root().to_string_lossy())),
    };
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let paths = glob_with(&pattern, options)
        .map_err(|error| Problem::new(format!("`{path}` is no pattern: {}", error.msg)))?;
    let paths = paths.collect::<Result<Vec<_>, _>>();
    let paths = paths.map_err(|error| Problem::new(format!("cannot list `{path}`: {error}")))?;
    Ok(pictures_of(paths))
}

fn pictures_of(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.retain(|path| is_picture(path));
    paths.sort_by(|a, b| natural_order(&a.to_string_lossy(), &b.to_string_lossy()));
    paths
}

fn is_picture(path: &Path) -> bool {
    let name = file_name(path).to_lowercase();
    let ending = Path::new(&name).extension().unwrap_or_default().to_string_lossy();
    let is_mask = name.ends_with(&format!(".{MASK}"));
    // A dangling link is no folder and stays, so that it is reported.
    ENDINGS.contains(&&*ending) && !is_mask && !name.starts_with('.') && !path.is_dir()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The order in which a person counts: runs of digits compare as numbers.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    while !rest_a.is_empty() && !rest_b.is_empty() {
        let (part_a, part_b) = (first_part(rest_a), first_part(rest_b));
        let (number_a, number_b) = (part_a.trim_start_matches('0'), part_b.trim_start_matches('0'));
        let order = match (is_number(part_a), is_number(part_b)) {
            (true, true) => number_a.len().cmp(&number_b.len()).then(number_a.cmp(number_b)),
            _ => part_a.cmp(part_b),
        };
        if order.is_ne() {
            return order;
        }
        (rest_a, rest_b) = (&rest_a[part_a.len()..], &rest_b[part_b.len()..]);
    }
    // `1` and `01` are the same number, and still have one order only.
    rest_a.len().cmp(&rest_b.len()).then(a.cmp(b))
}

/// The leading run of digits, or of anything else.
fn first_part(text: &str) -> &str {
    let digits = is_number(text);
    let end = text.find(|char: char| char.is_ascii_digit() != digits);
    &text[..end.unwrap_or(text.len())]
}

fn is_number(text: &str) -> bool {
    text.starts_with(|char: char| char.is_ascii_digit())
}

/// The text file beside a picture that holds its caption, if there is one.
pub fn caption_file(picture: &Path) -> Option<PathBuf> {
    Some(picture.with_extension("txt")).filter(|file| file != picture && file.is_file())
}

/// The picture beside a picture that masks it, `bear.mask.png` beside `bear.png`, if there is one.
pub fn mask_file(picture: &Path) -> Option<PathBuf> {
    Some(picture.with_extension(MASK)).filter(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_in_which_a_person_counts() {
        let mut names = ["b", "10.png", "a10", "2.png", "a9b", "02.png", "a9", "99999999999999999999999", ""];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(
            names,
            ["", "02.png", "2.png", "10.png", "99999999999999999999999", "a9", "a9b", "a10", "b"]
        );
    }
}
