//! How much the words of a prompt count: `(word:1.2)`, `(word)`, `[word]`.
//!
//! The notation of AUTOMATIC1111's web UI, which ComfyUI shares for round brackets. `(word)` counts 1.1 times,
//! `[word]` 1 / 1.1 times, and brackets multiply. `\(`, `\)`, `\[`, `\]`, `\:` and `\\` stand for themselves; any other
//! backslash is one. A prompt without brackets is taken as it stands, backslashes and all.
//!
//! Where the web UI guesses, this refuses: brackets without their other half, weights that are no numbers, and a weight
//! in square brackets, which there means another thing (a change of prompt half-way).
//!
//! Nothing here knows tokens.

use flow_engine::Problem;

/// What a pair of round brackets without a number multiplies by; square brackets divide.
const STEP: f64 = 1.1;
/// Characters of the prompt that an error shows.
const SHOWN: usize = 24;

/// A run of a prompt's text, without the brackets around it.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The words.
    pub text: String,
    /// How much they count; 1 is plain text. Finite, and may be 0 or negative.
    pub weight: f32,
}

/// Takes a prompt apart. Neighbours differ in weight, and their texts together are the prompt without its notation.
///
/// # Errors
/// An unpaired bracket, a weight that is no number, all with the place in the prompt.
pub fn parse(prompt: &str) -> Result<Vec<Span>, Problem> {
    if !prompt.contains(['(', ')', '[', ']']) {
        return Ok(merged(vec![Run { text: prompt.to_owned(), ..Run::new() }]));
    }
    let mut parser = Parser { prompt, runs: vec![Run::new()], open: Vec::new() };
    let mut chars = prompt.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' if chars.peek().is_some_and(|(_, next)| r"()[]:\".contains(*next)) => {
                parser.text(chars.next().map_or(char, |(_, escaped)| escaped));
            }
            '(' | '[' => parser.open(at, char),
            ')' | ']' => parser.close(at, char)?,
            ':' => parser.colon(),
            _ => parser.text(char),
        }
    }
    parser.finish()
}

/// The words of a prompt without their notation; a prompt that cannot be taken apart stays as it is.
pub fn plain(prompt: &str) -> String {
    parse(prompt)
        .map_or_else(|_| prompt.to_owned(), |spans| spans.into_iter().map(|span| span.text).collect())
}

/// Text between two brackets.
struct Run {
    text: String,
    weight: f64,
    /// Where in the text the last colon stands, which may start a weight.
    colon: Option<usize>,
}

impl Run {
    fn new() -> Self {
        Self { text: String::new(), weight: 1.0, colon: None }
    }
}

/// A bracket that waits for its other half.
struct Open {
    at: usize,
    bracket: char,
    /// The first run inside.
    first: usize,
}

struct Parser<'a> {
    prompt: &'a str,
    /// Never empty: the last one is being read.
    runs: Vec<Run>,
    open: Vec<Open>,
}

