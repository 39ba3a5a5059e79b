//! `param(name, default)`: what a script asks of whoever runs it, answered by `--set name=value`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rhai::{Dynamic, Engine, EvalAltResult, NativeCallContext};

use super::error::{Documents, thrown};
use crate::diagnostic::nearest;
use crate::source::Override;
use crate::{Diagnostic, Place};

/// What was given, and what was asked for.
#[derive(Clone)]
pub(super) struct Parameters {
    given: Arc<BTreeMap<String, Override>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Parameters {
    /// The parameters among what was set.
    pub fn new(overrides: &[Override]) -> Self {
        let given = overrides.iter().filter(|set| set.node.is_none());
        Self {
            given: Arc::new(given.map(|set| (set.field.clone(), set.clone())).collect()),
            asked: Arc::default(),
        }
    }

    fn asked(&self) -> MutexGuard<'_, Vec<String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `param` known to scripts.
    pub fn register(&self, engine: &mut Engine, documents: &Documents) {
        let (parameters, texts) = (self.clone(), documents.clone());
        engine.register_fn("param", move |context: NativeCallContext<'_>, name: &str, default: Dynamic| {
            parameters.get(name, Some(default), texts.called(&context))
        });
        let (parameters, texts) = (self.clone(), documents.clone());
        engine.register_fn("param", move |context: NativeCallContext<'_>, name: &str| {
            parameters.get(name, None, texts.called(&context))
        });
    }

    fn get(&self, name: &str, default: Option<Dynamic>, call: Place) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut asked = self.asked();
        if !asked.iter().any(|known| known == name) {
            asked.push(name.to_owned());
        }
        drop(asked);
        match (self.given.get(name), default) {
            (Some(set), default) => value_of(set, default.as_ref()).map_err(|problem| thrown(*problem)),
            (None, Some(default)) => Ok(default),
            (None, None) => {
                let problem = Diagnostic::error(format!("the parameter `{name}` is not given")).at(call);
                Err(thrown(problem.hint(format!("run with --set {name}=.."))))
            }
        }
    }

    /// What was given that the script never asked for.
    pub fn unknown(&self) -> Vec<Diagnostic> {
        let asked = self.asked();
        let unknown = self.given.values().filter(|set| !asked.contains(&set.field));
        let problem = |set: &Override| {
            let hint = match nearest(&set.field, asked.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if asked.is_empty() => "it asks for none".to_owned(),
                None => format!("it asks for {}", asked.join(", ")),
            };
            let message = format!("the script asks for no parameter `{}`", set.field);
            Diagnostic::error(message).at(set.target_place()).hint(hint)
        };
        unknown.map(problem).collect()
    }
}

/// A given value, of the type that the default has. Where that is text, it needs no quotes.
fn value_of(set: &Override, default: Option<&Dynamic>) -> Result<Dynamic, Box<Diagnostic>> {
    let refused = |takes: &str| {
        let message = format!("the parameter `{}` takes {takes}", set.field);
        Box::new(Diagnostic::error(message).at(set.value_place()))
    };
    if default.is_some_and(Dynamic::is_string) && !is_quoted(set.value()) {
        return Ok(set.value().trim().to_owned().into());
    }
    let read = |error: ron::error::SpannedError| match default {
        Some(default) if !default.is_unit() => refused(type_of(default)),
        _ => refused(&format!("a value as RON has it, and this is none: {}", error.code)),
    };
    let value: ron::Value = ron::from_str(set.value()).map_err(read)?;
    let value = dynamic(value).ok_or_else(|| refused("text, numbers, true or false, and lists of them"))?;
    let Some(default) = default.filter(|default| !default.is_unit()) else { return Ok(value) };
    if default.is_float() && value.is_int() {
        #[expect(
            clippy::cast_precision_loss,
            reason = "what a person types for a number with a fraction is short"
        )]
        return Ok(Dynamic::from(value.as_int().unwrap_or_default() as f64));
    }
    if default.type_id() == value.type_id() {
        return Ok(value);
    }
    Err(refused(type_of(default)))
}

/// What a person calls the type of a value.
fn type_of(value: &Dynamic) -> &'static str {
    match value.type_name() {
        "i64" => "a whole number",
        "f64" => "a number",
        "bool" => "true or false",
        "array" => "a list, in square brackets",
        _ => "text",
    }
}

/// Whether somebody has written RON's text: `"a"`, or `r#"a"#`.
fn is_quoted(value: &str) -> bool {
    let value = value.trim_start();
    let after_raw = value.strip_prefix('r').map(|rest| rest.trim_start_matches('#'));
    after_raw.unwrap_or(value).starts_with('"')
}

/// A RON value in the types of scripts.
fn dynamic(value: ron::Value) -> Option<Dynamic> {
    Some(match value {
        ron::Value::Bool(value) => Dynamic::from(value),
        ron::Value::Char(value) => Dynamic::from(value),
        ron::Value::String(value) => Dynamic::from(value),
        ron::Value::Unit | ron::Value::Option(None) => Dynamic::UNIT,
        ron::Value::Option(Some(value)) => dynamic(*value)?,
        ron::Value::Number(number) => match number {
            ron::Number::F32(_) | ron::Number::F64(_) => Dynamic::from(number.into_f64()),
            whole => Dynamic::from(whole_number(&whole)?),
        },
        ron::Value::Seq(items) => {
            Dynamic::from(items.into_iter().map(dynamic).collect::<Option<rhai::Array>>()?)
        }
        ron::Value::Bytes(_) | ron::Value::Map(_) => return None,
    })
}

fn whole_number(number: &ron::Number) -> Option<i64> {
    match *number {
        ron::Number::I8(value) => Some(value.into()),
        ron::Number::I16(value) => Some(value.into()),
        ron::Number::I32(value) => Some(value.into()),
        ron::Number::I64(value) => Some(value),
        ron::Number::U8(value) => Some(value.into()),
        ron::Number::U16(value) => Some(value.into()),
        ron::Number::U32(value) => Some(value.into()),
        ron::Number::U64(value) => value.try_into().ok(),
        _ => None,
    }
}
