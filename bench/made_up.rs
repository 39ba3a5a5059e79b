//! SDXL base 1.0 as a folder: its true shapes and settings, and made-up weights in float16.
//!
//! Settings and vocabulary are those that the program carries. The weights keep what passes through them near one, so
//! that float16 holds it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use flow_engine::Result;
use flow_nodes::sdxl::base_config::unet_shapes;
use flow_nodes::sdxl::config::{TextConfig, VaeConfig};
use flow_nodes::sdxl::weights::Layout;
use flow_nodes::sdxl::write::{Entry, write};
use flow_nodes::sdxl::{TextEncoder, Vae};
use serde::de::DeserializeOwned;

/// Of the denoiser, so that nothing else is taken for SDXL.
const PARAMETERS: usize = 2_567_463_684;

const SETTINGS: [&str; 8] = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "text_encoder_2/config.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer_2/tokenizer_config.json",
];

type Shapes = BTreeMap<String, Vec<usize>>;

/// Makes the folder if it is not there; says so, and gives false, where it cannot be made.
pub fn checkpoint(folder: &Path) -> Result<bool> {
    if folder.is_dir() {
        return Ok(true);
    }
    let part = folder.with_extension("part");
    fs::create_dir_all(&part)?;
    println!("making {}, 7 GB", folder.display());
    if let Err(error) = fill(&part) {
        fs::remove_dir_all(&part)?;
        println!("skipped: there is no room for 7 GB in {}: {error:#}", folder.display());
        return Ok(false);
    }
    fs::rename(part, folder)?;
    Ok(true)
}

fn fill(folder: &Path) -> Result<()> {
    copy_settings(folder)?;
    let [first, second] = ["text_encoder", "text_encoder_2"].map(config::<TextConfig>);
    let (first, second, vae) = (first?, second?, config::<VaeConfig>("vae")?);
    let unet = unet_shapes()?;
    let parameters: usize = unet.values().map(|shape| shape.iter().product::<usize>()).sum();
    anyhow::ensure!(parameters == PARAMETERS, "a denoiser of {parameters} parameters is not SDXL's");

    let file = |name: &str| folder.join(name);
    fill_file(&file("unet/diffusion_pytorch_model.safetensors"), &unet)?;
    fill_file(
        &file("vae/diffusion_pytorch_model.safetensors"),
        &Layout::of(|weights| Vae::new(&vae, weights))?,
    )?;
    fill_file(
        &file("text_encoder/model.safetensors"),
        &Layout::of(|weights| TextEncoder::new(&first, false, weights))?,
    )?;
    fill_file(
        &file("text_encoder_2/model.safetensors"),
        &Layout::of(|weights| TextEncoder::new(&second, true, weights))?,
    )
}

fn copy_settings(folder: &Path) -> Result<()> {
    let copy = |from: PathBuf, to: PathBuf| {
        to.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::copy(from, to).map(drop))
    };
    SETTINGS.iter().try_for_each(|name| copy(base_config().join(name), folder.join(name)))?;
    let vocabulary = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/clip-vocab");
    for tokenizer in ["tokenizer", "tokenizer_2"] {
        for name in ["vocab.json", "merges.txt"] {
            copy(vocabulary.join(name), folder.join(tokenizer).join(name))?;
        }
    }
    Ok(())
}

fn base_config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sdxl/base_config")
}

fn config<T: DeserializeOwned>(part: &str) -> Result<T> {
    Ok(serde_json::from_reader(File::open(base_config().join(part).join("config.json"))?)?)
}

fn fill_file(file: &Path, shapes: &Shapes) -> Result<()> {
    let entry = |(name, shape): (&String, &Vec<usize>)| Entry {
        name: name.clone(),
        dtype: DType::F16,
        shape: shape.clone(),
    };
    let entries: Vec<_> = shapes.iter().map(entry).collect();
    let says = BTreeMap::from([("format".to_owned(), "pt".to_owned())]); // without it transformers opens no file
    write(&mut File::create(file)?, &entries, &says, |entry| made_up(&entry.name, &entry.shape))
}

/// Scattered numbers of about the size that training gives to such a tensor.
fn made_up(name: &str, shape: &[usize]) -> Result<Tensor> {
    let (count, inputs): (usize, usize) = (shape.iter().product(), shape.iter().skip(1).product());
    let (scale, shift) = match name {
        _ if name.contains("norm") && name.ends_with("weight") => (0.1, 1.0),
        _ if shape.len() == 1 => (0.02, 0.0),
        _ => ((inputs as f32).sqrt().recip(), 0.0),
    };
    let number = |i: usize| {
        let mixed = (i as u32).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519);
        (mixed as f32 / u32::MAX as f32 * 2.0 - 1.0) * scale + shift
    };
    Ok(Tensor::from_vec((0..count).map(number).collect::<Vec<f32>>(), shape, &Device::Cpu)?)
}