impl Parser<'_> {
    fn text(&mut self, char: char) {
        if let Some(run) = self.runs.last_mut() {
            run.text.push(char);
        }
    }

    fn colon(&mut self) {
        if let Some(run) = self.runs.last_mut() {
            run.colon = Some(run.text.len());
            run.text.push(':');
        }
    }

    fn open(&mut self, at: usize, bracket: char) {
        self.runs.push(Run::new());
        self.open.push(Open { at, bracket, first: self.runs.len() - 1 });
    }

    fn close(&mut self, at: usize, bracket: char) -> Result<(), Problem> {
        let other = if bracket == ')' { '(' } else { '[' };
        let Some(open) = self.open.pop().filter(|open| open.bracket == other) else {
            let message = format!("the `{bracket}` at {} has no `{other}` before it", self.place(at));
            return Err(Problem::new(message).hint(literal(bracket)));
        };
        let factor = match (bracket, self.take_weight(at)?) {
            (')', Some(weight)) => weight,
            (')', None) => STEP,
            (_, None) => 1.0 / STEP,
            (_, Some(_)) => {
                let message = format!("square brackets take no weight, at {}", self.place(open.at));
                return Err(Problem::new(message).hint(
                    "write `(word:0.9)` for words that count less; `\\:` is a colon that is meant as one",
                ));
            }
        };
        self.runs[open.first..].iter_mut().for_each(|run| run.weight *= factor);
        self.runs.push(Run::new());
        Ok(())
    }

    /// Takes the number behind the last colon before a closing bracket out of the text.
    fn take_weight(&mut self, end: usize) -> Result<Option<f64>, Problem> {
        let square = self.prompt[end..].starts_with(']');
        let Some(run) = self.runs.last_mut() else { return Ok(None) };
        let Some(colon) = run.colon else { return Ok(None) };
        let written = run.text.split_off(colon);
        let number = written[1..].trim().parse::<f64>().ok().filter(|weight| (*weight as f32).is_finite());
        if number.is_none() && square {
            // A colon in square brackets is text, unless it looks like a weight.
            run.text.push_str(&written);
            return Ok(None);
        }
        if number.is_none() {
            let written = written[1..].trim().to_owned();
            let message = format!("the weight `{written}` before {} is no number", self.place(end));
            return Err(
                Problem::new(message).hint("write `(word:1.2)`, or `\\:` for a colon that is meant as one")
            );
        }
        Ok(number)
    }

    fn finish(self) -> Result<Vec<Span>, Problem> {
        if let Some(open) = self.open.last() {
            let message = format!("the `{}` at {} is never closed", open.bracket, self.place(open.at));
            return Err(Problem::new(message).hint(literal(open.bracket)));
        }
        if let Some(run) = self.runs.iter().find(|run| !(run.weight as f32).is_finite()) {
            let message = format!("the weights around `{}` multiply to more than a number holds", run.text);
            return Err(Problem::new(message));
        }
        Ok(merged(self.runs))
    }

    /// A place in the prompt, counted from 1 in characters, and what stands there.
    fn place(&self, at: usize) -> String {
        let (before, after) = self.prompt.split_at(at);
        let shown: String = after.chars().take(SHOWN).collect();
        let more = if shown.len() < after.len() { "…" } else { "" };
        format!("character {}, `{shown}{more}`,", before.chars().count() + 1)
    }
}

fn literal(bracket: char) -> String {
    let pair = if "()".contains(bracket) { "(word:1.2)" } else { "[word]" };
    format!("brackets weigh words, as in `{pair}`; write `\\{bracket}` for one that is meant as it stands")
}

