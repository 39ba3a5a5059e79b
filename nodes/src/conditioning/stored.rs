//! An encoded prompt as a file.

use std::collections::BTreeMap;

use flow_engine::{Result, StoredFile, Value as _};

use super::{Conditioning, Request};
use crate::sdxl::TextEmbeds;
use crate::sdxl::write::bytes;
use crate::stored::{Files, Tensors, damaged};

const FILE: &str = "conditioning.safetensors";
/// The tensors.
const POSITIVE: [&str; 2] = ["positive.prompt_embeds", "positive.pooled"];
const NEGATIVE: [&str; 2] = ["negative.prompt_embeds", "negative.pooled"];
/// The words.
const PROMPT: &str = "prompt";
const NEGATIVE_PROMPT: &str = "negative_prompt";
const SIZES: &str = "sizes";

/// One file: features as tensors, prompts and sizes as words.
pub(super) fn to_files(value: &Conditioning) -> Result<Vec<StoredFile<'static>>> {
    let named = |names: [&str; 2], text: &TextEmbeds| {
        names.map(str::to_owned).into_iter().zip([text.prompt_embeds.clone(), text.pooled.clone()])
    };
    let tensors = named(POSITIVE, &value.positive).chain(named(NEGATIVE, &value.negative)).collect();
    let mut words = BTreeMap::from([
        (PROMPT.to_owned(), value.prompt.clone()),
        (SIZES.to_owned(), serde_json::to_string(&value.sizes)?),
    ]);
    words.extend(value.negative_prompt.clone().map(|prompt| (NEGATIVE_PROMPT.to_owned(), prompt)));
    Ok(vec![StoredFile::new(FILE, bytes(&tensors, &words)?)])
}

/// What [`to_files`] wrote.
pub(super) fn from_files(files: Vec<StoredFile<'static>>) -> Result<Conditioning> {
    let mut files = Files::new(Conditioning::TYPE, files)?;
    let mut tensors = files.tensors(FILE)?;
    files.end()?;
    let (positive, negative) = (text(POSITIVE, &mut tensors)?, text(NEGATIVE, &mut tensors)?);
    let mut words = std::mem::take(&mut tensors.words);
    tensors.end()?;
    let mut word = |name: &str| {
        words.remove(name).ok_or_else(|| damaged(Conditioning::TYPE, format!("`{name}` is not said")))
    };
    let (prompt, sizes) = (word(PROMPT)?, word(SIZES)?);
    let negative_prompt = word(NEGATIVE_PROMPT).ok();
    if let Some(name) = words.keys().next() {
        return Err(damaged(Conditioning::TYPE, format!("nobody said `{name}`")).into());
    }
    let request = Request {
        prompt: &prompt,
        negative_prompt: negative_prompt.as_deref(),
        sizes: serde_json::from_str(&sizes)?,
        ..Request::default()
    };
    request.encoded(positive, negative)
}

/// Features of batch 1.
fn text([prompt_embeds, pooled]: [&str; 2], tensors: &mut Tensors) -> Result<TextEmbeds> {
    let text = TextEmbeds { prompt_embeds: tensors.take(prompt_embeds)?, pooled: tensors.take(pooled)? };
    text.prompt_embeds.dims3()?;
    text.pooled.dims2()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use proptest::prelude::*;

    use super::super::Sizes;
    use super::*;
    use crate::stored::testing::{back, survives_damage};

    fn text(seed: f32, dtype: DType) -> TextEmbeds {
        let values = |n: usize| (0..n).map(|i| seed + i as f32 / 7.0).collect::<Vec<_>>();
        let tensor = |n, shape: &[usize]| Tensor::from_vec(values(n), shape, &Device::Cpu).unwrap();
        TextEmbeds {
            prompt_embeds: tensor(12, &[1, 3, 4]).to_dtype(dtype).unwrap(),
            pooled: tensor(5, &[1, 5]).to_dtype(dtype).unwrap(),
        }
    }

    fn encoded(request: Request<'_>, dtype: DType) -> Conditioning {
        request.encoded(text(0.1, dtype), text(-3.0, dtype)).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    proptest! {
        #[test]
        fn a_prompt_comes_back_from_its_file(
            prompt in ".*",
            negative in prop::option::of(".*"),
            original in prop::option::of(any::<[usize; 2]>()),
            crop: [usize; 2],
            kind in 0..3usize,
        ) {
            let sizes = Sizes { original, crop, target: original };
            let request =
                Request { prompt: &prompt, negative_prompt: negative.as_deref(), sizes, ..Request::default() };
            let dtype = [DType::F32, DType::F16, DType::BF16][kind];
            let before = encoded(request, dtype);
            let after = back(&before);
            prop_assert_eq!((&after.prompt, &after.negative_prompt), (&prompt, &negative));
            prop_assert_eq!(after.sizes, sizes);
            for (a, b) in [(&after.positive, &before.positive), (&after.negative, &before.negative)] {
                for (a, b) in [(&a.prompt_embeds, &b.prompt_embeds), (&a.pooled, &b.pooled)] {
                    prop_assert_eq!((a.dims(), a.dtype(), values(a)), (b.dims(), dtype, values(b)));
                }
            }
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let request = Request { prompt: "a bear", negative_prompt: Some("blurry"), ..Request::default() };
        survives_damage(&encoded(request, DType::F32));
    }
}
