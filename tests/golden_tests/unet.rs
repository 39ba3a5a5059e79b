//! The denoiser, from outside and from inside.

use candle_core::{DType, Device, Tensor};
use flow_nodes::sdxl::unet::embedding::sinusoids;
use flow_nodes::sdxl::{TextEmbeds, Trace};

use super::support::{Golden, close, close_to_rms, tiny};

/// float32 against float64 measured 5e-6 of an rms of 0.75 in PyTorch; another order of summation may do worse.
pub(crate) const EPS: f64 = 5e-5;
/// Inside, values are larger: measured 6e-5 of an rms up to 7.
const ACTIVATION: f64 = 1e-4;
/// float32 sinusoids of t up to 1536 measured 2e-5 off: the angle itself is rounded.
const SINUSOID: f64 = 5e-5;

pub(crate) fn text_of(golden: &Golden) -> TextEmbeds {
    let (prompt_embeds, pooled) =
        (golden.get("encoder_hidden_states").clone(), golden.get("text_embeds").clone());
    TextEmbeds { prompt_embeds, pooled }
}

/// `t500` is one timestep for all, `t_1_981` one for each.
pub(crate) fn timesteps(name: &str, b: usize) -> Tensor {
    let listed: Vec<f32> = name.trim_start_matches('t').split('_').filter_map(|t| t.parse().ok()).collect();
    let each = if listed.len() == 1 { vec![listed[0]; b] } else { listed };
    Tensor::new(each, &Device::Cpu).unwrap()
}

#[test]
fn golden_sinusoids_of_timesteps() {
    let Some(golden) = Golden::open("forward/timestep_embedding.safetensors") else { return };
    let expected = golden.get("f32");
    let t = golden.get("t").to_dtype(DType::F32).unwrap();
    let found = sinusoids(&t, expected.dim(1).unwrap(), true, 0.0).unwrap();
    close("sinusoids in float32", &found, expected, SINUSOID);
    close("sinusoids in float64", &found, golden.get("f64"), SINUSOID);
}

#[test]
fn golden_predictions_at_every_size_and_timestep() {
    let (Some(golden), Some(tiny)) = (Golden::open("forward/unet_eps.safetensors"), tiny()) else { return };
    let text = text_of(&golden);
    let mut seen = 0;
    for (key, expected) in &golden.tensors {
        let Some((size, rest)) = key.split_once(".eps.") else { continue };
        let (sample, time_ids) =
            (golden.get(&format!("{size}.sample")), golden.get(&format!("{size}.time_ids")));
        let (t, text) = match rest.split_once('.') {
            Some((t, "zero_cond")) => (t, text.zeros_like().unwrap()),
            Some((_, unknown)) => panic!("`{key}`: what is `{unknown}`?"),
            None => (rest, text.clone()),
        };
        let t = timesteps(t, sample.dim(0).unwrap());
        close(key, &tiny.unet.forward(sample, &t, &text, time_ids).unwrap(), expected, EPS);
        seen += 1;
    }
    assert!(seen > 0, "no prediction in `{}`", golden.name);
}

#[test]
fn golden_activations_inside_the_denoiser() {
    let (Some(golden), Some(tiny)) = (Golden::open("forward/unet_activations.safetensors"), tiny()) else {
        return;
    };
    let trace = Trace::on();
    let (sample, t, time_ids) = (golden.get("sample"), golden.get("timestep"), golden.get("time_ids"));
    let out = tiny.unet.forward_traced(sample, t, &text_of(&golden), time_ids, &trace).unwrap();
    let seen = trace.into_outputs();
    for (key, expected) in &golden.tensors {
        let Some(module) = key.strip_prefix("act.") else { continue };
        let found =
            if module == "out" { &out } else { seen.get(module).unwrap_or_else(|| panic!("no `{module}`")) };
        close_to_rms(key, found, expected, ACTIVATION);
    }
}
