//! What flows on the wires: values from memory, from the store, or made again.

use std::sync::PoisonError;

use anyhow::Context as _;

use super::floor::Floor;
use super::step::{Keyed, peak_bytes};
use crate::context::Outputs;
use crate::control::Reins;
use crate::{Event, Nature, Output, Problem, Result};

impl Floor<'_> {
    /// The values on a node's wires, from memory, from the store, or made again.
    pub(super) fn inputs_of(&self, at: usize, reins: Reins<'_>) -> Result<Outputs> {
        let value = |&upstream: &usize| Ok((self.name(upstream), self.value(upstream, reins)?));
        self.upstreams[at].iter().map(value).collect()
    }

    /// The value of a node that has a result.
    fn value(&self, at: usize, reins: Reins<'_>) -> Result<Output> {
        let mut slot = self.values[at].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(output) = &*slot {
            return Ok(output.clone());
        }
        let output = match self.loaded(at) {
            Some(output) => output,
            None => self.made_again(at, reins)?,
        };
        if self.result(at).is_some_and(|digest| digest != output.digest) {
            // What is stored of it is of no use to anybody.
            let forget = |keyed: Keyed| self.run.session.store.as_ref()?.forget(&keyed.key).ok();
            self.keyed(at).and_then(forget);
            let message =
                format!("`{}` gave another result than the one that was stored", self.nodes[at].name());
            return Err(Problem::new(message)
                .hint("a file behind it changed meanwhile, or it cannot be reproduced: run the graph again")
                .into());
        }
        Ok(slot.insert(output).clone())
    }

    /// A stored value; one that is damaged is taken out of the store, and none.
    fn loaded(&self, at: usize) -> Option<Output> {
        let store = self.run.session.store.as_ref()?;
        let key = self.keyed(at)?.key;
        store.find(&key)?.bytes?;
        let read = store.load(&key).and_then(|files| (self.nodes[at].source.node_type.from_files)(files));
        match read {
            Ok(output) => Some(output),
            Err(error) => {
                let message = format!("its stored result is damaged, and it runs again: {error:#}");
                self.run.events.emit(Event::Warning { node: Some(self.name(at)), message, hint: None });
                // Where it cannot be taken out, it will be found damaged again.
                let _ = store.forget(&key);
                None
            }
        }
    }

    /// A value that is not stored, made again. That a recipe is put together once more is not worth telling; that a
    /// node runs is.
    fn made_again(&self, at: usize, reins: Reins<'_>) -> Result<Output> {
        let describe = || format!("`{}` cannot be made again", self.nodes[at].name());
        if self.nodes[at].source.node_type.nature == Nature::Instant {
            let inputs = self.inputs_of(at, reins)?;
            let key = self.keyed(at).map(|keyed| keyed.key);
            return Ok(self.call(at, &inputs, key, reins).with_context(describe)?.output);
        }
        let ran = self.run_and_file(at, self.keyed(at).as_ref(), reins).with_context(describe)?;
        let (digest, seconds) = (ran.0.digest, ran.1);
        let node = self.name(at);
        self.run.events.emit(Event::NodeFinished { node, digest, seconds, peak_bytes: peak_bytes() });
        Ok(ran.0)
    }
}
