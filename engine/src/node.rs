//! What a node is: one struct whose fields are its inputs and parameters, and a `run`.
//!
//! A node knows no graph: it sees its own fields, and asks its context for the values on its
//! wires.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Check, Cx, Digest, Project, Result};

/// Something that travels on a wire.
pub trait Value: Send + Sync + 'static {
    /// The name of the type: what a wire of another type is told to expect.
    const TYPE: &'static str;

    /// The digest of everything that a reader of the value could notice.
    fn digest(&self) -> Digest;
}

/// A wire: the name of the node whose result flows in.
pub struct In<T> {
    node: String,
    carries: PhantomData<fn() -> T>,
}

impl<T> In<T> {
    /// A wire from the node of this name.
    pub fn from(node: impl Into<String>) -> Self {
        Self { node: node.into(), carries: PhantomData }
    }

    /// The name of the upstream node.
    pub fn node(&self) -> &str {
        &self.node
    }
}

impl<T> Clone for In<T> {
    fn clone(&self) -> Self {
        Self::from(self.node.clone())
    }
}

impl<T> fmt::Debug for In<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "In({})", self.node)
    }
}

impl<T> Serialize for In<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.node)
    }
}

impl<'de, T> Deserialize<'de> for In<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// The name of the property that marks a wire in a node's schema; it holds the type's name.
pub(crate) const INPUT_MARK: &str = "x-input";

impl<T: Value> JsonSchema for In<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::TYPE.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", (INPUT_MARK): T::TYPE })
    }
}

/// When a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// Once per content key.
    Pure,
    /// Like `Pure`, and so cheap that checking a graph runs it too, so that the nodes behind it
    /// can be checked against its result. It reads headers at most, and never asks for its key.
    /// Where it can only be known by running, its check reports [`NotYet`](crate::NotYet).
    Instant,
    /// In every run, because it changes the world outside: it writes only where bytes differ.
    Effect,
}

/// One kind of node.
///
/// Doc comments on the struct and its fields are the reference manual; `#[schemars(range(..))]`
/// on a number is its range, which the engine checks.
pub trait Node: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The name in a graph; the same as the struct's.
    const KIND: &'static str;
    /// Raised when the same parameters and inputs give another result than before.
    const VERSION: u32 = 1;
    /// When it runs.
    const NATURE: Nature = Nature::Pure;
    /// Whether it needs the device for itself.
    const HOLDS_DEVICE: bool = false;

    /// What it gives.
    type Output: Value;

    /// Reports what is wrong before anything runs; no weights are read.
    fn check(&self, _cx: &mut Check<'_>) {}

    /// The files whose bytes decide the result.
    fn files(&self, _project: &Project) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    /// The file or folder that the node writes to; its field is named `path`. No two nodes of a
    /// graph may have the same.
    fn target(&self, _project: &Project) -> Option<PathBuf> {
        None
    }

    /// Does the work.
    fn run(&self, cx: &Cx<'_>) -> Result<Self::Output>;
}

/// A node's result, with its type forgotten.
#[derive(Clone)]
pub struct Output {
    /// Name of the type.
    pub type_name: &'static str,
    /// Digest of the value.
    pub digest: Digest,
    value: Arc<dyn Any + Send + Sync>,
}

impl Output {
    /// Forgets the type of a value, and takes its digest.
    pub fn new<T: Value>(value: T) -> Self {
        Self { type_name: T::TYPE, digest: value.digest(), value: Arc::new(value) }
    }

    /// The value, if it is of this type.
    pub fn downcast<T: Value>(&self) -> Option<Arc<T>> {
        Arc::clone(&self.value).downcast().ok()
    }
}

/// A [`Node`] with its kind forgotten: what a graph holds.
///
/// Serializing one gives its fields with defaults filled in.
pub trait AnyNode: erased_serde::Serialize + Send + Sync {
    /// See [`Node::check`].
    fn check(&self, cx: &mut Check<'_>);
    /// See [`Node::files`].
    fn files(&self, project: &Project) -> Result<Vec<PathBuf>>;
    /// See [`Node::target`].
    fn target(&self, project: &Project) -> Option<PathBuf>;
    /// See [`Node::run`].
    fn run(&self, cx: &Cx<'_>) -> Result<Output>;
}

erased_serde::serialize_trait_object!(AnyNode);

impl<N: Node> AnyNode for N {
    fn check(&self, cx: &mut Check<'_>) {
        Node::check(self, cx);
    }

    fn files(&self, project: &Project) -> Result<Vec<PathBuf>> {
        Node::files(self, project)
    }

    fn target(&self, project: &Project) -> Option<PathBuf> {
        Node::target(self, project)
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Output> {
        Node::run(self, cx).map(Output::new)
    }
}
