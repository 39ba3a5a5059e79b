//! How much memory the autoencoder takes: SDXL's own shape with made-up weights, one picture each way.
//!
//! `cargo bench -p flow-nodes --bench vae_memory -- 1024` prints the peak of the process's anonymous memory (`RssAnon`
//! of `/proc/self/status`, so only on Linux) above what the weights take, and the time, for a square picture.

mod memory;

use candle_core::{Device, Tensor};
use flow_engine::Result;
use flow_nodes::sdxl::config::VaeConfig;
use flow_nodes::sdxl::{Source, Vae, Weights};
use memory::{anonymous, watched};

/// Made-up weights: scattered numbers that keep activations near one.
struct MadeUp;

impl Source for MadeUp {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let count: usize = shape.iter().product();
        let fan_in: usize = shape.iter().skip(1).product();
        let (scale, shift) = match name {
            _ if name.contains("norm") && name.ends_with("weight") => (0.1, 1.0),
            _ if shape.len() == 1 => (0.1, 0.0),
            _ => (1.7 / (fan_in as f32).sqrt(), 0.0),
        };
        let number = |i: usize| {
            let mixed = (i as u32).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519);
            (mixed as f32 / u32::MAX as f32 * 2.0 - 1.0) * scale + shift
        };
        Ok(Tensor::from_vec((0..count).map(number).collect::<Vec<f32>>(), shape, &Device::Cpu)?)
    }
}

fn main() {
    // `cargo test` runs every benchmark for a moment, and `cargo bench` adds an argument of its own.
    let Some(size) = std::env::args().find_map(|argument| argument.parse::<usize>().ok()) else { return };
    let config: VaeConfig = serde_json::from_value(serde_json::json!({
        "in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2, "scaling_factor": 0.13025
    }))
    .expect("SDXL's own settings");
    let vae = Vae::new(&config, &Weights::new(&MadeUp)).expect("every tensor is made up");
    println!("weights: {} MiB", anonymous());

    let small = Tensor::arange(0f32, (4 * size * size / 64) as f32, &Device::Cpu).expect("a small tensor");
    let latents = (small * 0.37).and_then(|x| x.sin()).and_then(|x| x.reshape((1, 4, size / 8, size / 8)));
    let latents = latents.expect("a small tensor");
    let (picture, peak, seconds) = watched(|| vae.decode(&latents).expect("a decode"));
    println!("decode {size}x{size}: {peak} MiB above the weights, {seconds:.1} s");

    let (_, peak, seconds) = watched(|| vae.encode(&picture).expect("an encode"));
    println!("encode {size}x{size}: {peak} MiB above the weights and the picture, {seconds:.1} s");
}
