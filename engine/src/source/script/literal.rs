//! Where the fields of a call stand: `Kind(#{ name: value, .. })` in the text of a script.
//!
//! The interpreter tells only where a call begins. Fields that are not written in the call itself have no place of
//! their own, and the call's stands for them.

use std::ops::Range;

/// A field of a map that is written in a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WrittenField {
    pub name: String,
    pub name_span: Range<usize>,
    pub value_span: Range<usize>,
}

/// The fields of the first map among the arguments of the call at an offset.
pub(super) fn fields_of_call(text: &str, call: usize) -> Vec<WrittenField> {
    let Some(opening) = text[call..].find('(').map(|at| call + at + 1) else { return Vec::new() };
    let Some(start) = map_start(text, opening) else { return Vec::new() };
    let mut fields = Vec::new();
    let mut at = start;
    while let Some((field, next)) = field_at(text, at) {
        fields.push(field);
        at = next;
    }
    fields
}

/// Behind the arguments of the call whose name ends here; here, if there are none.
pub(super) fn end_of_call(text: &str, name_end: usize) -> usize {
    let opening = skip_blank(text, name_end);
    if !text[opening..].starts_with('(') {
        return name_end;
    }
    let mut at = opening + 1;
    loop {
        at = expression_end(text, at);
        match text[at..].chars().next() {
            Some(ends_argument) => at += ends_argument.len_utf8(),
            None => return at,
        }
        if !text[..at].ends_with(',') {
            return at;
        }
    }
}

/// Behind the `#{` that opens a map among the arguments from here on.
fn map_start(text: &str, arguments: usize) -> Option<usize> {
    let mut at = arguments;
    loop {
        at = skip_blank(text, at);
        if text[at..].starts_with("#{") {
            return Some(at + 2);
        }
        let end = expression_end(text, at);
        if !text[end..].starts_with(',') {
            return None;
        }
        at = end + 1;
    }
}

/// The field that begins here, and where the next one may begin.
fn field_at(text: &str, at: usize) -> Option<(WrittenField, usize)> {
    let start = skip_blank(text, at);
    let end = match text[start..].chars().next()? {
        '"' => skip_text(text, start),
        letter if letter.is_alphabetic() || letter == '_' => {
            let word = text[start..].find(|letter: char| !letter.is_alphanumeric() && letter != '_');
            start + word.unwrap_or(text.len() - start)
        }
        _ => return None,
    };
    let colon = skip_blank(text, end);
    if !text[colon..].starts_with(':') {
        return None;
    }
    let value_start = skip_blank(text, colon + 1);
    let stop = expression_end(text, value_start);
    let value_end = value_start + text[value_start..stop].trim_end().len();
    let name = text[start..end].trim_matches('"').to_owned();
    let field = WrittenField { name, name_span: start..end, value_span: value_start..value_end };
    let next = if text[stop..].starts_with(',') { stop + 1 } else { text.len() };
    Some((field, next))
}

/// Where the expression from here on ends: at a comma or a closing bracket that is not inside of it.
fn expression_end(text: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while let Some(letter) = text[at..].chars().next() {
        let next = skip_comment(text, at);
        if next > at {
            at = next;
            continue;
        }
        match letter {
            '"' | '`' | '\'' => {
                at = skip_text(text, at);
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' | ',' if depth == 0 => return at,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        at += letter.len_utf8();
    }
    text.len()
}

/// Behind white space and comments.
fn skip_blank(text: &str, start: usize) -> usize {
    let mut at = start;
    loop {
        let blank = at + text[at..].len() - text[at..].trim_start().len();
        let next = skip_comment(text, blank);
        if next == at {
            return at;
        }
        at = next;
    }
}

/// Behind the comment that begins here, if one does.
fn skip_comment(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    if rest.starts_with("//") {
        return at + rest.find('\n').unwrap_or(rest.len());
    }
    match rest.strip_prefix("/*") {
        Some(inside) => at + inside.find("*/").map_or(rest.len(), |end| end + 4),
        None => at,
    }
}

/// Behind the text in quotes that begins here.
pub(super) fn skip_text(text: &str, at: usize) -> usize {
    let mut letters = text[at..].char_indices();
    let Some((_, quote)) = letters.next() else { return at };
    while let Some((offset, letter)) = letters.next() {
        if letter == '\\' && quote != '`' {
            letters.next();
        } else if letter == quote {
            return at + offset + letter.len_utf8();
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<(String, String)> {
        let fields = fields_of_call(text, 0);
        fields.into_iter().map(|field| (field.name, text[field.value_span].to_owned())).collect()
    }

    #[test]
    fn fields_are_found_with_whatever_stands_in_their_values() {
        let text = "K(#{ a: f(1, [2, 3]), // no: field\n \"b c\": \"x, }\", d: `${e}, `, e: #{ f: 1 }, })";
        let expected = [("a", "f(1, [2, 3])"), ("b c", "\"x, }\""), ("d", "`${e}, `"), ("e", "#{ f: 1 }")];
        assert_eq!(fields(text), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_map_behind_other_arguments_is_found_and_a_variable_has_no_fields() {
        assert_eq!(fields("K([a, b], #{ x: 1 })"), [("x".to_owned(), "1".to_owned())]);
        assert_eq!(fields("K(common)"), []);
        assert_eq!(fields("K() #{ x: 1 }"), []);
        assert_eq!(fields("K(#{ x: "), [("x".to_owned(), String::new())]);
        assert_eq!(fields("K(#{ 7"), []);
    }

    #[test]
    fn a_call_ends_behind_its_arguments() {
        let rest = |text: &str| text[end_of_call(text, 1)..].to_owned();
        assert_eq!(rest("K (a, f(1), #{ x: \")\", }, /* ) */).named(1)"), ".named(1)");
        assert_eq!(rest("K; f(1)"), "; f(1)");
        assert_eq!(rest("K()"), "");
        assert_eq!(rest("K(a, "), "");
    }
}
