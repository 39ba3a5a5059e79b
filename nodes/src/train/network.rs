//! A denoiser with layers that are trained.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use candle_core::{Device, Tensor, Var};
use flow_engine::{Problem, Result};

use super::chance::{Chance, Purpose};
use super::layer::{Base, TrainedLayer, parameter};
use super::method::{Method, Pieces, Words, nothing_chosen};
use crate::adapter::layers::Layers;
use crate::adapter::names::Target;
use crate::adapter::{Bound, Single, basis, para};
use crate::model::Model;
use crate::ops::{Adapt, Weight};
use crate::sdxl::weights::Source;
use crate::sdxl::{Compute, Part, UNet, Weights};

/// Where a training begins.
#[derive(Debug, Clone, Copy)]
pub struct Beginning<'a> {
    /// Decides what starts at random.
    pub seed: u64,
    /// The adapter that it starts from.
    pub given: Option<&'a Single>,
}

impl Beginning<'_> {
    /// At random, as the seed says.
    pub fn at_random(seed: u64) -> Self {
        Self { seed, given: None }
    }
}

/// What is trained of a denoiser.
#[derive(Debug, Clone, Default)]
pub struct Trainees {
    /// Layers, by the names of their weights.
    layers: BTreeMap<Target, Arc<dyn TrainedLayer>>,
    /// Tensors that are trained as they are.
    tensors: BTreeMap<Target, Var>,
    /// A word that the text encoders learn.
    words: Option<Arc<Words>>,
}

impl Trainees {
    /// Layers that are there already.
    pub fn new(layers: impl IntoIterator<Item = (Target, Box<dyn TrainedLayer>)>) -> Self {
        let layers = layers.into_iter().map(|(target, layer)| (target, Arc::from(layer))).collect();
        Self { layers, ..Self::default() }
    }

    /// A word that is there already.
    pub fn of_words(words: Words) -> Self {
        Self { words: Some(Arc::new(words)), ..Self::default() }
    }

    /// The word that is learned, if one is.
    pub fn words(&self) -> Option<&Words> {
        self.words.as_deref()
    }

    /// What a method trains of a model's denoiser; `progress` hears how many of how many layers are ready, and may stop it.
    ///
    /// # Errors
    /// A method that has nothing for any layer; weights that cannot be read.
    pub fn of(
        method: &dyn Method,
        model: &Model,
        Beginning { seed, given }: Beginning<'_>,
        compute: &Compute,
        progress: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Self> {
        if let Some(settings) = method.words() {
            return Ok(Self::of_words(Words::new(settings, model, seed, compute)?));
        }
        let names = chosen(method, model)?;
        let given = given.map(|single| Given::new(single, model, &names)).transpose()?;
        let mut trainees = Self::default();
        let total = names.len();
        for (at, tensor) in names.into_iter().enumerate() {
            progress(at, total)?;
            let target = Target { part: Part::Unet, tensor };
            let weight = model.weight(&target, &compute.device)?;
            if method.trains_tensors() {
                trainees.tensors.insert(target, parameter(&weight, &compute.device)?);
                continue;
            }
            let mut chance = Chance::new(seed, Purpose::Start, &[at as u64]);
            let given = given.as_ref().map(|given| given.span(&target)).transpose()?.flatten();
            if let Some(layer) = method.layer(&Base { target: &target, weight, given }, &mut chance)? {
                trainees.layers.insert(target, Arc::from(layer));
            }
        }
        if trainees.layers.is_empty() && trainees.tensors.is_empty() {
            return Err(method.no_layer().into());
        }
        Ok(trainees)
    }

    /// The layers by the names of their weights.
    pub fn layers(&self) -> impl Iterator<Item = (&Target, &dyn TrainedLayer)> {
        self.layers.iter().map(|(target, layer)| (target, &**layer))
    }

    /// Every parameter by its name, `mid_block.resnets.0.conv1.para_B` say.
    pub fn parameters(&self) -> BTreeMap<String, Var> {
        let of_layers = self.layers.iter().flat_map(|(target, layer)| {
            let of_layer = layer.parameters().into_iter();
            of_layer.map(|(name, parameter)| (format!("{}.{name}", target.module()), parameter.clone()))
        });
        let tensors = self.tensors.iter().map(|(target, tensor)| (target.tensor.clone(), tensor.clone()));
        let words = self.words.iter().flat_map(|words| words.parameters());
        of_layers.chain(tensors).chain(words).collect()
    }

    /// What an adapter's file holds of each layer, for these values of the parameters; `model` is the one that is trained.
    ///
    /// # Errors
    /// Values that no file can hold.
    pub fn pieces(&self, values: &BTreeMap<String, Tensor>, model: &Model) -> Result<Pieces> {
        let value = |name: &str| {
            let value = values.get(name).with_context(|| format!("there is no value of `{name}`"))?;
            Ok::<_, anyhow::Error>(value.to_device(&Device::Cpu)?)
        };
        let mut pieces = Pieces::new();
        for (target, layer) in &self.layers {
            let names = layer.parameters().into_iter().map(|(name, _)| format!("{}.{name}", target.module()));
            let values = names.map(|name| value(&name)).collect::<Result<Vec<_>>>()?;
            pieces.insert(target.clone(), layer.pieces(&values)?);
        }
        for target in self.tensors.keys() {
            let difference = (value(&target.tensor)? - model.weight(target, &Device::Cpu)?)?;
            let (module, end) = match target.tensor.strip_suffix(".bias") {
                Some(module) => (module, ".diff_b"),
                None => (target.module(), ".diff"),
            };
            let layer = Target { part: target.part, tensor: format!("{module}.weight") };
            pieces.entry(layer).or_default().push((end, difference));
        }
        Ok(pieces)
    }

    /// Tells the layers that a step begins.
    pub fn begin_step(&self, step: usize) {
        self.layers.values().for_each(|layer| layer.begin_step(step));
    }

    /// Lets the layers bring their parameters back to where they have to be.
    ///
    /// # Errors
    /// None for finite parameters.
    pub fn end_step(&self) -> Result<()> {
        self.layers.values().try_for_each(|layer| layer.end_step())
    }

    /// The denoiser with these layers in the place of its own.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn unet(&self, model: &Model, compute: &Compute) -> Result<UNet> {
        let folded = model.folded(Part::Unet, compute);
        let source = WithTrainees { base: &folded, trainees: self };
        UNet::new(model.checkpoint().unet_config(), &Weights::new(&source))
    }
}

