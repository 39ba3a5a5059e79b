//! SDXL base 1.0 at full size on a CPU: how long each part of its work takes, and how much memory.
//!
//! `cargo bench -p flow-nodes --bench full_size` makes a folder of SDXL base 1.0's shapes with made-up weights (7 GB in
//! float16, `target/bench/sdxl-base`, kept for the next time), and prints a table of seconds and of the peak of anonymous
//! memory (`RssAnon`: mapped files, which the system may take back, do not count). Each work runs once, in a process of
//! its own, so that the peak is its own, weights and all; the seconds are of the work alone.
//!
//! `-- decode unet-512` runs only these; `f16` and `f32` say in which type the weights are kept, float16 if neither does.
//! A training on a CPU keeps them in float32 either way, as the node does. Sampling is to stay below 9 GB in float16 and
//! below 13 GB in float32, a training step below 20 GB: a work starts only where that much memory is free. Skipped with a
//! message where the disk has no room.

mod asked;
mod made_up;
mod memory;
mod noise_adapters;
mod training;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use candle_core::Tensor;
use flow_engine::{Device, Digest, Dtype, Result};
use flow_nodes::adapter::Adapter;
use flow_nodes::adapter::fold::Scales;
use flow_nodes::adapter::layers::Layers;
use flow_nodes::adapter::shape::layers_among;
use flow_nodes::model::{self, Model};
use flow_nodes::sdxl::base_config::unet_shapes;
use flow_nodes::sdxl::{Checkpoint, Compute};
use flow_nodes::train::method::Para;
use memory::watched;
use training::Training;

/// One row of the table.
struct Work {
    /// What an argument calls it.
    name: &'static str,
    /// What the table calls it.
    what: &'static str,
    /// What it may take in float16 and in float32, in GB.
    room: [f64; 2],
    /// Does it; gives the seconds that count.
    run: fn(&Path, &Compute) -> Result<f64>,
}

const WORKS: [Work; 8] = [
    Work { name: "open", what: "header check", room: [1.0, 1.0], run: open },
    Work { name: "load", what: "load of the denoiser", room: [9.0, 13.0], run: load },
    Work { name: "text", what: "one text encoding", room: [4.0, 6.0], run: text },
    Work { name: "unet-512", what: "denoiser step, 512 x 512, guided", room: [9.0, 13.0], run: step::<512> },
    Work {
        name: "unet-1024",
        what: "denoiser step, 1024 x 1024, guided",
        room: [9.0, 13.0],
        run: step::<1024>,
    },
    Work { name: "decode", what: "decode, 1024 x 1024", room: [5.0, 5.0], run: decode },
    Work { name: "fold", what: "load with a PaRa of rank 8 folded in", room: [9.0, 13.0], run: fold },
    Work { name: "train", what: "PaRa training step, 512 x 512, in f32", room: [20.0, 20.0], run: train },
];

const DTYPES: [Dtype; 2] = [Dtype::F16, Dtype::F32];
const PROMPT: &str = "a photo of a panda on a beach";
const RANK: usize = 8;
/// By which argument a child of this process knows that it is one.
const CHILD: &str = "--child";

fn open(folder: &Path, _: &Compute) -> Result<f64> {
    seconds(|| Checkpoint::open(folder))
}

fn load(folder: &Path, compute: &Compute) -> Result<f64> {
    let checkpoint = Checkpoint::open(folder)?;
    seconds(|| checkpoint.load_unet(compute))
}

fn text(folder: &Path, compute: &Compute) -> Result<f64> {
    let checkpoint = Checkpoint::open(folder)?;
    let (tokenizers, encoders) = (checkpoint.tokenizers()?, checkpoint.load_text_encoders(compute)?);
    seconds(|| {
        let (ids, ids_2) = tokenizers.encode(&[PROMPT])?;
        encoders.forward(&ids, &ids_2)
    })
}

fn step<const SIZE: usize>(folder: &Path, compute: &Compute) -> Result<f64> {
    let checkpoint = Checkpoint::open(folder)?;
    let (unet, latents) = (checkpoint.load_unet(compute)?, asked::latents(&checkpoint, SIZE)?);
    let denoiser = asked::guided(&checkpoint, &unet, SIZE)?;
    seconds(|| finite(denoiser.predict(&latents, 500.0)?))
}

fn decode(folder: &Path, compute: &Compute) -> Result<f64> {
    let checkpoint = Checkpoint::open(folder)?;
    let (vae, latents) = (checkpoint.load_vae(compute)?, asked::latents(&checkpoint, 1024)?);
    seconds(|| finite(vae.decode(&latents)?))
}

