//! Our half of `side-by-side.sh`: one part of a model, several times over.
//!
//! `cargo bench -p flow-nodes --bench halves -- MODEL WORK ROUNDS` prints one line for each round: its seconds, its CPU
//! seconds, and the most anonymous memory that the process had in it, in MiB. `WORK` is
//!
//! - `load`: the model's headers checked and its denoiser read,
//! - `text`: one prompt through tokenizers and text encoders,
//! - `decode-SIZE`: one picture of SIZE x SIZE pixels out of its latents,
//! - `unet-SIZE`: one step of the denoiser for such a picture, with guidance in one batch of two,
//! - `fold`: a LoRA of rank 8 on the attention's linear layers, into their weights.

mod asked;
mod memory;
mod noise_adapters;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use candle_core::Tensor;
use flow_engine::{Device, Result};
use flow_nodes::adapter::Layer;
use flow_nodes::adapter::fold::changed;
use flow_nodes::adapter::layers::Layers;
use flow_nodes::adapter::shape::{LayerShape, layers_among};
use flow_nodes::model;
use flow_nodes::sdxl::{Checkpoint, Compute, Part};
use memory::{anonymous, watched};

const PROMPT: &str = "a photo of a panda on a beach";
const RANK: usize = 8;
/// What `train-step.py` and `side-by-side.py` give PEFT to adapt.
const ADAPTED: &str = r"attn[12]\.to_(q|k|v|out\.0)$";

/// What is repeated.
struct Half<'a> {
    folder: &'a Path,
    rounds: usize,
    compute: Compute,
}

impl Half<'_> {
    fn run(&self, work: &str) -> Result<()> {
        match work.split_once('-') {
            None if work == "load" => self.load(),
            None if work == "text" => self.text(),
            None if work == "fold" => self.fold(),
            Some(("decode", size)) => self.decode(size.parse()?),
            Some(("unet", size)) => self.step(size.parse()?),
            _ => anyhow::bail!("`{work}` is none of load, text, fold, decode-SIZE and unet-SIZE"),
        }
    }

    fn checkpoint(&self) -> Result<Checkpoint> {
        Checkpoint::open(self.folder)
    }

    fn load(&self) -> Result<()> {
        self.repeat(|| Ok(()), |()| self.checkpoint()?.load_unet(&self.compute))
    }

    fn text(&self) -> Result<()> {
        let checkpoint = self.checkpoint()?;
        let (tokenizers, encoders) =
            (checkpoint.tokenizers()?, checkpoint.load_text_encoders(&self.compute)?);
        self.repeat(
            || Ok(()),
            |()| {
                let (ids, ids_2) = tokenizers.encode(&[PROMPT])?;
                encoders.forward(&ids, &ids_2)
            },
        )
    }

    fn decode(&self, size: usize) -> Result<()> {
        let checkpoint = self.checkpoint()?;
        let (vae, latents) = (checkpoint.load_vae(&self.compute)?, asked::latents(&checkpoint, size)?);
        self.repeat(|| Ok(()), |()| vae.decode(&latents))
    }

    fn step(&self, size: usize) -> Result<()> {
        let checkpoint = self.checkpoint()?;
        let (unet, latents) = (checkpoint.load_unet(&self.compute)?, asked::latents(&checkpoint, size)?);
        let denoiser = asked::guided(&checkpoint, &unet, size)?;
        self.repeat(|| Ok(()), |()| denoiser.predict(&latents, 500.0))
    }

    /// The weights are read anew for each round, which does not count: a fold takes them for its own.
    fn fold(&self) -> Result<()> {
        let checkpoint = self.checkpoint()?;
        let layers = adapted(&checkpoint)?;
        let lora = noise_adapters::lora(&layers, RANK)?;
        let weights = || -> Result<Vec<Tensor>> {
            lora.layers().iter().map(|own| self.weight(&checkpoint, own)).collect()
        };
        let fold = |weights: Vec<Tensor>| -> Result<Vec<Tensor>> {
            let each = lora.layers().iter().zip(weights);
            each.map(|(own, weight)| changed(&lora, own, weight, 1.0)).collect()
        };
        self.repeat(weights, fold)
    }

    fn weight(&self, checkpoint: &Checkpoint, own: &Layer) -> Result<Tensor> {
        let name = own.module.trim_start_matches("unet.");
        let Compute { device, dtype } = &self.compute;
        checkpoint.weights(Part::Unet).convert(&format!("{name}.weight"), device, *dtype)
    }

    /// Prints what each round takes. Making what it works on does not count, nor does letting its result go.
    fn repeat<T, U>(&self, prepare: impl Fn() -> Result<T>, work: impl Fn(T) -> Result<U>) -> Result<()> {
        for _ in 0..self.rounds {
            let prepared = prepare()?;
            let (held, before) = (anonymous(), cpu_seconds()?);
            let timed = || {
                let started = Instant::now();
                let result = work(prepared);
                (result, started.elapsed().as_secs_f64())
            };
            let ((result, seconds), above, _) = watched(timed);
            println!("{seconds:.6} {:.2} {}", cpu_seconds()? - before, held + above);
            result?;
        }
        Ok(())
    }
}

/// The linear layers of the denoiser's attention.
fn adapted(checkpoint: &Checkpoint) -> Result<Vec<LayerShape>> {
    let selection = Layers::Matching(ADAPTED.to_owned()).compile()?;
    let shapes = checkpoint.weights(Part::Unet).shapes();
    let shapes: BTreeMap<_, _> = shapes.map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
    Ok(layers_among(&shapes).into_iter().filter(|layer| selection.holds(&layer.name)).collect())
}

/// CPU seconds of this process so far, of all its threads; Linux counts them in hundredths.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').unwrap_or_default(); // the name before it may hold spaces
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(ticks.sum::<Result<u64, _>>()? as f64 / 100.0)
}

fn main() -> Result<()> {
    // `cargo bench` adds an argument of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let [folder, work, rounds] = words.as_slice() else {
        println!("skipped: `bench/side-by-side.sh` says MODEL, WORK and ROUNDS");
        return Ok(());
    };
    // As the program settles them: what products are worth threads, too.
    let compute = model::compute(flow_nodes::settle(Some(Device::Cpu), None)?)?;
    Half { folder: Path::new(folder), rounds: rounds.parse()?, compute }.run(work)
}