/// Runs without the empty ones, neighbours of one weight joined.
fn merged(runs: Vec<Run>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for run in runs.into_iter().filter(|run| !run.text.is_empty()) {
        let weight = run.weight as f32;
        match spans.last_mut().filter(|span| span.weight == weight) {
            Some(span) => span.text.push_str(&run.text),
            None => spans.push(Span { text: run.text, weight }),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(prompt: &str) -> Vec<(String, f32)> {
        parse(prompt).unwrap().into_iter().map(|span| (span.text, span.weight)).collect()
    }

    #[track_caller]
    fn reads(prompt: &str, expected: &[(&str, f32)]) {
        let told = told(prompt);
        let texts: Vec<_> = told.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, expected.iter().map(|(text, _)| *text).collect::<Vec<_>>(), "{prompt}");
        for ((text, found), (_, wanted)) in told.iter().zip(expected) {
            assert!((found - wanted).abs() < 1e-6, "{prompt}: {text} counts {found}, not {wanted}");
        }
    }

    fn refused(prompt: &str) -> String {
        parse(prompt).unwrap_err().to_string()
    }

    #[test]
    fn brackets_weigh_the_words_inside_them() {
        reads("a (red:1.2) bear", &[("a ", 1.0), ("red", 1.2), (" bear", 1.0)]);
        reads("(bear)", &[("bear", 1.1)]);
        reads("[bear]", &[("bear", 1.0 / 1.1)]);
        reads("(bear: -0.5 )", &[("bear", -0.5)]);
        reads("(bear:0)", &[("bear", 0.0)]);
    }

    #[test]
    fn nested_brackets_multiply() {
        reads("((bear))", &[("bear", 1.21)]);
        reads("(a (red:2) bear:1.5)", &[("a ", 1.5), ("red", 3.0), (" bear", 1.5)]);
        reads("[(bear:1.1)]", &[("bear", 1.0)]);
    }

    #[test]
    fn only_the_last_colon_before_the_bracket_starts_a_weight() {
        reads("(ratio 3:4:1.5)", &[("ratio 3:4", 1.5)]);
        reads("(style: (oil:1.3) paint)", &[("style: ", 1.1), ("oil", 1.43), (" paint", 1.1)]);
        reads("(at 3\\:30)", &[("at 3:30", 1.1)]);
        reads("[a: b]", &[("a: b", 1.0 / 1.1)]);
        reads("a photo: (bear)", &[("a photo: ", 1.0), ("bear", 1.1)]);
    }

    #[test]
    fn escaped_brackets_are_text_and_other_backslashes_too() {
        reads(r"bear \(plush\)", &[("bear (plush)", 1.0)]);
        reads(r"(\[a\]:2) \\ \n", &[("[a]", 2.0), (r" \ \n", 1.0)]);
        reads(r"no brackets: \\ \: \n", &[(r"no brackets: \\ \: \n", 1.0)]);
        reads("", &[]);
        reads("(:2)[]()", &[]);
    }

    #[test]
    fn a_plain_prompt_has_the_words_alone() {
        assert_eq!(plain(r"a (big:1.3) [red] toy \(new\)"), "a big red toy (new)");
        assert_eq!(plain("a (toy"), "a (toy");
    }

    #[test]
    fn words_of_equal_weight_are_one_span() {
        reads("be(ar:1)s", &[("bears", 1.0)]);
        reads("(a:2)(b:2)", &[("ab", 2.0)]);
    }

    #[test]
    fn an_unpaired_bracket_is_named_with_its_place() {
        let said = refused("ä photo of a (bear on a skateboard in times square");
        assert_eq!(said, "the `(` at character 14, `(bear on a skateboard in…`, is never closed");
        assert_eq!(refused("bear)"), "the `)` at character 5, `)`, has no `(` before it");
        assert!(refused("(a] b").starts_with("the `]` at character 3"), "{}", refused("(a] b"));
        let long = format!("{}(bear", "very ".repeat(200));
        assert_eq!(refused(&long), "the `(` at character 1001, `(bear`, is never closed");
    }

    #[test]
    fn a_weight_that_is_no_number_is_named_with_its_place() {
        for weight in ["", "big", "1.2.3", "nan", "inf", "1e99", "1,2"] {
            let said = refused(&format!("(bear:{weight})"));
            assert!(said.starts_with(&format!("the weight `{weight}` before character ")), "{said}");
        }
        assert!(refused("((a:1e30):1e30)").contains("multiply to more"), "{}", refused("((a:1e30):1e30)"));
        assert!(refused("[bear:0.8]").starts_with("square brackets take no weight, at character 1"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), marks in r"[()\[\]:\\ 1.a]{0,40}") {
            let _ = parse(&text);
            let _ = parse(&marks);
            let _ = parse(&format!("{text}{marks}{text}"));
        }

        #[test]
        fn text_without_brackets_survives_as_it_is(text in r"[^()\[\]]{1,60}") {
            prop_assert_eq!(told(&text), [(text.clone(), 1.0)]);
        }

        #[test]
        fn escaped_text_survives_whatever_it_holds(text in any::<String>()) {
            let escape = |c: char| if r"()[]:\".contains(c) { format!(r"\{c}") } else { c.to_string() };
            let escaped: String = text.chars().map(escape).collect();
            let prompt = format!("({escaped}:2)");
            let expected = if text.is_empty() { vec![] } else { vec![(text, 2.0)] };
            prop_assert_eq!(told(&prompt), expected);
        }

        #[test]
        fn no_word_is_lost_between_brackets(words in prop::collection::vec(("[a-zä ]{1,8}", 0..4), 0..12)) {
            let written = |(word, kind): &(String, i32)| match kind {
                0 => word.clone(),
                1 => format!("({word})"),
                2 => format!("[{word}]"),
                _ => format!("(({word}:1.3) {word}:0.5)"),
            };
            let meant = |(word, kind): &(String, i32)| {
                if *kind < 3 { word.clone() } else { format!("{word} {word}") }
            };
            let prompt: String = words.iter().map(written).collect();
            let plain: String = told(&prompt).into_iter().map(|(text, _)| text).collect();
            prop_assert_eq!(plain, words.iter().map(meant).collect::<String>());
        }
    }
}