/// The names of the weights that a method trains.
fn chosen(method: &dyn Method, model: &Model) -> Result<Vec<String>> {
    let selection = method.layers().map(Layers::compile).transpose()?;
    let is_chosen = |name: &str| selection.as_ref().is_none_or(|selection| selection.holds(name));
    let module = |tensor: &str| tensor.rsplit_once('.').map_or(tensor, |(module, _)| module).to_owned();
    let shapes = model.names()?.shapes(Part::Unet);
    let is_trained = |name: &str, shape: &[usize]| match method.trains_tensors() {
        true => is_chosen(&module(name)),
        false => shape.len() >= 2 && name.ends_with(".weight") && is_chosen(&module(name)),
    };
    let names: Vec<String> =
        shapes.filter(|(name, shape)| is_trained(name, shape)).map(|(name, _)| name.to_owned()).collect();
    if names.is_empty() { Err(nothing_chosen().into()) } else { Ok(names) }
}

/// Refuses an adapter that a method cannot start from, as far as names and shapes tell.
///
/// # Errors
/// An adapter that is no PaRa, is for another model, or has layers that are not trained.
pub fn check_given(single: &Single, method: &dyn Method, model: &Model) -> Result<()> {
    Given::new(single, model, &chosen(method, model)?).map(drop)
}

/// A PaRa that a training starts from.
struct Given<'a> {
    single: &'a Single,
    bound: Bound,
}

impl<'a> Given<'a> {
    /// `names` are those of the weights that are trained.
    fn new(single: &'a Single, model: &Model, names: &[String]) -> Result<Self> {
        if !single.is("PaRa") {
            let message = format!("`{}` is {}, and a PaRa is wanted", single.name(), single.kind());
            return Err(Problem::new(message).into());
        }
        let bound = Bound::new(single, model.names()?, false).map_err(|misfit| {
            Problem::new(format!("{misfit:#}")).hint("start from a PaRa that was trained for this model")
        })?;
        if let Some(target) = bound.targets().find(|target| target.part != Part::Unet) {
            let message = format!("the given PaRa has `{}` of the text encoders", target.module());
            return Err(Problem::new(message).hint("only the denoiser's layers are trained").into());
        }
        let is_left_out = |target: &&Target| !names.contains(&target.tensor);
        if let Some(target) = bound.targets().find(is_left_out) {
            let message = format!("the given PaRa has `{}`, which is not among `layers`", target.module());
            return Err(Problem::new(message).hint("choose the layers that it was trained with").into());
        }
        Ok(Self { single, bound })
    }

    /// What it takes out of a layer, `[d, r]`.
    fn span(&self, target: &Target) -> Result<Option<Tensor>> {
        let Some(layer) = self.bound.layer(self.single, target) else { return Ok(None) };
        let q = para::span(&self.single.pieces(layer))?.q;
        basis::tensor(q.as_ref(), &[q.nrows(), q.ncols()], &Device::Cpu).map(Some)
    }
}

struct WithTrainees<'a> {
    base: &'a dyn Source,
    trainees: &'a Trainees,
}

impl Source for WithTrainees<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let target = Target { part: Part::Unet, tensor: name.to_owned() };
        match self.trainees.tensors.get(&target) {
            Some(tensor) => Ok(tensor.as_tensor().reshape(shape)?),
            None => self.base.tensor(name, shape),
        }
    }

    fn weight(&self, name: &str, shape: &[usize]) -> Result<Weight> {
        let target = Target { part: Part::Unet, tensor: name.to_owned() };
        match self.trainees.tensors.get(&target) {
            Some(tensor) => Ok(tensor.as_tensor().reshape(shape)?.into()),
            None => self.base.weight(name, shape),
        }
    }

    fn adapt(&self, layer: &str) -> Option<Arc<dyn Adapt>> {
        let target = Target { part: Part::Unet, tensor: format!("{layer}.weight") };
        self.trainees.layers.get(&target).map(|layer| Arc::clone(layer) as Arc<dyn Adapt>)
    }
}
