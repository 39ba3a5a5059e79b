//! Folding a rank-8 PaRa over the paper's ExCA into full-size SDXL, beside what it must cost at least.
//!
//! `cargo bench -p flow-nodes --bench fold` makes a file of SDXL's denoiser with made-up weights (5.1 GB in float16,
//! under `target/`, kept for the next time) and one of the PaRa, and prints, for the layers of ExCA: the time to fold
//! them into float32, beside the matrix products alone plus one read of the file and one write of the weights at the
//! rate at which memory is copied here, to memory in use and to fresh memory; each several times, so that the spread is
//! seen. Then the peak of anonymous memory above the folded weights. Skipped with a message where the disk has no room.

mod memory;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use flow_engine::Result;
use flow_nodes::adapter::fold::changed;
use flow_nodes::adapter::layers::Layers;
use flow_nodes::adapter::shape::{LayerShape, layers_among};
use flow_nodes::adapter::{read, write};
use flow_nodes::ops::remove_span;
use flow_nodes::sdxl::base_config::unet_shapes;
use flow_nodes::sdxl::files::WeightFiles;
use flow_nodes::sdxl::write::Entry;
use memory::watched;

const RANK: usize = 8;
const ROUNDS: usize = 5;

/// Scattered numbers of about the size of weights.
fn made_up(shape: &[usize]) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let number = |i: usize| {
        let mixed = (i as u32).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519);
        (mixed as f32 / u32::MAX as f32 - 0.5) * 0.1
    };
    Ok(Tensor::from_vec((0..count).map(number).collect::<Vec<f32>>(), shape, &Device::Cpu)?)
}

/// SDXL's denoiser in float16, made when it is not there; none without room for it.
fn denoiser(folder: &Path, shapes: &BTreeMap<String, Vec<usize>>) -> Result<Option<PathBuf>> {
    let file = folder.join("unet.safetensors");
    if file.is_file() {
        return Ok(Some(file));
    }
    let entry = |(name, shape): (&String, &Vec<usize>)| Entry {
        name: name.clone(),
        dtype: DType::F16,
        shape: shape.clone(),
    };
    let entries: Vec<_> = shapes.iter().map(entry).collect();
    let partial = folder.join("unet.partial");
    let mut to = std::io::BufWriter::new(std::fs::File::create(&partial)?);
    let written =
        flow_nodes::sdxl::write::write(&mut to, &entries, &BTreeMap::new(), |entry| made_up(&entry.shape));
    drop(to);
    if let Err(error) = written {
        std::fs::remove_file(&partial)?;
        println!("skipped: there is no room for 5.1 GB in {}: {error:#}", folder.display());
        return Ok(None);
    }
    std::fs::rename(partial, &file)?;
    Ok(Some(file))
}

fn seconds<T>(work: impl FnOnce() -> Result<T>) -> Result<f64> {
    let started = Instant::now();
    let result = work()?;
    let seconds = started.elapsed().as_secs_f64();
    drop(result);
    Ok(seconds)
}

/// Seconds per byte that is read or written while memory is copied, to memory that was touched before and to fresh
/// memory, whose pages the system has yet to give: a copied byte is both read and written.
fn seconds_per_byte() -> Result<[f64; 2]> {
    let (source, mut target) = (vec![1u8; 1 << 30], vec![2u8; 1 << 30]);
    let touched = seconds(|| {
        target.copy_from_slice(std::hint::black_box(&source));
        std::hint::black_box(&target);
        Ok(())
    })?;
    drop(target);
    let fresh = seconds(|| Ok(std::hint::black_box(std::hint::black_box(&source).clone())))?;
    Ok([touched, fresh].map(|seconds| seconds / (2u64 << 30) as f64))
}

fn main() -> Result<()> {
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(()); // called as a test
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fold");
    std::fs::create_dir_all(&folder)?;
    let shapes = unet_shapes()?;
    let Some(file) = denoiser(&folder, &shapes)? else { return Ok(()) };
    let files = WeightFiles::open_file(&file)?;
    let selection = Layers::ExCA.compile()?;
    let layers: Vec<LayerShape> =
        layers_among(&shapes).into_iter().filter(|layer| selection.holds(&layer.name)).collect();
    let spans = layers.iter().map(|layer| {
        let b = made_up(&[layer.rows(), RANK])?;
        Ok((format!("unet.{}.para_B", layer.name), b))
    });
    let bytes = flow_nodes::sdxl::write::bytes(&spans.collect::<Result<_>>()?, &write::Metadata::new())?;
    let single = read::of_bytes("para", bytes)?;

    let weights: usize = layers.iter().map(|layer| layer.rows() * layer.columns()).sum();
    println!("{} layers of ExCA, {:.2} G weights, rank {RANK}", layers.len(), weights as f64 / 1e9);
    let convert =
        |layer: &LayerShape| files.convert(&format!("{}.weight", layer.name), &Device::Cpu, DType::F32);
    for layer in &layers {
        convert(layer)?; // warms the page cache
    }
    let fold = |layer: &LayerShape| -> Result<Tensor> {
        let name = format!("unet.{}", layer.name);
        let own = single.layers().iter().find(|own| own.module == name);
        let own = own.ok_or_else(|| anyhow::anyhow!("`{name}` is missing"))?;
        changed(&single, own, convert(layer)?, 1.0)
    };
    println!("round | fold s | products s | copy s | copy to fresh memory s | ratio | ratio to fresh memory");
    for round in 1..=ROUNDS {
        let mut products = 0.0;
        for layer in &layers {
            let (weight, q) = (convert(layer)?, made_up(&[layer.rows(), RANK])?);
            products += seconds(|| remove_span(weight, &q))?;
        }
        let folded = seconds(|| layers.iter().try_for_each(|layer| fold(layer).map(drop)))?;
        let bytes = (2 * weights + 4 * weights) as f64;
        let [touched, fresh] = seconds_per_byte()?.map(|seconds| seconds * bytes);
        println!(
            "{round} | {folded:.2} | {products:.2} | {touched:.2} | {fresh:.2} | {:.2} | {:.2}",
            folded / (products + touched),
            folded / (products + fresh)
        );
    }
    let (kept, peak, _) = watched(|| layers.iter().map(fold).collect::<Result<Vec<_>>>());
    let largest = layers.iter().map(|layer| layer.rows() * layer.columns()).max().unwrap_or_default();
    println!(
        "memory: {} MiB of folded weights, peak {} MiB above the start, largest layer {} MiB",
        kept?.iter().map(|weight| weight.elem_count() * 4).sum::<usize>() >> 20,
        peak,
        (largest * 4) >> 20
    );
    Ok(())
}
