//! Graph files in their one layout: where lines break and how far they are indented.
//!
//! It moves tokens and comments about and so cannot change what a file means. It must not know values
//! or kinds; all it knows of graphs is that the nodes of `Graph(nodes: {..})` have a line each.

/// The columns that a group on one line may reach.
const WIDTH: usize = 120;
/// As deep as ron reads.
const DEEPEST: usize = 128;

/// Why a text has no layout: its brackets, strings or comments do not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The offset in bytes.
    pub at: usize,
    /// What is wrong there.
    pub message: String,
}

/// The text in its layout. The layout of the result is the result.
pub fn format(text: &str) -> Result<String, Broken> {
    Ok(written(&arranged(tokens(text)?)?))
}

/// A token, or all comments that stand side by side.
#[derive(Default)]
struct Token<'a> {
    text: &'a str,
    at: usize,
    /// Line breaks between the token before and this one. The first token of all starts a line too.
    newlines: usize,
    /// There is nothing at all between the token before and this one.
    adjacent: bool,
    place: Place,
    /// A comma after the last element, which is written only if its group is broken over lines.
    optional: bool,
}

#[derive(Default, PartialEq)]
enum Place {
    /// A comment on lines of its own.
    Alone,
    /// A comment at the end of a line.
    End,
    /// Any other comment, and what is no comment.
    #[default]
    Inline,
}

impl Token<'_> {
    fn is_opening(&self) -> bool {
        matches!(self.text, "(" | "[" | "{")
    }

    fn is_closing(&self) -> bool {
        matches!(self.text, ")" | "]" | "}")
    }

    fn is_comment(&self) -> bool {
        is_comment(self.text)
    }

    fn ends_element(&self) -> bool {
        self.text != "," && !self.is_opening()
    }

    fn place_before(&self, next: Option<&Token<'_>>) -> Place {
        let is_first = self.newlines > 0;
        let is_last = next.is_none_or(|next| next.newlines > 0 || is_first && next.is_closing());
        match (self.is_comment() && is_last, is_first) {
            (true, true) => Place::Alone,
            (true, false) => Place::End,
            (false, _) => Place::Inline,
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, Broken> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let (mut newlines, mut adjacent) = (1, false);
    let mut rest = text.trim_start_matches(|c| c == '\u{feff}' || is_blank(c));
    while !rest.is_empty() {
        let at = text.len() - rest.len();
        let never_closed = |what| Broken { at, message: format!("this {what} is never closed") };
        let (token, after) = rest.split_at(token_length(rest).map_err(never_closed)?);
        let token = if is_comment(token) { token.trim_end() } else { token };
        let side_by_side = newlines == 0 && is_comment(token);
        match tokens.last_mut().filter(|last| side_by_side && last.is_comment()) {
            Some(last) => last.text = &text[last.at..at + token.len()],
            None => tokens.push(Token { text: token, at, newlines, adjacent, ..Token::default() }),
        }
        rest = after.trim_start_matches(is_blank);
        let gap = &after[..after.len() - rest.len()];
        (newlines, adjacent) = (gap.matches('\n').count(), gap.is_empty());
    }
    Ok(tokens)
}

/// The length of the token that a text starts with, or what it is that never ends.
fn token_length(text: &str) -> Result<usize, &'static str> {
    match text.as_bytes() {
        [b'/', b'/', ..] => Ok(text.find('\n').unwrap_or(text.len())),
        [b'/', b'*', ..] => block_comment_length(text).ok_or("comment"),
        [b'"', ..] => string_length(text).ok_or("string"),
        [b'\'', ..] => character_length(text).ok_or("character"),
        [first, ..] if is_punctuation(char::from(*first)) => Ok(1),
        _ => word_length(text).ok_or("string"),
    }
}

fn block_comment_length(text: &str) -> Option<usize> {
    let (mut at, mut depth) = (2, 1);
    while depth > 0 {
        let pair = text.as_bytes().get(at..at + 2)?;
        depth += i32::from(pair == b"/*") - i32::from(pair == b"*/");
        at += if pair == b"/*" || pair == b"*/" { 2 } else { 1 };
    }
    Some(at)
}

fn string_length(text: &str) -> Option<usize> {
    let mut at = 1;
    while *text.as_bytes().get(at)? != b'"' {
        at += if text.as_bytes()[at] == b'\\' { 2 } else { 1 };
    }
    Some(at + 1)
}

