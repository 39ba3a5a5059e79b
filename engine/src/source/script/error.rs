//! What ended a script, said at its place and in the words of graphs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rhai::{Dynamic, EvalAltResult, LexError, NativeCallContext, ParseErrorType, Position};

use super::limits::{CALLS, ELEMENTS, OPERATIONS, TEXT, TOO_LONG};
use super::literal::skip_text;
use crate::diagnostic::{nearest, offset};
use crate::{Diagnostic, Document, Place, Registry};

/// A mistake on its way through a script.
#[derive(Debug, Clone)]
struct Thrown(Diagnostic);

/// Ends the script with a mistake.
pub(super) fn thrown(problem: Diagnostic) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(Thrown(problem)), Position::NONE))
}

/// The texts of a script and its modules, by the names that the interpreter knows them under.
#[derive(Clone)]
pub(super) struct Documents {
    main: Arc<Document>,
    modules: Arc<Mutex<HashMap<String, Arc<Document>>>>,
    /// The modules that are being evaluated, the outermost first.
    under_way: Arc<Mutex<Vec<Arc<Document>>>>,
}

impl Documents {
    /// Of a script that has read no modules yet.
    pub fn new(main: Arc<Document>) -> Self {
        Self { main, modules: Arc::default(), under_way: Arc::default() }
    }

    /// Evaluates a module, so that calls in it are told to be there.
    pub fn evaluating<T>(&self, module: &Arc<Document>, evaluate: impl FnOnce() -> T) -> T {
        let under_way = || self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way().push(Arc::clone(module));
        let value = evaluate();
        under_way().pop();
        value
    }

    /// The script or module whose own lines are being evaluated.
    pub fn evaluated(&self) -> Arc<Document> {
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(under_way.last().unwrap_or(&self.main))
    }

    /// A module that was read.
    pub fn add(&self, document: Arc<Document>) {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        modules.insert(document.name.clone(), document);
    }

    /// Where a function of ours was called.
    pub fn called(&self, context: &NativeCallContext<'_>) -> Place {
        self.place(context.call_source(), context.call_position())
    }

    /// A place in one of the texts: the word or the text in quotes there.
    pub fn place(&self, source: Option<&str>, position: Position) -> Place {
        let modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let document = source.and_then(|name| modules.get(name)).unwrap_or(&self.main);
        let text = &document.text;
        let start = match (position.line(), position.position()) {
            (Some(line), column) => offset(text, line, column.unwrap_or(1)),
            (None, _) => text.len(),
        };
        let is_of_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let end = match text[start..].chars().next() {
            Some('"' | '`') => skip_text(text, start),
            Some(first) if is_of_word(first) => {
                start + text[start..].find(|letter| !is_of_word(letter)).unwrap_or(text.len() - start)
            }
            first => start + first.map_or(0, char::len_utf8),
        };
        Place { document: Arc::clone(document), span: start..end }
    }
}

/// What ended a script.
pub(super) fn told(error: &EvalAltResult, documents: &Documents, registry: &Registry) -> Diagnostic {
    told_in(error, None, documents, registry)
}

/// The same for an error in one of the texts. Which functions and modules it came through is said from the outside in.
fn told_in(
    error: &EvalAltResult,
    source: Option<&str>,
    documents: &Documents,
    registry: &Registry,
) -> Diagnostic {
    let (inner, inside, through) = match error {
        EvalAltResult::ErrorInFunctionCall(name, inside, inner, position) => {
            let name = if rhai_is_anonymous(name) { "a closure".to_owned() } else { format!("`{name}`") };
            let place = documents.place(source, *position);
            (inner, inside, format!("in {name}, called at {place}"))
        }
        EvalAltResult::ErrorInModule(inside, inner, position) => {
            (inner, inside, format!("imported at {}", documents.place(source, *position)))
        }
        _ => return leaf(error, source, documents, registry),
    };
    let inside = Some(inside.as_str()).filter(|name| !name.is_empty()).or(source);
    let mut problem = told_in(inner, inside, documents, registry);
    if !problem.causes.contains(&through) {
        problem.causes.insert(0, through);
    }
    problem
}

fn rhai_is_anonymous(name: &str) -> bool {
    name.starts_with("anon$")
}

/// An error that wraps no other.
fn leaf(
    error: &EvalAltResult,
    source: Option<&str>,
    documents: &Documents,
    registry: &Registry,
) -> Diagnostic {
    if let EvalAltResult::ErrorRuntime(value, _) = error
        && let Some(Thrown(problem)) = value.read_lock::<Thrown>().as_deref()
    {
        let place = problem.place.clone().unwrap_or_else(|| documents.place(source, error.position()));
        return problem.clone().at(place);
    }
    let (message, hint) = words(error, registry);
    Diagnostic::error(message).at(documents.place(source, error.position())).maybe_hint(hint)
}

