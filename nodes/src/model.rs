//! A model on a wire: a recipe, which is a checkpoint and an ordered list of adapters; weights come when a node needs
//! them.
//!
//! It is cheap to clone, to print and to send along many wires. Networks are folded once per recipe, device and type,
//! and kept in the process's shared slot under its byte budget, so that ten nodes on one model load it once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use candle_core::DType;
use flow_engine::{Cx, Device, Digest, Dtype, Result, Settings, Value};

use crate::adapter::fold::{Applied, Folded, Scales};
use crate::adapter::names::{Names, Target};
use crate::adapter::write::{BASE_DIGEST, FileDtype};
use crate::adapter::{Adapter, Bound, textual_inversion};
use crate::device;
use crate::hub;
use crate::kept::{Item, Kept, Key, Size};
use crate::sdxl::save::Saving;
use crate::sdxl::{Checkpoint, Compute, Part, Source as _, TextEncoders, Tokenizers, UNet, Vae, Weights};

/// Matrices that are no layer's weight.
const TABLES: [&str; 2] = ["token_embedding.weight", "position_embedding.weight"];

/// A model: the checkpoint that it starts from, and what is applied to it.
#[derive(Debug, Clone)]
pub struct Model {
    checkpoint: Arc<Checkpoint>,
    base: Digest,
    names: Arc<OnceLock<Names>>,
    applied: Vec<Applied>,
}

impl Value for Model {
    const TYPE: &'static str = "Model";

    /// Of what its networks are made from, and of its name, which pictures and reports tell.
    fn digest(&self) -> Digest {
        Digest::of_parts([&self.recipe(None).as_bytes()[..], self.name().as_bytes()])
    }
}

impl Model {
    /// A checkpoint as it is; `digest` is that of its files.
    pub fn new(checkpoint: impl Into<Arc<Checkpoint>>, digest: Digest) -> Self {
        let names = Arc::new(OnceLock::new());
        Self { checkpoint: checkpoint.into(), base: digest, names, applied: Vec::new() }
    }

    /// This model with an adapter applied after what is applied already.
    ///
    /// # Errors
    /// An adapter that does not fit the model, with everything in it that does not; with `allow_unmatched` that is
    /// [left out](Bound::left_out).
    pub fn with(&self, adapter: &Adapter, scales: Scales, allow_unmatched: bool) -> Result<Self> {
        let mut model = self.clone();
        for single in adapter.steps() {
            let bound = Arc::new(Bound::new(single, self.names()?, allow_unmatched)?);
            model.applied.push(Applied { single: Arc::clone(single), scales, bound });
        }
        Ok(model)
    }

    /// This model with only the first adapters, `count` of them, applied.
    #[must_use]
    pub fn up_to(&self, count: usize) -> Self {
        let mut model = self.clone();
        model.applied.truncate(count);
        model
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The adapters in the order in which they are applied.
    pub fn applied(&self) -> &[Applied] {
        &self.applied
    }

    /// The layers of the checkpoint, by every name that files have for them.
    pub fn names(&self) -> Result<&Names> {
        if let Some(names) = self.names.get() {
            return Ok(names);
        }
        let names = Names::of(&self.checkpoint)?;
        Ok(self.names.get_or_init(|| names))
    }

    /// The digest of the checkpoint's files.
    pub fn base_digest(&self) -> Digest {
        self.base
    }

    /// What a person calls it: its name on the hub, or that of its folder or file.
    pub fn name(&self) -> String {
        hub::name_of(self.checkpoint.path()).unwrap_or_else(|| self.checkpoint.name())
    }

    /// The first ten digits of the digest of the checkpoint's files, as pictures name their model.
    pub fn hash(&self) -> String {
        self.base.to_string()[..10].to_owned()
    }

    /// The digest of everything that decides the weights of a network, or of the whole model.
    fn recipe(&self, part: Option<Part>) -> Digest {
        let applied = self.applied.iter().filter(|applied| part.is_none_or(|part| applied.changes(part)));
        let mut said = vec![self.base.as_bytes().to_vec()];
        for Applied { single, scales, bound } in applied {
            said.push(single.digest().as_bytes().to_vec());
            said.push(match part {
                Some(part) => scales.of(part).to_le_bytes().to_vec(),
                None => [scales.unet.to_le_bytes(), scales.text_encoders.to_le_bytes()].concat(),
            });
            said.push(bound.left_out().join("\n").into_bytes());
        }
        Digest::of_parts(said.iter().map(Vec::as_slice))
    }

    /// The weights of one network, adapters folded in.
    pub fn folded<'a>(&'a self, part: Part, compute: &'a Compute) -> Folded<'a> {
        Folded::new(&self.checkpoint, part, compute, &self.applied)
    }

    /// One tensor in float32, adapters folded in.
    ///
    /// # Errors
    /// No such tensor; values that are no numbers.
    pub fn weight(&self, target: &Target, device: &candle_core::Device) -> Result<candle_core::Tensor> {
        let files = self.checkpoint.weights(target.part);
        let weight = files.convert(&target.tensor, device, candle_core::DType::F32)?;
        self.applied.iter().try_fold(weight, |weight, applied| applied.apply(target, weight))
    }

    /// The denoiser, in the precision of the run.
    pub fn unet(&self, cx: &Cx<'_>) -> Result<Arc<UNet>> {
        self.load(cx, Part::Unet, |compute| self.build_unet(compute))
    }

    /// The denoiser, not kept.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn build_unet(&self, compute: &Compute) -> Result<UNet> {
        compute.check()?;
        UNet::new(self.checkpoint.unet_config(), &Weights::new(&self.folded(Part::Unet, compute)))
    }