fn character_length(text: &str) -> Option<usize> {
    let end = match text[1..].chars().next()? {
        '\\' => 3 + text.get(3..)?.find('\'')?,
        plain => 1 + plain.len_utf8(),
    };
    text[end..].starts_with('\'').then_some(end + 1)
}

/// Names, numbers, `..` and whatever else stands together. A raw string starts like a word.
fn word_length(text: &str) -> Option<usize> {
    let ends = |&(at, c): &(usize, char)| is_blank(c) || is_punctuation(c) || is_comment(&text[at..]);
    let end = text.char_indices().find(ends).map_or(text.len(), |(at, _)| at);
    let (word, rest) = text.split_at(end);
    let hashes = word.strip_prefix('b').unwrap_or(word).strip_prefix('r');
    match hashes.filter(|hashes| hashes.bytes().all(|byte| byte == b'#') && rest.starts_with('"')) {
        Some(hashes) => rest[1..].find(&format!("\"{hashes}")).map(|inside| end + inside + 2 + hashes.len()),
        None => Some(end),
    }
}

fn is_comment(text: &str) -> bool {
    text.starts_with("//") || text.starts_with("/*")
}

fn is_punctuation(c: char) -> bool {
    "()[]{}:,=\"'".contains(c)
}

/// What ron takes for white space, which is not what Rust does.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r' | '\u{85}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
}