/// An error in words, and what to do about it.
fn words(error: &EvalAltResult, registry: &Registry) -> (String, Option<String>) {
    match error {
        EvalAltResult::ErrorParsing(kind, _) => syntax(kind, registry),
        EvalAltResult::ErrorFunctionNotFound(signature, _) => unknown_function(signature, registry),
        EvalAltResult::ErrorVariableNotFound(name, _) => unknown_name(name, registry),
        EvalAltResult::ErrorTooManyOperations(_) => {
            let hint = "does a loop never end? A graph of a thousand nodes takes a hundredth of that";
            (
                format!("the script takes more than {} million steps", OPERATIONS / 1_000_000),
                Some(hint.to_owned()),
            )
        }
        EvalAltResult::ErrorTerminated(why, _)
            if why.clone().into_string().is_ok_and(|why| why == TOO_LONG) =>
        {
            (format!("the script was stopped: {TOO_LONG}"), None)
        }
        EvalAltResult::ErrorStackOverflow(_) => {
            let hint = "a function that calls itself has to end; a loop has no such limit";
            (format!("more than {CALLS} functions call each other"), Some(hint.to_owned()))
        }
        EvalAltResult::ErrorDataTooLarge(what, _) => {
            let hint =
                format!("an array or a map may have {ELEMENTS} elements, and {} KiB of text", TEXT >> 10);
            let what = match what.as_str() {
                what if what.contains("array") => "an array",
                what if what.contains("map") => "a map",
                _ => "a text",
            };
            (format!("{what} grows too large"), Some(hint))
        }
        EvalAltResult::ErrorDotExpr(why, _) if why.contains("for type 'node'") => {
            let hint = "its fields and inputs are given when it is called, so no wire ever leads back";
            ("a node can neither be changed nor be asked for its fields".to_owned(), Some(hint.to_owned()))
        }
        EvalAltResult::ErrorRuntime(value, _) => (format!("the script says: {value}"), None),
        other => {
            // Its own text ends with the place, which stands beside it already.
            let text = other.to_string();
            (in_small_letters(text.split(" (line ").next().unwrap_or_default()), None)
        }
    }
}

fn syntax(kind: &ParseErrorType, registry: &Registry) -> (String, Option<String>) {
    match kind {
        ParseErrorType::VariableUndefined(name) => unknown_name(name, registry),
        ParseErrorType::Reserved(name) | ParseErrorType::BadInput(LexError::ImproperSymbol(name, _))
            if ["eval", "print", "debug"].contains(&name.as_str()) =>
        {
            let hint = "a script makes a graph, and does nothing else; `flow expand` shows what it makes";
            (format!("`{name}` is not there for scripts"), Some(hint.to_owned()))
        }
        other => (in_small_letters(&other.to_string()), None),
    }
}

fn unknown_name(name: &str, registry: &Registry) -> (String, Option<String>) {
    let near = nearest(name, registry.kinds()).map(|near| format!("did you mean `{near}(#{{ .. }})`?"));
    let hint = near.unwrap_or_else(|| format!("write `let {name} = ..` before it is used"));
    (format!("nothing is named `{name}` here"), Some(hint))
}

/// `signature` is `name (type, type)`.
fn unknown_function(signature: &str, registry: &Registry) -> (String, Option<String>) {
    let (name, types) = signature.split_once(" (").unwrap_or((signature, ""));
    let types = types.trim_end_matches(')').split(", ").map(type_in_words).collect::<Vec<_>>().join(", ");
    if registry.get(name).is_some() {
        let hint = format!("write `{name}(#{{ field: value, .. }})`; `flow nodes {name}` lists its fields");
        return (format!("`{name}` takes its fields as a map, and not ({types})"), Some(hint));
    }
    let all = registry.kinds().chain(["param", "named"]);
    match nearest(name, all) {
        Some(near) => {
            let message = format!("there is no kind of node or function named `{name}`");
            (message, Some(format!("did you mean `{near}`?")))
        }
        None => {
            let hint =
                "`flow nodes` lists the kinds of nodes; scripts have no files, no clock and no network";
            (format!("there is no function `{name}` for ({types})"), Some(hint.to_owned()))
        }
    }
}

fn type_in_words(name: &str) -> &str {
    match name {
        "i64" => "a whole number",
        "f64" => "a number",
        "bool" => "true or false",
        "array" => "an array",
        "map" => "a map",
        "()" => "nothing",
        "node" => "a node",
        text if text.contains("String") => "text",
        other => other,
    }
}

fn in_small_letters(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
