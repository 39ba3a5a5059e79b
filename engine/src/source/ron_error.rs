//! RON's errors, said for people: the names that were meant, and where.

use ron::error::{Error, SpannedError};

use crate::diagnostic::{nearest, offset};

/// A mistake in a text: what it is, which bytes of the text it is about, and a hint.
pub(super) struct Mistake {
    pub message: String,
    pub span: std::ops::Range<usize>,
    pub hint: Option<String>,
    /// Whether the span is a name that the message is about.
    pub is_name: bool,
}

/// Puts one of RON's errors about `text` into words.
pub(super) fn mistake(error: &SpannedError, text: &str) -> Mistake {
    let reached = offset(text, error.span.end.line, error.span.end.col);
    let (message, hint) = words(&error.code);
    let span = match wrong_name(&error.code) {
        Some(name) => last_occurrence(text, name, reached),
        None => first_letter(text, offset(text, error.span.start.line, error.span.start.col).min(reached)),
    };
    Mistake { message, span, hint, is_name: wrong_name(&error.code).is_some() }
}

/// What RON objects to, and what to write instead.
fn words(error: &Error) -> (String, Option<String>) {
    match error {
        Error::NoSuchStructField { expected, found, outer } => {
            let owner = outer.as_deref().unwrap_or("this value");
            (format!("`{owner}` has no field `{found}`"), Some(meant(found, expected, "fields")))
        }
        Error::NoSuchEnumVariant { expected, found, .. } => {
            (format!("`{found}` is not one of the choices here"), Some(meant(found, expected, "choices")))
        }
        Error::MissingStructField { field, outer } => {
            let owner = outer.as_deref().unwrap_or("this value");
            (format!("`{owner}` needs the field `{field}`"), Some(format!("write `{field}: ..`")))
        }
        Error::ExceededRecursionLimit => ("brackets are nested too deeply".to_owned(), None),
        Error::DuplicateStructField { field, .. } => (format!("`{field}` is written twice"), None),
        other if is_about_signs(other) => {
            let hint = "a bracket, a comma or a quote is missing before this place";
            (in_small_letters(other), Some(hint.to_owned()))
        }
        other => (in_small_letters(other), None),
    }
}

/// Whether an error is about the signs between values, and so about what stands before it.
fn is_about_signs(error: &Error) -> bool {
    matches!(
        error,
        Error::Eof
            | Error::ExpectedArrayEnd
            | Error::ExpectedComma
            | Error::ExpectedIdentifier
            | Error::ExpectedMapColon
            | Error::ExpectedMapEnd
            | Error::ExpectedStringEnd
            | Error::ExpectedStructLikeEnd
    )
}

/// "did you mean .." where a name is near, and the whole list in any case.
fn meant(found: &str, expected: &[&str], what: &str) -> String {
    let list = expected.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match nearest(found, expected.iter().copied()) {
        Some(name) => format!("did you mean `{name}`? The {what} are {list}"),
        None => format!("the {what} are {list}"),
    }
}

fn in_small_letters(error: &Error) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn wrong_name(error: &Error) -> Option<&str> {
    match error {
        Error::NoSuchStructField { found, .. } | Error::NoSuchEnumVariant { found, .. } => Some(found),
        Error::DuplicateStructField { field, .. } => Some(field),
        _ => None,
    }
}

/// The bytes of `name` nearest before `reached`.
fn last_occurrence(text: &str, name: &str, reached: usize) -> std::ops::Range<usize> {
    let before = &text[..reached];
    before.rfind(name).map_or(reached..reached, |start| start..start + name.len())
}

/// The first character from `start` on that is no white space.
fn first_letter(text: &str, start: usize) -> std::ops::Range<usize> {
    let rest = text[start..].trim_start();
    let at = text.len() - rest.len();
    at..at + rest.chars().next().map_or(0, char::len_utf8)
}