/// The tokens with comments in their places, and a comma after the last element of every group.
fn arranged(tokens: Vec<Token<'_>>) -> Result<Vec<Token<'_>>, Broken> {
    let mut arranged: Vec<Token<'_>> = Vec::with_capacity(tokens.len());
    let mut open = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(mut token) = tokens.next() {
        token.place = token.place_before(tokens.peek());
        let broken = |message| Broken { at: token.at, message };
        if token.is_opening() {
            open.push(arranged.len());
        } else if token.is_closing() {
            let stray = || broken(format!("this `{}` closes nothing", token.text));
            end_group(&mut arranged, open.pop().ok_or_else(stray)?, token.text)?;
        }
        if open.len() > DEEPEST {
            return Err(broken(format!("more than {DEEPEST} brackets are open here")));
        }
        let index = if token.text == "," { element_end(&arranged) } else { arranged.len() };
        arranged.insert(index, token);
    }
    open.last().map_or(Ok(()), |&opening| Err(never_closed(&arranged[opening], "")))?;
    Ok(arranged)
}

fn never_closed(opening: &Token<'_>, why: &str) -> Broken {
    Broken { at: opening.at, message: format!("this `{}` is never closed{why}", opening.text) }
}

fn end_group(tokens: &mut Vec<Token<'_>>, opening: usize, close: &str) -> Result<(), Broken> {
    if !matches!((tokens[opening].text, close), ("(", ")") | ("[", "]") | ("{", "}")) {
        return Err(never_closed(&tokens[opening], &format!(": a `{close}` comes first")));
    }
    // ron refuses a comma in `#![enable(..),]`.
    let before = tokens[..opening].iter().rfind(|token| !token.is_comment());
    let is_attribute = before.is_some_and(|before| matches!(before.text, "#!" | "!"));
    let mut before = (opening..tokens.len()).rev().filter(|&index| !tokens[index].is_comment());
    let (last, second_last) = (before.next().unwrap_or(opening), before.next().unwrap_or(opening));
    if tokens[last].text == "," {
        tokens[last].optional = tokens[second_last].ends_element();
    } else if tokens[last].ends_element() && !is_attribute {
        tokens.insert(element_end(tokens), Token { text: ",", optional: true, ..Token::default() });
    }
    Ok(())
}

/// Where a comma belongs: right after its element, before a comment that ends the line.
fn element_end(tokens: &[Token<'_>]) -> usize {
    let element = tokens.iter().rposition(|token| !token.is_comment());
    let Some(element) = element.filter(|&last| tokens[last].ends_element()) else { return tokens.len() };
    (element + 1..tokens.len()).find(|&index| tokens[index].place != Place::Inline).unwrap_or(tokens.len())
}

fn written(tokens: &[Token<'_>]) -> String {
    let mut out = String::new();
    // How far the elements of each open group are indented, if it is broken over lines. The file is.
    let mut groups = vec![Some(0)];
    let (mut indentation, mut is_inside_element) = (0, false);
    for (index, token) in tokens.iter().enumerate() {
        let group = if token.is_closing() { groups.pop() } else { groups.last().copied() }.flatten();
        let starts_line = starts_line(&tokens[..index], token, groups.len());
        match group {
            None if token.optional => continue,
            Some(elements) if starts_line => {
                let further = usize::from(is_inside_element && groups.len() > 1);
                indentation = if token.is_closing() { elements - 1 } else { elements + further };
                start_line(&mut out, &tokens[..index], token, indentation);
            }
            _ if index > 0 && is_spaced(&tokens[index - 1], token) => out.push(' '),
            _ => {}
        }
        // In a string, CRLF is a part of the value.
        let line = |line| if token.is_comment() { str::trim_end_matches(line, '\r') } else { line };
        out.push_str(&token.text.split('\n').map(line).collect::<Vec<_>>().join("\n"));
        is_inside_element = if token.is_comment() { is_inside_element } else { token.ends_element() };
        if token.is_opening() {
            let breaks = group.is_some() && breaks(tokens, index, groups.len(), &out);
            groups.push(breaks.then_some(indentation + 1));
        }
    }
    out + "\n"
}

/// Whether a token of a group that is broken over lines starts one of them.
fn starts_line(before: &[Token<'_>], token: &Token<'_>, depth: usize) -> bool {
    let Some(previous) = before.last() else { return false };
    let follows_attribute = previous.text == "]" && depth == 1;
    token.is_closing()
        || token.place == Place::Alone
        || previous.place != Place::Inline
        || token.place != Place::End && (!previous.ends_element() || follows_attribute)
}

fn start_line(out: &mut String, before: &[Token<'_>], token: &Token<'_>, indentation: usize) {
    let beside = before.iter().rfind(|token| token.place != Place::End);
    if token.newlines > 1 && !token.is_closing() && !beside.is_some_and(Token::is_opening) {
        out.push('\n');
    }
    out.push('\n');
    out.push_str(&"    ".repeat(indentation));
}

fn is_spaced(previous: &Token<'_>, token: &Token<'_>) -> bool {
    let is_name = previous.text.starts_with(|c: char| c.is_alphabetic() || c == '_');
    match (previous.text, token.text) {
        _ if token.place == Place::End => true,
        ("{", "}") | ("(" | "[", _) | (_, ")" | "]" | "," | ":") => false,
        ("{" | "," | ":", _) | (_, "}") => true,
        (_, "(") if is_name => false,
        // `b'x'` and the like mean something only as they were.
        _ => previous.is_comment() || token.is_comment() || !token.adjacent,
    }
}

/// Whether the group that opens here, in one that is broken over lines, is so too.
fn breaks(tokens: &[Token<'_>], opening: usize, depth: usize, out: &str) -> bool {
    let before = tokens[..opening].iter().rev().filter(|token| !token.is_comment());
    let line = out.chars().rev().take(WIDTH + 1).take_while(|c| *c != '\n');
    match (depth, tokens[opening].text) {
        _ if tokens.get(opening + 1).is_some_and(Token::is_closing) => false,
        (1, "(") => true,
        (2, "{") if before.map(|token| token.text).take(2).eq([":", "nodes"]) => true,
        _ => !fits(&tokens[opening..], depth, line.count()),
    }
}

/// Whether a group fits on the line, with all that follows up to where the line can break again.
fn fits(tokens: &[Token<'_>], outside: usize, mut width: usize) -> bool {
    let mut depth = outside + 1;
    for pair in tokens.windows(2) {
        let (previous, token) = (&pair[0], &pair[1]);
        let is_inside = depth > outside;
        if !is_inside && (outside == 1 || token.is_closing() || token.is_comment()) {
            return true;
        }
        if is_inside && (token.place != Place::Inline || token.text.contains('\n')) {
            return false;
        }
        if is_inside && token.optional {
            continue;
        }
        width += token.text.chars().count() + usize::from(is_spaced(previous, token));
        if width > WIDTH || !is_inside && (token.text == "," || token.is_opening()) {
            return width <= WIDTH;
        }
        depth = depth + usize::from(token.is_opening()) - usize::from(token.is_closing());
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_graph_is_broken_over_lines_and_its_comments_stay_where_they_were() {
        let text = "\u{feff}// first\r\n#![enable(a,)// second\r\n]\r\n\r\nGraph(nodes:{\n\n// before a\n\
                    \"a\":A ( x :1,m:{\"k\":[ 1,2, ]},), /* a */ // a  \n\n\n\n\"b\":\n// inside b\n\
                    B(x: (1, /* two */2,),y: \"\"// y\r\n)\n// last\n}) // end\n/* after\r\n*/";
        let layout = r#"// first
#![
    enable(a) // second
]

Graph(
    nodes: {
        // before a
        "a": A(x: 1, m: { "k": [1, 2] }), /* a */ // a

        "b":
            // inside b
            B(
                x: (1, /* two */ 2),
                y: "", // y
            ),
        // last
    },
) // end
/* after
*/
"#;
        assert_eq!(format(text).unwrap(), layout);
    }

    #[test]
    fn as_many_columns_as_there_are_are_one_line_and_one_more_is_too_many() {
        let node = |width: usize| format!("Graph(nodes: {{\"a\": A(x: \"{}\")}})", "x".repeat(width - 22));
        assert!(format(&node(WIDTH)).unwrap().lines().any(|line| line.len() == WIDTH));
        assert!(format(&node(WIDTH + 1)).unwrap().contains("\"a\": A(\n            x: \"x"));
    }

    #[test]
    fn what_is_broken_is_told_with_its_place() {
        let told = |text: &str| format(text).map_err(|broken| (broken.at, broken.message)).unwrap_err();
        assert_eq!(told("[(1]"), (1, "this `(` is never closed: a `]` comes first".to_owned()));
        assert_eq!(told("(1))"), (3, "this `)` closes nothing".to_owned()));
        assert_eq!(told("(r#\"\""), (1, "this string is never closed".to_owned()));
        assert_eq!(told("( /* /* */"), (2, "this comment is never closed".to_owned()));
        assert_eq!(told(&"[".repeat(10_000)), (128, "more than 128 brackets are open here".to_owned()));
    }

    /// The tokens that count, and the comments.
    fn meaning(text: &str) -> (Vec<String>, Vec<String>) {
        let texts = tokens(text).unwrap().into_iter().map(|token| token.text.to_owned());
        let (comments, tokens): (Vec<_>, Vec<_>) = texts.partition(|text| is_comment(text));
        let is_trailing = |it: &[String]| it[1] == "," && !"([{,".contains(&it[0]) && ")]}".contains(&it[2]);
        let counting = tokens.windows(3).filter(|it| !is_trailing(it)).map(|it| it[1].clone());
        // Those that stand side by side are one token.
        let comments = comments.iter().flat_map(|side_by_side| side_by_side.split_inclusive("*/"));
        (counting.collect(), comments.map(|comment| comment.trim().to_owned()).collect())
    }

    fn graph() -> impl Strategy<Value = String> {
        let tokens = r##"[,: =]|Kind|1\.\.=2|"some more text // \("|"\\""|"\r\n"| r#"""#|b'\('|'\\''"##;
        let gaps = r#"\n|\r\n\n|//\n|// \{a, \(\t\n|\n// b\n|/\* " /\*\*/ \*/|/\* c\n \*/|\n\n/\* d \*/\n"#;
        let nested = prop_oneof![tokens, gaps].prop_recursive(4, 60, 8, |inside| {
            (prop::sample::select(vec!["()", "[]", "{}"]), prop::collection::vec(inside, 0..8))
                .prop_map(|(brackets, inside)| [&brackets[..1], &inside.concat(), &brackets[1..]].concat())
        });
        prop::collection::vec(nested, 0..8).prop_map(|nodes| format!("Graph(nodes: {{{}}})", nodes.concat()))
    }

    proptest! {
        #[test]
        fn tokens_and_comments_stay_and_a_layout_stays_as_it_is(text in graph()) {
            let layout = format(&text).unwrap();
            prop_assert_eq!(format(&layout).unwrap(), &*layout);
            prop_assert_eq!(meaning(&layout), meaning(&text));
        }

        #[test]
        fn any_text_has_a_layout_or_is_broken(text in r#"[/*"'\#rb\\(){}\[\]:,=! \n\r\u{feff}é-]{0,60}"#) {
            let layout = format(&text);
            prop_assert_eq!(layout.clone().and_then(|layout| format(&layout)), layout);
        }
    }
}
