//! Adapters: functions `W -> W'` on the layers that they target, and lists of them.
//!
//! An [`Adapter`] on a wire is an ordered list of [`Single`]s, which are safetensors files, on disk or not. What a file
//! does to a layer is its [`Method`]'s, one file for each of [`METHODS`]; which layer of a model is meant by a name in
//! the file is [`names`]'; a model's weights with its adapters in them are [`fold`]'s.
//!
//! Nothing here knows networks, samplers or graphs.

pub mod basis;
mod bind;
pub mod fold;
mod full;
mod loha;
mod lokr;
mod lora;
pub mod low_rank;
mod method;
pub mod names;
mod oft;
pub mod order;
pub mod para;
mod peft;
pub mod read;
pub mod save;
mod single;
mod svdiff;
pub mod textual_inversion;
mod tucker;
pub mod write;

use std::sync::Arc;

use flow_engine::{Digest, Value};

pub use bind::Bound;
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
}

impl Adapter {
    /// One change after the other.
    pub fn new(steps: Vec<Arc<Single>>) -> Self {
        let digests: Vec<_> = steps.iter().map(|step| step.digest()).collect();
        let digest = Digest::of_parts(digests.iter().map(|digest| &digest.as_bytes()[..]));
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
