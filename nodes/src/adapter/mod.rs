//! Adapters: functions `W -> W'` on the layers that they target, and lists of them.
//!
//! An [`Adapter`] on a wire is an ordered list of [`Single`]s, which are safetensors files, on disk or not. What a file
//! does to a layer is its [`Method`]'s, one file for each of [`METHODS`]; which layer of a model is meant by a name in
//! the file is [`names`]'; a model's weights with its adapters in them are [`fold`]'s.
//!
//! [`shape`] is a layer seen from outside, [`layers`] are the paper's subsets of them, [`bound`] says with how many
//! ranks, and [`sizes`] what a file then takes; [`table3`] is what the paper prints of that, and [`size_report`] both.
//!
//! Nothing here knows networks, samplers or graphs.

pub mod basis;
mod bind;
pub mod bound;
pub mod convert;
pub mod fold;
mod full;
pub mod layers;
mod loha;
mod lokr;
mod lora;
pub mod low_rank;
pub mod merge;
mod method;
pub mod names;
mod oft;
pub mod order;
pub mod para;
mod peft;
pub mod read;
pub mod save;
pub mod shape;
mod single;
pub mod size_report;
pub mod sizes;
mod stored;
mod svdiff;
pub mod table3;
#[cfg(test)]
mod testing;
pub mod textual_inversion;
mod tucker;
pub mod write;

use std::sync::Arc;

use flow_engine::{Digest, Result, StoredFile, Value};

pub use bind::Bound;
pub(crate) use bind::other_family;
pub use method::{Method, Of, Piece, Pieces};
pub use single::{Layer, Single};

/// Every method, in the order in which the reference lists them.
pub const METHODS: [&dyn Method; 7] =
    [&para::Para, &lora::Lora, &loha::LoHa, &lokr::LoKr, &oft::Oft, &svdiff::SvDiff, &full::Full];

/// Changes to a model, in the order in which they are applied.
#[derive(Debug, Clone)]
pub struct Adapter {
    steps: Vec<Arc<Single>>,
    digest: Digest,
}

impl Value for Adapter {
    const TYPE: &'static str = "Adapter";

    fn digest(&self) -> Digest {
        self.digest
    }

    /// None for a list with a whole model in it, which is on disk already.
    fn to_files(&self) -> Result<Option<Vec<StoredFile<'_>>>> {
        stored::to_files(self)
    }

    fn from_files(files: Vec<StoredFile<'static>>) -> Result<Self> {
        stored::from_files(files)
    }
}

impl Adapter {
    /// One change after the other.
    pub fn new(steps: Vec<Arc<Single>>) -> Self {
        // Files, reports and pictures tell the names.
        let said: Vec<_> = steps.iter().map(|step| (step.digest(), step.name())).collect();
        let parts = said.iter().flat_map(|(digest, name)| [&digest.as_bytes()[..], name.as_bytes()]);
        let digest = Digest::of_parts(parts);
        Self { steps, digest }
    }

    /// The changes in order.
    pub fn steps(&self) -> &[Arc<Single>] {
        &self.steps
    }

    /// What a person calls it.
    pub fn name(&self) -> String {
        let names: Vec<_> = self.steps.iter().map(|step| step.name()).collect();
        names.join(" then ")
    }
}

impl From<Single> for Adapter {
    fn from(single: Single) -> Self {
        Self::new(vec![Arc::new(single)])
    }
}
