//! What tests of samplers share.

use candle_core::Tensor;
use serde_json::json;

use super::NoiseSchedule;

/// SDXL's noise.
pub fn schedule() -> NoiseSchedule {
    schedule_with(json!({}))
}

/// SDXL's noise with other settings.
pub fn schedule_with(changes: serde_json::Value) -> NoiseSchedule {
    let mut settings = json!({
        "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
        "steps_offset": 1, "set_alpha_to_one": false,
    });
    for (name, value) in changes.as_object().unwrap() {
        settings[name] = value.clone();
    }
    NoiseSchedule::new(&serde_json::from_value(settings).unwrap())
}

/// The largest difference.
pub fn apart(a: &Tensor, b: &Tensor) -> f32 {
    let apart = (a - b).unwrap().abs().unwrap().max_all().unwrap();
    apart.to_scalar::<f32>().unwrap()
}
