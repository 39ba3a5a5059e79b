//! Reading golden files, and comparing with them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use candle_core::{DType, Device, Tensor};
use flow_nodes::sdxl::config::SchedulerConfig;
use flow_nodes::sdxl::{Checkpoint, Compute, TextEmbeds, TextEncoders, Tokenizers, UNet, Vae};
use serde_json::Value;

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The golden set, and whether it is another one than the repository's.
fn set() -> (PathBuf, bool) {
    match std::env::var_os("FLOW_GOLDEN") {
        Some(folder) => (repository().join(folder), true),
        None => (repository().join("tests/golden"), false),
    }
}

/// A file of the set. A set of one's own may lack it; the repository's may not.
pub(crate) fn file(path: &str) -> Option<PathBuf> {
    let (folder, own) = set();
    let file = folder.join(path);
    if file.exists() {
        return Some(file);
    }
    assert!(own, "`{}` is missing", file.display());
    assert!(
        folder.join("tiny-sdxl").is_dir(),
        "`{}` is no golden set: it has no `tiny-sdxl`",
        folder.display()
    );
    // Straight to the stream: what `eprintln!` says in a test that passes is never shown.
    let _ = writeln!(std::io::stderr(), "skipped: this golden set has no `{path}`");
    None
}

/// Every safetensors file in a folder of the set, by name.
pub(crate) fn files(folder: &str) -> Vec<String> {
    let entries = file(folder).into_iter().flat_map(|f| std::fs::read_dir(f).unwrap());
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        names.filter(|n| n.ends_with(".safetensors")).map(|n| format!("{folder}/{n}")).collect();
    names.sort();
    names
}

/// A golden safetensors file.
pub(crate) struct Golden {
    pub(crate) name: String,
    pub(crate) tensors: BTreeMap<String, Tensor>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Golden {
    pub(crate) fn open(path: &str) -> Option<Self> {
        let file = file(path)?;
        let bytes = std::fs::read(&file).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap().into_iter().collect();
        Some(Self { name: path.to_owned(), tensors, metadata })
    }

    pub(crate) fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("`{}` has no `{name}`", self.name))
    }

    pub(crate) fn timesteps(&self, name: &str) -> Vec<usize> {
        self.get(name).to_vec1::<i64>().unwrap().into_iter().map(|t| t as usize).collect()
    }

    pub(crate) fn meta(&self, name: &str) -> &str {
        self.metadata.get(name).unwrap_or_else(|| panic!("`{}` has no `{name}` in its metadata", self.name))
    }

    /// Whole or broken numbers, as they are stored.
    pub(crate) fn numbers(&self, name: &str) -> Vec<f64> {
        numbers(self.get(name))
    }

    pub(crate) fn number(&self, name: &str) -> f64 {
        self.meta(name).parse().unwrap()
    }

    /// A number, or what stands for its absence.
    pub(crate) fn number_or(&self, name: &str, absent: f64) -> f64 {
        if self.metadata.contains_key(name) { self.number(name) } else { absent }
    }
}

pub(crate) fn json(path: &str) -> Option<Value> {
    file(path).map(|file| serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap())
}

/// The tiny model of the set, loaded once.
pub(crate) struct Tiny {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) unet: UNet,
    pub(crate) vae: Vae,
    pub(crate) text: TextEncoders,
    pub(crate) tokenizers: Tokenizers,
}

pub(crate) fn load(folder: &Path) -> Tiny {
    networks(Checkpoint::open(folder).unwrap())
}

pub(crate) fn networks(checkpoint: Checkpoint) -> Tiny {
    let compute = Compute::cpu();
    Tiny {
        unet: checkpoint.load_unet(&compute).unwrap(),
        vae: checkpoint.load_vae(&compute).unwrap(),
        text: checkpoint.load_text_encoders(&compute).unwrap(),
        tokenizers: checkpoint.tokenizers().unwrap(),
        checkpoint,
    }
}

pub(crate) fn tiny() -> Option<&'static Tiny> {
    static TINY: OnceLock<Option<Tiny>> = OnceLock::new();
    TINY.get_or_init(|| file("tiny-sdxl").map(|folder| load(&folder))).as_ref()
}

