//! The networks of the embedded model: one denoiser step with guidance, one decode, one prompt.
//!
//! Sizes and prompts stand in the names of the benchmarks; weights are the real ones.

use std::path::Path;

use candle_core::Tensor;
use criterion::{Criterion, criterion_group, criterion_main};
use flow_nodes::sample::guidance::TimeIds;
use flow_nodes::sample::{Denoiser, Generator};
use flow_nodes::sdxl::config::Prediction;
use flow_nodes::sdxl::{Checkpoint, Compute, TextEmbeds};

fn text(checkpoint: &Checkpoint, compute: &Compute) -> (TextEmbeds, impl Fn() -> TextEmbeds) {
    let tokenizers = checkpoint.tokenizers().expect("the embedded model has tokenizers");
    let encoders = checkpoint.load_text_encoders(compute).expect("it has text encoders");
    let encode = move || {
        let (ids, ids_2) = tokenizers.encode(&["a photo of a panda"]).expect("plain words");
        encoders.forward(&ids, &ids_2).expect("ids of its own tokenizer")
    };
    (encode(), encode)
}

fn latents(checkpoint: &Checkpoint, pictures: usize) -> Tensor {
    let size = checkpoint.unet_config().sample_size.expect("it says its size");
    let channels = checkpoint.unet_config().in_channels;
    Generator::new(0).randn(&[pictures, channels, size, size]).expect("a small shape")
}

fn networks(criterion: &mut Criterion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini-sdxl");
    let checkpoint = Checkpoint::open(&folder).expect("the embedded model");
    let compute = Compute::cpu();
    let (embeds, encode) = text(&checkpoint, &compute);
    let mut group = criterion.benchmark_group("mini-sdxl");
    group.sample_size(20);

    group.bench_function("open", |bencher| {
        bencher.iter(|| Checkpoint::open(&folder).expect("the embedded model"))
    });
    group.bench_function("text encoding, 1 prompt", |bencher| bencher.iter(&encode));

    let unet = checkpoint.load_unet(&compute).expect("its denoiser");
    for pictures in [1, 4] {
        let x = latents(&checkpoint, pictures);
        let positive = embeds.repeat(pictures).expect("a small batch");
        let negative = positive.zeros_like().expect("the same shape");
        let size = checkpoint.native_size().expect("it says its size");
        let time_ids =
            TimeIds::whole(size, size).tensor(pictures, &compute.device).expect("six numbers each");
        let denoiser = Denoiser::new(&unet, Prediction::Epsilon, &positive, Some(&negative), &time_ids, 5.0)
            .expect("matching batches");
        group.bench_function(format!("UNet step with guidance, {pictures} pictures of 64x64"), |bencher| {
            bencher.iter(|| denoiser.predict(&x, 500.0).expect("a step"));
        });
    }

    let vae = checkpoint.load_vae(&compute).expect("its autoencoder");
    let x = latents(&checkpoint, 1);
    group.bench_function("VAE decode, 1 picture of 64x64", |bencher| {
        bencher.iter(|| vae.decode(&x).expect("a decode"))
    });
    group.finish();
}

criterion_group!(benches, networks);
criterion_main!(benches);
