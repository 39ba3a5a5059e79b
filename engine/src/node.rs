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

use crate::{Check, Cx, Digest, Problem, Project, Result};

/// Something that travels on a wire.
pub trait Value: Send + Sync + 'static {
    /// The name of the type: what a wire of another type is told to expect.
    const TYPE: &'static str;

    /// The digest of everything that a reader of the value could notice.
    fn digest(&self) -> Digest;

    /// The files that hold the value in the store; none for a value that is made again instead.
    ///
    /// # Errors
    /// A value that cannot be written.
    fn to_files(&self) -> Result<Option<Vec<StoredFile<'_>>>> {
        Ok(None)
    }

    /// The value that [`to_files`](Self::to_files) wrote, with the same digest.
    ///
    /// # Errors
    /// Files that it did not write.
    fn from_files(_files: Vec<StoredFile<'static>>) -> Result<Self>
    where
        Self: Sized,
    {
        Err(Problem::new(format!("{} is not kept in files", Self::TYPE)).into())
    }
}

/// One of the files that hold a value in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile<'a> {
    /// Its name, with an ending that other programs know: they are linked from run folders.
    pub name: String,
    /// What is in it.
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> StoredFile<'a> {
    /// A file of this name.
    pub fn new(name: impl Into<String>, bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

/// What a node will take, by the shapes of what it works on.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Estimate {
    /// Multiplications and additions of floating-point numbers.
    pub flops: f64,
    /// The most memory that it holds at a time, weights among it.
    pub peak_bytes: u64,
    /// What it reads from disk, beside its inputs.
    pub read_bytes: u64,
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

    /// What a run will take, as far as the shapes of its inputs tell; asked only of a node without mistakes.
    fn estimate(&self, _cx: &Check<'_>) -> Option<Estimate> {
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
    value: Arc<AnyValue>,
    to_files: fn(&AnyValue) -> Result<Option<Vec<StoredFile<'_>>>>,
}

type AnyValue = dyn Any + Send + Sync;

fn to_files<T: Value>(value: &AnyValue) -> Result<Option<Vec<StoredFile<'_>>>> {
    value.downcast_ref::<T>().map_or(Ok(None), T::to_files)
}

impl Output {
    /// Forgets the type of a value, and takes its digest.
    pub fn new<T: Value>(value: T) -> Self {
        Self { type_name: T::TYPE, digest: value.digest(), value: Arc::new(value), to_files: to_files::<T> }
    }

    /// See [`Value::to_files`].
    pub(crate) fn to_files(&self) -> Result<Option<Vec<StoredFile<'_>>>> {
        (self.to_files)(self.value.as_ref())
    }

    /// See [`Value::from_files`].
    pub(crate) fn from_files<T: Value>(files: Vec<StoredFile<'static>>) -> Result<Self> {
        T::from_files(files).map(Self::new)
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
    /// See [`Node::estimate`].
    fn estimate(&self, cx: &Check<'_>) -> Option<Estimate>;
    /// The value of its field `path`, if it has one.
    fn path(&self) -> Option<String>;
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

    fn estimate(&self, cx: &Check<'_>) -> Option<Estimate> {
        Node::estimate(self, cx)
    }

    fn path(&self) -> Option<String> {
        let fields = serde_json::to_value(self).ok()?;
        fields["path"].as_str().map(ToOwned::to_owned)
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Output> {
        Node::run(self, cx).map(Output::new)
    }
}
