//! Looking inside a forward pass, by the names that diffusers gives its modules.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::Tensor;

/// Keeps the output of every module of a pass, or nothing at all.
#[derive(Debug, Default)]
pub struct Trace(Option<RefCell<BTreeMap<String, Tensor>>>);

impl Trace {
    /// Keeps nothing and costs nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// [`Self::off`], for as long as anyone wants it.
    pub(crate) fn none() -> &'static Self {
        const { &Self(None) }
    }

    /// Keeps everything that is shown to it.
    pub fn on() -> Self {
        Self(Some(RefCell::default()))
    }

    /// Shows the output of the module `name`.
    pub(crate) fn see(&self, name: &str, output: &Tensor) {
        if let Some(seen) = &self.0 {
            seen.borrow_mut().insert(name.to_owned(), output.clone());
        }
    }

    /// What was kept, by module.
    pub fn into_outputs(self) -> BTreeMap<String, Tensor> {
        self.0.map(RefCell::into_inner).unwrap_or_default()
    }
}
