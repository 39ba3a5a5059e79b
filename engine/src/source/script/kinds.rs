//! The functions of scripts, made from the registry: every kind, every enum variant that has fields.
//!
//! A new node is in the language at once; nothing here knows one of them.

use std::collections::BTreeSet;

use rhai::{Array, Dynamic, Engine, EvalAltResult, ImmutableString, Map, NativeCallContext};

use super::builder::{Builder, Handle, Origin};
use super::error::{Documents, thrown};
use super::parameters::Parameters;
use crate::schema::variants_with_fields;
use crate::source::reference::first_input;
use crate::{Diagnostic, Registry};

/// A variant of an enum with its fields, `Para(#{ rank: 8 })`.
#[derive(Debug, Clone)]
pub(super) struct Variant {
    pub name: ImmutableString,
    pub content: Dynamic,
}

/// Makes everything known that a script may call.
pub(super) fn register(
    engine: &mut Engine,
    registry: &Registry,
    builder: &Builder,
    parameters: &Parameters,
    documents: &Documents,
) {
    engine.register_type_with_name::<Handle>("node").register_type_with_name::<Variant>("choice");
    for node_type in registry.types() {
        let maker = Maker {
            kind: node_type.kind,
            first: first_input(node_type).cloned(),
            builder: builder.clone(),
            documents: documents.clone(),
        };
        maker.register(engine);
    }
    for name in variants(registry) {
        let function = name.clone();
        engine
            .register_fn(function.as_str(), move |content: Dynamic| Variant { name: name.clone(), content });
    }
    parameters.register(engine, documents);
    register_named(engine, builder, documents);
}

/// `node.named("name")`: gives a node its name, and is the node.
fn register_named(engine: &mut Engine, builder: &Builder, documents: &Documents) {
    let (builder, documents) = (builder.clone(), documents.clone());
    let named = move |context: NativeCallContext<'_>, node: &mut Handle, name: &str| {
        let place = documents.called(&context);
        builder.name(node, name, place)?;
        Ok::<_, Box<EvalAltResult>>(node.clone())
    };
    engine.register_fn("named", named);
}

/// The variants with fields that any kind takes, but for those that are called like a kind.
fn variants(registry: &Registry) -> Vec<ImmutableString> {
    let mut names = BTreeSet::new();
    for node_type in registry.types() {
        variants_with_fields(&node_type.schema, &mut names);
    }
    names.into_iter().filter(|name| registry.get(name).is_none()).map(ImmutableString::from).collect()
}

/// Makes nodes of a kind.
#[derive(Clone)]
struct Maker {
    kind: &'static str,
    /// The field of the first input: what the node is called on.
    first: Option<String>,
    builder: Builder,
    documents: Documents,
}

type Made = Result<Handle, Box<EvalAltResult>>;

impl Maker {
    fn register(self, engine: &mut Engine) {
        let maker = self.clone();
        let plain = move |context: NativeCallContext<'_>, fields: Map| maker.make(&context, None, fields);
        engine.register_fn(self.kind, plain);
        let maker = self.clone();
        let bare = move |context: NativeCallContext<'_>| maker.make(&context, None, Map::new());
        engine.register_fn(self.kind, bare);
        if self.first.is_none() {
            return;
        }
        let maker = self.clone();
        let on_node = move |context: NativeCallContext<'_>, node: Handle, fields: Map| {
            maker.make(&context, Some(Dynamic::from(node)), fields)
        };
        engine.register_fn(self.kind, on_node);
        let maker = self.clone();
        let on_nodes = move |context: NativeCallContext<'_>, nodes: Array, fields: Map| {
            maker.make(&context, Some(Dynamic::from(nodes)), fields)
        };
        engine.register_fn(self.kind, on_nodes);
        let maker = self.clone();
        let on_node = move |context: NativeCallContext<'_>, node: Handle| {
            maker.make(&context, Some(Dynamic::from(node)), Map::new())
        };
        engine.register_fn(self.kind, on_node);
        let maker = self.clone();
        let on_nodes = move |context: NativeCallContext<'_>, nodes: Array| {
            maker.make(&context, Some(Dynamic::from(nodes)), Map::new())
        };
        engine.register_fn(self.kind, on_nodes);
    }

    /// Makes a node of its fields, and of the one that it was called on.
    fn make(&self, context: &NativeCallContext<'_>, called_on: Option<Dynamic>, fields: Map) -> Made {
        let origin = Origin::of(context, &self.documents);
        let mut all: Vec<(ImmutableString, Dynamic)> = Vec::with_capacity(fields.len() + 1);
        if let (Some(first), Some(value)) = (&self.first, called_on) {
            if fields.contains_key(first.as_str()) {
                let message = format!("`{first}` is given twice: before the dot, and as a field");
                return Err(thrown(Diagnostic::error(message).at(origin.call)));
            }
            all.push((first.into(), value));
        }
        all.extend(fields.into_iter().map(|(name, value)| (name.as_str().into(), value)));
        self.builder.make(self.kind, all, origin)
    }
}