impl Tiny {
    /// What prompts mean.
    pub(crate) fn encode(&self, prompts: &[&str]) -> TextEmbeds {
        let (ids, ids_2) = self.tokenizers.encode(prompts).unwrap();
        self.text.forward(&ids, &ids_2).unwrap()
    }
}

/// The tiny model's scheduler settings, with some changed.
pub(crate) fn scheduler(changes: &[(&str, Value)]) -> Option<SchedulerConfig> {
    let mut settings = json("tiny-sdxl/scheduler/scheduler_config.json")?;
    changes.iter().for_each(|(key, value)| settings[key] = value.clone());
    Some(serde_json::from_value(settings).unwrap())
}

/// Scheduler settings as Python printed them into a file's metadata.
pub(crate) fn scheduler_of(golden: &Golden) -> SchedulerConfig {
    let told = golden.metadata.iter().filter_map(|(key, value)| Some((key.strip_prefix("config.")?, value)));
    let value = |text: &str| match text {
        "True" => Value::Bool(true),
        "False" => Value::Bool(false),
        "None" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
    };
    serde_json::from_value(told.map(|(key, text)| (key.to_owned(), value(text))).collect()).unwrap()
}

/// Stored ids as the encoders take them.
pub(crate) fn rows(ids: &Tensor) -> Vec<Vec<u32>> {
    ids.to_dtype(DType::U32).unwrap().to_vec2().unwrap()
}

fn numbers(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Root of the mean square.
pub(crate) fn rms(x: &Tensor) -> f64 {
    let numbers = numbers(x);
    (numbers.iter().map(|x| x * x).sum::<f64>() / numbers.len() as f64).sqrt()
}

/// The largest difference, of equally shaped tensors.
pub(crate) fn worst(what: &str, found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims(), "the shape of {what}");
    let differences = numbers(found).into_iter().zip(numbers(expected)).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |worst, d| if d.is_nan() { f64::NAN } else { worst.max(d) })
}

/// Every number is within `tolerance`, which counts per unit of the expected rms where that is above 1 (a wider model
/// of another set has larger numbers).
#[track_caller]
pub(crate) fn close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    within(what, found, expected, tolerance * rms(expected).max(1.0));
}

/// Every number is within `tolerance` of the expected rms.
#[track_caller]
pub(crate) fn close_to_rms(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    within(what, found, expected, tolerance * rms(expected));
}

#[track_caller]
fn within(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    let worst = worst(what, found, expected);
    println!("{what}: off by {worst:.1e}, may be {tolerance:.1e}");
    assert!(worst <= tolerance, "{what} is off by {worst:.3e}, more than {tolerance:.1e}");
}

/// Pictures `[1, 3, h, w]` in about -1..=1 as rows of bytes, as `(x / 2 + 0.5)` clamped and rounded.
pub(crate) fn bytes(picture: &Tensor) -> Vec<u8> {
    let hwc = picture.squeeze(0).unwrap().permute((1, 2, 0)).unwrap();
    numbers(&hwc)
        .into_iter()
        .map(|x| ((x / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8)
        .collect()
}

/// No byte is more than one level off, and at most `share` of the bytes are.
#[track_caller]
pub(crate) fn same_picture(what: &str, found: &Tensor, png: &Path, share: f64) {
    let expected = image::open(png).unwrap().into_rgb8();
    let (w, h) = (expected.width() as usize, expected.height() as usize);
    assert_eq!(found.dims(), [1, 3, h, w], "the size of {what}");
    let found = bytes(found);
    let off: Vec<u8> =
        found.iter().zip(expected.as_raw()).map(|(a, b)| a.abs_diff(*b)).filter(|d| *d > 0).collect();
    let (count, most) = (off.len() as f64 / found.len() as f64, off.iter().max().copied().unwrap_or(0));
    println!("{what}: {:.4} % of the bytes differ, by {most} at most", 100.0 * count);
    assert!(
        most <= 1 && count <= share,
        "{what}: {:.4} % of the bytes differ, by up to {most}",
        100.0 * count
    );
}
