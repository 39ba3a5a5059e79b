//! `--set node.field=value`: a field of a graph, written again on the command line; `--set name=value`: a parameter of a
//! script.

use std::str::FromStr;
use std::sync::Arc;

use ron::value::RawValue;

use crate::{Document, Place, Problem};

/// One override: the value takes the place of the field's own, and is read as RON like it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Name of the node; none for a parameter.
    pub node: Option<String>,
    /// Name of the field, or of the parameter.
    pub field: String,
    document: Arc<Document>,
    value_start: usize,
}

impl Override {
    /// The value as it was written.
    pub fn value(&self) -> &str {
        &self.document.text[self.value_start..]
    }

    /// Where the value stands.
    pub fn value_place(&self) -> Place {
        Place { document: Arc::clone(&self.document), span: self.value_start..self.document.text.len() }
    }

    /// Where `node.field` or the parameter's name stands.
    pub fn target_place(&self) -> Place {
        Place { document: Arc::clone(&self.document), span: 0..self.value_start - 1 }
    }
}

impl FromStr for Override {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let wanted =
            "write node.field=value, for instance picture.seed=7, or name=value for a parameter of a script";
        let not_a_setting = || Problem::new(format!("`{text}` sets nothing")).hint(wanted);
        let (target, value) = text.split_once('=').ok_or_else(not_a_setting)?;
        let (node, field) = match target.rsplit_once('.') {
            Some((node, field)) => (Some(node), field),
            None => (None, target),
        };
        if node.is_some_and(str::is_empty) || field.is_empty() {
            return Err(not_a_setting());
        }
        // A parameter's text needs no quotes: its script knows what it is.
        if node.is_some()
            && let Err(error) = ron::from_str::<&RawValue>(value)
        {
            let hint = format!("text stands in quotes, which the shell must keep: '{target}=\"..\"'");
            let shown: String = value.chars().take(60).collect();
            return Err(Problem::new(format!("`{shown}` cannot be read as RON: {}", error.code)).hint(hint));
        }
        let document = Document::new("--set", text);
        let node = node.map(str::to_owned);
        Ok(Self { node, field: field.to_owned(), document, value_start: target.len() + 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_what_stands_behind_the_last_dot() {
        let set: Override = "a.b/1.prompt=\"x=y\"".parse().unwrap();
        assert_eq!(
            (set.node.as_deref(), set.field.as_str(), set.value()),
            (Some("a.b/1"), "prompt", "\"x=y\"")
        );
    }

    #[test]
    fn a_name_without_a_dot_is_a_parameter() {
        let set: Override = "runs=3".parse().unwrap();
        assert_eq!((set.node, set.field.as_str(), set.document.text.as_str()), (None, "runs", "runs=3"));
    }

    #[test]
    fn what_is_no_setting_is_refused_with_an_example() {
        for text in ["=1", "seed", "a.seed", ".seed=1", "a.=1", "a.prompt=a photo", "a.seed=1) x"] {
            let problem = text.parse::<Override>().expect_err(text);
            assert!(!problem.to_string().is_empty());
        }
    }
}
