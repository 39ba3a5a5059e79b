//! Half precision on the CPU: it runs, and how far it is from float32.

use candle_core::{DType, Device, Tensor};
use flow_nodes::sdxl::Compute;

use super::support::{Golden, rms, tiny};
use super::unet::{text_of, timesteps};

/// The rms of the difference in units of the expected rms.
fn relative_error(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    rms(&(found.to_dtype(DType::F32).unwrap() - expected).unwrap()) / rms(expected)
}

/// Measured on the set of the repository: 2.3e-3 and 2.5e-2 at worst. Other widths round otherwise, so twice that and
/// more; bfloat16 has three bits less, which is a factor of eight.
const TOLERANCES: [(DType, f64); 2] = [(DType::F16, 8e-3), (DType::BF16, 6e-2)];

#[test]
fn golden_predictions_in_half_precision() {
    let (Some(golden), Some(tiny)) = (Golden::open("forward/unet_eps.safetensors"), tiny()) else { return };
    for (dtype, tolerance) in TOLERANCES {
        let unet = tiny.checkpoint.load_unet(&Compute { device: Device::Cpu, dtype }).unwrap();
        for (key, expected) in golden.tensors.iter().filter(|(key, _)| !key.ends_with("zero_cond")) {
            let Some((size, t)) = key.split_once(".eps.") else { continue };
            let (sample, time_ids) =
                (golden.get(&format!("{size}.sample")), golden.get(&format!("{size}.time_ids")));
            let t = timesteps(t, sample.dim(0).unwrap());
            let error =
                relative_error(&unet.forward(sample, &t, &text_of(&golden), time_ids).unwrap(), expected);
            println!("{key} in {dtype:?}: off by {error:.1e} of the rms, may be {tolerance:.1e}");
            assert!(error <= tolerance, "{key} in {dtype:?} is off by {error:.2e} of the rms");
        }
    }
}

#[test]
fn golden_conditioning_in_half_precision() {
    let (Some(golden), Some(tiny)) = (Golden::open("forward/text.safetensors"), tiny()) else { return };
    let rows = |name: &str| golden.get(name).to_dtype(DType::U32).unwrap().to_vec2::<u32>().unwrap();
    for (dtype, tolerance) in TOLERANCES {
        let text = tiny.checkpoint.load_text_encoders(&Compute { device: Device::Cpu, dtype }).unwrap();
        let embeds = text.forward(&rows("input_ids"), &rows("input_ids_2")).unwrap();
        let expected = [golden.get("prompt_embeds"), golden.get("pooled_prompt_embeds")];
        for (found, expected) in [embeds.prompt_embeds, embeds.pooled].iter().zip(expected) {
            let error = relative_error(found, expected);
            println!("conditioning in {dtype:?}: off by {error:.1e} of the rms, may be {tolerance:.1e}");
            assert!(error <= tolerance, "conditioning in {dtype:?} is off by {error:.2e} of the rms");
        }
    }
}

#[test]
fn golden_autoencoder_stays_in_float32() {
    let (Some(golden), Some(tiny)) = (Golden::open("forward/vae.safetensors"), tiny()) else { return };
    let vae = tiny.checkpoint.load_vae(&Compute { device: Device::Cpu, dtype: DType::F16 }).unwrap();
    let (key, z) = golden.tensors.iter().find(|(key, _)| key.ends_with(".z")).unwrap();
    let decoded = vae.decode(z).unwrap();
    let expected = golden.get(&key.replace(".z", ".decoded"));
    assert!(relative_error(&decoded, expected) < 1e-4);
}
