//! How a picture was made, and the line in which other tools look for it.
//!
//! The text is the `parameters` of AUTOMATIC1111's `create_infotext` (`modules/processing.py`):
//! prompt, negative prompt, then one line of `Name: value` pairs.

use serde::{Deserialize, Serialize};

use crate::stored::{exact, exact_or_none};

/// What a sampler was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// What to show.
    pub prompt: String,
    /// What not to show.
    pub negative_prompt: Option<String>,
    /// Number of sampling steps.
    pub steps: usize,
    /// Name of the sampler as other tools know it, `DDIM`.
    pub sampler: String,
    /// Name of its noise schedule, if it is not the usual one: `Karras`.
    pub schedule_type: Option<String>,
    /// Share of fresh noise in every step: 0 is DDIM, 1 is DDPM.
    #[serde(with = "exact")]
    pub eta: f64,
    /// How much of a given picture was changed, if it did not begin with noise alone: 0 to 1.
    #[serde(with = "exact_or_none")]
    pub strength: Option<f64>,
    /// Scale of classifier-free guidance; 1 is without.
    #[serde(with = "exact")]
    pub guidance: f64,
    /// Seed of the first noise.
    pub seed: u64,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Name of the model.
    pub model: String,
    /// First hexadecimal digits of the model's digest.
    pub model_hash: String,
}

impl Generation {
    /// The text that A1111 and its relatives write into a picture and read back.
    pub fn parameters(&self) -> String {
        let negative = self.negative_prompt.as_deref().filter(|negative| !negative.is_empty());
        let negative = negative.map(|negative| format!("\nNegative prompt: {negative}")).unwrap_or_default();
        let pairs = self.pairs().map(|(name, value)| format!("{name}: {}", quoted(value)));
        // Without a prompt the text starts with the pairs: that tool trims it too.
        format!("{}{negative}\n{}", self.prompt, pairs.collect::<Vec<_>>().join(", ")).trim().to_owned()
    }

    fn pairs(&self) -> impl Iterator<Item = (&'static str, String)> {
        let strength = self.strength.map(|strength| ("Denoising strength", strength.to_string()));
        let eta = (self.eta != 0.0).then(|| ("Eta DDIM", self.eta.to_string()));
        [
            ("Steps", self.steps.to_string()),
            ("Sampler", self.sampler.clone()),
            ("Schedule type", self.schedule_type.clone().unwrap_or_default()),
            ("CFG scale", self.guidance.to_string()),
            ("Seed", self.seed.to_string()),
            ("Size", format!("{}x{}", self.width, self.height)),
            ("Model hash", self.model_hash.clone()),
            ("Model", self.model.clone()),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .chain(strength)
        .chain(eta)
    }
}

/// A value that a reader of comma-separated pairs would cut in two, as a JSON string.
fn quoted(value: String) -> String {
    if value.contains([',', ':', '\n']) { serde_json::Value::String(value).to_string() } else { value }
}

#[cfg(test)]
pub(crate) fn example() -> Generation {
    Generation {
        prompt: "a photo of sks".into(),
        negative_prompt: None,
        steps: 30,
        sampler: "DDIM".into(),
        schedule_type: None,
        eta: 0.0,
        strength: None,
        guidance: 5.0,
        seed: 7,
        width: 64,
        height: 48,
        model: "mini-sdxl".into(),
        model_hash: "0123456789".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_generation_is_two_lines() {
        let expected = "a photo of sks\n\
            Steps: 30, Sampler: DDIM, CFG scale: 5, Seed: 7, Size: 64x48, Model hash: 0123456789, Model: mini-sdxl";
        assert_eq!(example().parameters(), expected);
    }

    #[test]
    fn a_negative_prompt_has_a_line_of_its_own_unless_it_is_empty() {
        let with = |negative: &str| Generation { negative_prompt: Some(negative.into()), ..example() };
        assert!(
            with("blurry, dark")
                .parameters()
                .starts_with("a photo of sks\nNegative prompt: blurry, dark\nSteps")
        );
        assert_eq!(with("").parameters(), example().parameters());
    }

    #[test]
    fn eta_is_told_only_when_there_is_some() {
        let text = Generation { eta: 1.0, guidance: 7.5, ..example() }.parameters();
        assert!(
            text.contains("CFG scale: 7.5, ") && text.ends_with("Model: mini-sdxl, Eta DDIM: 1"),
            "{text}"
        );
        assert!(!example().parameters().contains("Eta"));
    }

    #[test]
    fn a_schedule_and_a_strength_are_told_as_other_tools_name_them() {
        let schedule_type = Some("Karras".into());
        let sampler = "DPM++ 2M".into();
        let text =
            Generation { sampler, schedule_type, strength: Some(0.6), eta: 0.5, ..example() }.parameters();
        assert!(text.contains("Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5"), "{text}");
        assert!(text.ends_with("Model: mini-sdxl, Denoising strength: 0.6, Eta DDIM: 0.5"), "{text}");
    }

    #[test]
    fn a_value_with_a_comma_or_a_colon_is_quoted() {
        let text = Generation { model: "base, \"gold\"".into(), ..example() }.parameters();
        assert!(text.ends_with(r#"Model: "base, \"gold\"""#), "{text}");
    }

    #[test]
    fn without_a_prompt_the_text_starts_with_the_steps() {
        assert!(Generation { prompt: String::new(), ..example() }.parameters().starts_with("Steps: 30"));
    }
}
