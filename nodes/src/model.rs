//! A model on a wire: a recipe, which is a checkpoint; weights come when a node needs them.
//!
//! It is cheap to clone, to print and to send along many wires. Loaded networks are kept in the
//! process's shared slot, so that ten nodes on one model load it once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use flow_engine::{Cx, Digest, Result, Settings, Value};

use crate::device;
use crate::hub;
use crate::sdxl::{Checkpoint, Compute, TextEncoders, Tokenizers, UNet, Vae};

/// A model: the checkpoint that it starts from.
#[derive(Debug, Clone)]
pub struct Model {
    checkpoint: Arc<Checkpoint>,
    digest: Digest,
}

impl Value for Model {
    const TYPE: &'static str = "Model";

    fn digest(&self) -> Digest {
        self.digest
    }
}

impl Model {
    /// A checkpoint as it is; `digest` is that of its files.
    pub fn new(checkpoint: Checkpoint, digest: Digest) -> Self {
        Self { checkpoint: Arc::new(checkpoint), digest }
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// What a person calls it: its name on the hub, or that of its folder or file.
    pub fn name(&self) -> String {
        hub::name_of(self.checkpoint.path()).unwrap_or_else(|| self.checkpoint.name())
    }

    /// The first ten digits of the digest of its files, as pictures name their model.
    pub fn hash(&self) -> String {
        self.digest.to_string()[..10].to_owned()
    }

    /// The denoiser, in the precision of the run.
    pub fn unet(&self, cx: &Cx<'_>) -> Result<Arc<UNet>> {
        self.load(&cx.shared::<Loaded>().unets, cx, Checkpoint::load_unet)
    }

    /// The autoencoder, in float32.
    pub fn vae(&self, cx: &Cx<'_>) -> Result<Arc<Vae>> {
        self.load(&cx.shared::<Loaded>().vaes, cx, Checkpoint::load_vae)
    }

    /// The text encoders, in the precision of the run, with their tokenizers.
    pub fn text(&self, cx: &Cx<'_>) -> Result<Arc<TextPart>> {
        self.load(&cx.shared::<Loaded>().texts, cx, |checkpoint, compute| {
            Ok(TextPart {
                tokenizers: checkpoint.tokenizers()?,
                encoders: checkpoint.load_text_encoders(compute)?,
            })
        })
    }

    fn load<T>(
        &self,
        kept: &Kept<T>,
        cx: &Cx<'_>,
        load: impl FnOnce(&Checkpoint, &Compute) -> Result<T>,
    ) -> Result<Arc<T>> {
        let key = LoadedKey { model: self.digest, settings: cx.settings() };
        // Nodes that load hold the device, so nobody waits long for this lock.
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(network) = kept.get(&key) {
            return Ok(Arc::clone(network));
        }
        let network = Arc::new(load(&self.checkpoint, &compute(cx.settings())?)?);
        kept.insert(key, Arc::clone(&network));
        Ok(network)
    }
}

/// The run's settings as the networks want them.
pub fn compute(settings: Settings) -> Result<Compute> {
    Ok(Compute { device: device::candle(settings.device)?, dtype: device::dtype(settings.dtype) })
}

/// What turns a prompt into features.
#[derive(Debug)]
pub struct TextPart {
    /// From text to ids.
    pub tokenizers: Tokenizers,
    /// From ids to features.
    pub encoders: TextEncoders,
}

type Kept<T> = Mutex<HashMap<LoadedKey, Arc<T>>>;

/// Networks that outlive the node that loaded them.
#[derive(Default)]
struct Loaded {
    unets: Kept<UNet>,
    vaes: Kept<Vae>,
    texts: Kept<TextPart>,
}

#[derive(PartialEq, Eq, Hash)]
struct LoadedKey {
    model: Digest,
    settings: Settings,
}