    /// The autoencoder, in float32: no adapter changes it.
    pub fn vae(&self, cx: &Cx<'_>) -> Result<Arc<Vae>> {
        self.load(cx, Part::Vae, |compute| self.checkpoint.load_vae(compute))
    }

    /// The text encoders, in the precision of the run, with their tokenizers.
    pub fn text(&self, cx: &Cx<'_>) -> Result<Arc<TextPart>> {
        self.load(cx, Part::TextEncoder, |compute| self.build_text(compute))
    }

    /// The text encoders with their tokenizers, not kept.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn build_text(&self, compute: &Compute) -> Result<TextPart> {
        compute.check()?;
        let sources = [Part::TextEncoder, Part::TextEncoder2].map(|part| self.folded(part, compute));
        let words: Vec<_> = self.applied.iter().filter_map(|applied| applied.single.word()).collect();
        let (tokenizers, encoders) =
            textual_inversion::load(&self.checkpoint, [&sources[0], &sources[1]], &words)?;
        Ok(TextPart { tokenizers, encoders })
    }

    /// Writes the model with its adapters folded in, and tells whether anything changed; `progress` hears how many of
    /// how many tensors are done, and may stop it.
    ///
    /// # Errors
    /// Weights that cannot be read or that the type does not hold, a full disk; what is at `path` then stays.
    pub fn save(
        &self,
        path: &Path,
        form: Form,
        dtype: FileDtype,
        compute: &Compute,
        progress: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<bool> {
        let compute = compute.in_f32();
        let folded = Part::ALL.map(|part| (part, self.folded(part, &compute)));
        let folded = BTreeMap::from(folded);
        let saving = Saving::new(&self.checkpoint, dtype.dtype(), &self.title(), self.provenance())?;
        let (mut done, total) = (0, saving.count());
        let mut weight = |part, name: &str, shape: &[usize]| {
            progress(done, total)?;
            done += 1;
            folded[&part].tensor(name, shape)
        };
        match form {
            Form::Folder => saving.folder(path, &mut weight),
            Form::File => saving.file(path, &mut weight),
        }
    }

    /// What a person calls it with what is applied to it.
    fn title(&self) -> String {
        let names = self.applied.iter().map(|applied| applied.single.name());
        std::iter::once(self.name().as_str()).chain(names).collect::<Vec<_>>().join(" + ")
    }

    /// What it is made from, as its files say it.
    fn provenance(&self) -> BTreeMap<String, String> {
        let adapter = |Applied { single, scales, .. }: &Applied| {
            serde_json::json!({
                "name": single.name(),
                "kind": single.kind(),
                "digest": single.digest().to_string(),
                "unet_scale": scales.unet,
                "text_encoder_scale": scales.text_encoders,
            })
        };
        let adapters: Vec<_> = self.applied.iter().map(adapter).collect();
        let mut said = BTreeMap::from([(BASE_DIGEST.to_owned(), self.base.to_string())]);
        if !adapters.is_empty() {
            said.insert("adapters".into(), serde_json::Value::Array(adapters).to_string());
        }
        said
    }

    fn load<T: Send + Sync + 'static>(
        &self,
        cx: &Cx<'_>,
        part: Part,
        load: impl FnOnce(&Compute) -> Result<T>,
    ) -> Result<Arc<T>> {
        let (compute, recipe) = (compute(cx.settings())?, self.recipe_of(part));
        let key = Key { sort: part.folder(), recipe, settings: cx.settings() };
        let item = Item {
            key,
            what: self.what(part, cx.settings()),
            room: Size(self.loaded_bytes(part, cx.settings())),
        };
        let size = item.room;
        cx.shared::<Kept>().get_or_make(item, cx, || Ok((load(&compute)?, size)))
    }

    /// The digest of everything that decides the weights of a network; both text encoders are one.
    fn recipe_of(&self, part: Part) -> Digest {
        match part {
            Part::TextEncoder | Part::TextEncoder2 => {
                let both = [Part::TextEncoder, Part::TextEncoder2].map(|part| self.recipe(Some(part)));
                Digest::of_parts(both.iter().map(|digest| &digest.as_bytes()[..]))
            }
            part => self.recipe(Some(part)),
        }
    }

    /// The digest of everything that decides what a prompt is encoded as.
    pub(crate) fn text_recipe(&self) -> Digest {
        self.recipe_of(Part::TextEncoder)
    }

    /// What a person calls a network: `unet of mini-sdxl + bear (f32)`.
    fn what(&self, part: Part, settings: Settings) -> String {
        let (called, changes): (_, fn(&Applied) -> bool) = match part {
            Part::Unet => ("unet", |applied| applied.changes(Part::Unet)),
            Part::Vae => return format!("vae of {} ({})", self.name(), Dtype::F32),
            Part::TextEncoder | Part::TextEncoder2 => ("text encoders", |applied| {
                applied.changes(Part::TextEncoder) || applied.changes(Part::TextEncoder2)
            }),
        };
        let adapters = self.applied.iter().filter(|applied| changes(applied));
        let adapters = adapters.map(|applied| match applied.scales.of(part) {
            1.0 => format!(" + {}", applied.single.name()),
            scale => format!(" + {} at {scale}", applied.single.name()),
        });
        format!("{called} of {}{} ({})", self.name(), adapters.collect::<String>(), settings.dtype)
    }

    /// The bytes that a network takes in memory once it is loaded, beside what stays in its files; both text encoders are
    /// one.
    pub(crate) fn loaded_bytes(&self, part: Part, settings: Settings) -> usize {
        let dtype = device::dtype(settings.dtype);
        match part {
            Part::Vae => self.held(part, DType::F32, settings.device),
            Part::Unet => self.held(part, dtype, settings.device),
            Part::TextEncoder | Part::TextEncoder2 => {
                let both = [Part::TextEncoder, Part::TextEncoder2];
                both.into_iter().map(|part| self.held(part, dtype, settings.device)).sum()
            }
        }
    }

    fn held(&self, part: Part, dtype: DType, device: Device) -> usize {
        let files = self.checkpoint.weights(part);
        let stays = files.staying(dtype);
        let is_held = |(name, shape): &(&str, &[usize])| {
            let is_layer = shape.len() >= 2 && !TABLES.iter().any(|table| name.ends_with(table));
            device != Device::Cpu || !is_layer || !stays(name) || self.is_changed(part, name)
        };
        let held = files.shapes().filter(is_held);
        held.map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>() * dtype.size_in_bytes()
    }

    /// Whether an adapter changes a tensor.
    fn is_changed(&self, part: Part, tensor: &str) -> bool {
        let target = Target { part, tensor: tensor.to_owned() };
        self.applied.iter().any(|applied| applied.bound.changes(&target))
    }

    /// The parameters of a network.
    pub(crate) fn parameters(&self, part: Part) -> usize {
        self.checkpoint.weights(part).shapes().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}

/// The form in which a model is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A folder as diffusers saves it.
    Folder,
    /// A single file in the original layout.
    File,
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
