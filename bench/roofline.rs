//! The least time that SDXL base 1.0 can take on this machine: its operations by the rate of the matrix products, and its
//! weights by the rate of the memory (Williams et al. 2009, <https://doi.org/10.1145/1498765.1498785>).
//!
//! `cargo bench -p flow-nodes --bench roofline` prints both rates, the best of several, and a row for each pass. Beside what
//! `full_size` measures, it tells how much is left to win.

use std::path::Path;
use std::time::Instant;

use candle_core::{Device, Tensor};
use flow_engine::Result;
use flow_nodes::sdxl::base_config::unet_shapes;
use flow_nodes::sdxl::config::VaeConfig;
use flow_nodes::sdxl::cost::{self, Grid, Half};
use flow_nodes::sdxl::{Vae, weights::Layout};

/// Products of SDXL's widths at 1024 x 1024 with guidance: rows, what is summed, columns.
const PRODUCTS: [[usize; 3]; 3] = [[8192, 640, 640], [2048, 1280, 1280], [2048, 1280, 10240]];
/// A matrix that no cache holds, in bytes.
const COPIED: usize = 512 << 20;
const TIMES: usize = 7;
const LEVELS: [usize; 2] = [3, 4];
const TOKENS: usize = 77;

/// Seconds of the fastest of several times.
fn fastest<T>(mut work: impl FnMut() -> Result<T>) -> Result<f64> {
    let mut best = f64::MAX;
    for _ in 0..TIMES {
        let started = Instant::now();
        let result = work()?;
        best = best.min(started.elapsed().as_secs_f64());
        drop(result);
    }
    Ok(best)
}

/// Operations in a second.
fn product_rate([n, k, m]: [usize; 3]) -> Result<f64> {
    let (left, right) =
        (Tensor::rand(-1f32, 1.0, (n, k), &Device::Cpu)?, Tensor::rand(-1f32, 1.0, (m, k), &Device::Cpu)?);
    Ok(2.0 * (n * k * m) as f64 / fastest(|| Ok(left.matmul(&right.t()?)?))?)
}

/// Bytes that are read and written in a second.
fn copy_rate() -> Result<f64> {
    let (from, mut to) = (vec![1u8; COPIED], vec![0u8; COPIED]);
    let half = COPIED / 2;
    let seconds = fastest(|| {
        let (to, from) = (to.split_at_mut(half), from.split_at(half));
        rayon::join(|| to.0.copy_from_slice(from.0), || to.1.copy_from_slice(from.1));
        Ok(())
    })?;
    Ok(2.0 * COPIED as f64 / seconds)
}

fn elements<'a>(shapes: impl Iterator<Item = &'a Vec<usize>>) -> f64 {
    shapes.map(|shape| shape.iter().product::<usize>() as f64).sum()
}

fn main() -> Result<()> {
    if !std::env::args().any(|word| word == "--bench") {
        return Ok(()); // called as a test
    }
    flow_nodes::settle(Some(flow_engine::Device::Cpu), None)?; // what products are worth threads
    let rates = PRODUCTS.iter().map(|&sizes| product_rate(sizes)).collect::<Result<Vec<_>>>()?;
    for ([n, k, m], rate) in PRODUCTS.iter().zip(&rates) {
        println!("product [{n}, {k}] [{k}, {m}]: {:.0} GFLOP/s", rate / 1e9);
    }
    let (rate, copied) = (rates.iter().fold(0f64, |most, rate| most.max(*rate)), copy_rate()?);
    println!("copy: {:.1} GB/s read and written\n", copied / 1e9);

    let unet = unet_shapes()?;
    let vae: VaeConfig = serde_json::from_str(&std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sdxl/base_config/vae/config.json"),
    )?)?;
    let vae = Layout::of(|weights| Vae::new(&vae, weights))?;
    println!(
        "| pass | TFLOP | weights in f16, GB | s by products | s by memory |\n| --- | --- | --- | --- | --- |"
    );
    let row = |name: &str, flops: f64, elements: f64| {
        let (products, memory) = (flops / rate, 2.0 * elements / copied);
        println!(
            "| {name} | {:.2} | {:.2} | {products:.2} | {memory:.2} |",
            flops / 1e12,
            2.0 * elements / 1e9
        );
    };
    for size in [512, 1024] {
        let latents = Grid { h: size / 8, w: size / 8 };
        let weights = || unet.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()));
        let flops = 2.0 * cost::unet(weights(), LEVELS[0], latents, TOKENS);
        row(&format!("denoiser step with guidance, {size} x {size}"), flops, elements(unet.values()));
    }
    let weights = vae.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()));
    let flops = cost::vae(weights, LEVELS[1], Grid { h: 128, w: 128 }, Half::Decoder);
    let decoder = vae.iter().filter(|(name, _)| name.starts_with("decoder.")).map(|(_, shape)| shape);
    row("decode, 1024 x 1024", flops, elements(decoder));
    Ok(())
}