fn fold(folder: &Path, compute: &Compute) -> Result<f64> {
    let model = made_up_model(folder)?.with(&para()?, Scales::both(1.0), false)?;
    seconds(|| model.build_unet(compute))
}

/// A PaRa over the layers of the paper's ExCA.
fn para() -> Result<Adapter> {
    let selection = Layers::ExCA.compile()?;
    let mut layers = layers_among(&unet_shapes()?);
    layers.retain(|layer| selection.holds(&layer.name));
    Ok(noise_adapters::para(&layers, RANK)?.into())
}

fn made_up_model(folder: &Path) -> Result<Model> {
    Ok(Model::new(Checkpoint::open(folder)?, Digest::of(b"made up")))
}

/// A step as the node `Train` takes it on one picture; the denoiser is loaded before.
fn train(folder: &Path, compute: &Compute) -> Result<f64> {
    let para: Para = serde_json::from_value(serde_json::json!({ "rank": RANK }))?;
    let training = Training {
        checkpoint: &Checkpoint::open(folder)?,
        method: &para,
        size: 512,
        recomputes: true,
        compute: compute.in_f32(),
    };
    training.run(|trainer| seconds(|| trainer.step()))
}

fn seconds<T>(work: impl FnOnce() -> Result<T>) -> Result<f64> {
    let started = Instant::now();
    let result = work()?;
    let seconds = started.elapsed().as_secs_f64();
    drop(result);
    Ok(seconds)
}

/// Refuses what overflowed: its time would say nothing.
fn finite(tensor: Tensor) -> Result<Tensor> {
    let largest = tensor.abs()?.max_all()?.to_scalar::<f32>()?;
    anyhow::ensure!(largest.is_finite(), "the made-up weights overflow");
    Ok(tensor)
}

/// The two cells that a row ends in, from a process of its own.
fn measured(work: &Work, dtype: Dtype) -> Result<String> {
    let (needed, free) = (work.room[usize::from(dtype == Dtype::F32)], available()?);
    if free < needed {
        return Ok(format!("skipped: it may take {needed:.0} GB, and {free:.1} GB are free |"));
    }
    let mut child = Command::new(std::env::current_exe()?);
    child.args([CHILD, work.name, &dtype.to_string()]).stderr(Stdio::inherit());
    // As the program settles them.
    child.envs([("CANDLE_BARRIER_POOL_SPIN_LIMIT", "1"), ("MIMALLOC_PURGE_DELAY", "10000")]);
    let output = child.output()?;
    if !output.status.success() {
        return Ok(format!("failed: {} |", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Memory that a new process may have, in GB.
fn available() -> Result<f64> {
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap_or_default();
    let kib = line.split_whitespace().next().unwrap_or("0").parse::<f64>()?;
    Ok(kib * 1024.0 / 1e9)
}

/// Does one work, and prints its two cells.
fn alone(folder: &Path, name: &str, dtype: &str) -> Result<()> {
    // If memory runs out after all, this process is the one to go.
    std::fs::write("/proc/self/oom_score_adj", "1000")?;
    let work = WORKS.iter().find(|work| work.name == name);
    let dtype = DTYPES.into_iter().find(|known| known.to_string() == dtype);
    let (Some(work), Some(dtype)) = (work, dtype) else { anyhow::bail!("no work `{name}`") };
    let compute = model::compute(flow_nodes::settle(Some(Device::Cpu), Some(dtype))?)?;
    let (seconds, peak, _) = watched(|| (work.run)(folder, &compute));
    println!("{:.2} | {peak}", seconds?);
    Ok(())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench/sdxl-base")
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [child, name, dtype] = words.as_slice()
        && child == CHILD
    {
        return alone(&folder(), name, dtype);
    }
    let is_said = |word: &str| words.iter().any(|said| said == word);
    // Called as a test, or without room.
    if !is_said("--bench") || !made_up::checkpoint(&folder())? {
        return Ok(());
    }
    let dtypes: Vec<Dtype> = DTYPES.into_iter().filter(|dtype| is_said(&dtype.to_string())).collect();
    let dtypes = if dtypes.is_empty() { vec![Dtype::F16] } else { dtypes };
    let is_any_said = WORKS.iter().any(|work| is_said(work.name));
    println!("| work | weights | seconds | peak anonymous MiB |\n| --- | --- | --- | --- |");
    for work in WORKS.iter().filter(|work| !is_any_said || is_said(work.name)) {
        for &dtype in &dtypes {
            println!("| {} | {dtype} | {} |", work.what, measured(work, dtype)?);
        }
    }
    Ok(())
}
