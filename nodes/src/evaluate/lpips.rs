//! How different two pictures look to a network trained on photographs: LPIPS v0.1 (Zhang et al. 2018,
//! arXiv 1801.03924), by the conventions of the Python package `lpips` 0.1.4.
//!
//! A picture goes once through the trunk of a classifier; what several of its layers give is kept, scaled to length 1
//! at every place. The distance of two pictures is the squared difference of these, weighted by channel (the heads),
//! averaged over places and summed over layers. Everything is in float32.
//!
//! Nothing here knows where pictures come from or what is done with distances.

use std::path::Path;

use candle_core::{Device, Tensor};
use flow_engine::{Problem, Result};
use image::RgbImage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::weights::{FromFile, misfits};
use crate::ops::{Conv2d, MaxPool, conv2d, relu};
use crate::sdxl::files::WeightFiles;
use crate::sdxl::weights::Layout;
use crate::sdxl::{Compute, Source, Weights};

/// What is taken off red, green and blue in -1..=1, and what the rest is divided by.
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];

/// Is added to a length before dividing by it, so that a place where nothing was found stays zero.
const EPSILON: f64 = 1e-10;

/// The classifier whose layers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub enum Backbone {
    /// AlexNet: the fastest, and the one that the authors of LPIPS advise for comparing pictures.
    #[default]
    Alex,
    /// VGG16: the slowest; the features of a picture of 512 x 512 pixels take 120 MB.
    Vgg16,
    /// SqueezeNet 1.1: the smallest file.
    Squeeze,
}

impl Backbone {
    /// What the Python package calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alex => "alex",
            Self::Vgg16 => "vgg",
            Self::Squeeze => "squeeze",
        }
    }

    /// The name of torchvision's file of the classifier.
    pub fn trunk_file(self) -> &'static str {
        match self {
            Self::Alex => "alexnet-owt-7be5be79.pth",
            Self::Vgg16 => "vgg16-397923af.pth",
            Self::Squeeze => "squeezenet1_1-b8a52dc0.pth",
        }
    }

    /// The name of the file of the weights of channels.
    pub fn heads_file(self) -> String {
        format!("{}.pth", self.name())
    }

    /// Where to get both files, and how to make them readable: they are pickles, which Flow does not open.
    pub fn hint(self) -> String {
        let (trunk, heads) = (self.trunk_file(), self.heads_file());
        format!(
            "the trunk is https://download.pytorch.org/models/{trunk}, the heads are `lpips/weights/v0.1/{heads}` of \
             github.com/richzhang/PerceptualSimilarity; convert each in Python: `import torch, safetensors.torch as s; \
             s.save_file(torch.load(\"x.pth\", weights_only=True), \"x.safetensors\")`"
        )
    }

    /// Channels of the layers that are compared.
    fn widths(self) -> &'static [usize] {
        match self {
            Self::Alex => &[64, 192, 384, 256, 256],
            Self::Vgg16 => &[64, 128, 256, 512, 512],
            Self::Squeeze => &[64, 128, 256, 384, 384, 512, 512],
        }
    }

    /// The steps to each layer that is compared, from the one before. Numbers are torchvision's, which counts ReLUs.
    fn slices(self, w: &Weights<'_>) -> Result<Vec<Vec<Step>>> {
        let conv = |at: usize, channels, kernel, stride, padding| -> Result<Step> {
            Ok(Step::Conv(w.conv2d(at, channels, kernel, stride, padding)?))
        };
        let same = |at, channels| conv(at, channels, 3, 1, 1);
        let pool = |window, ceil| Step::Pool(MaxPool { window, ceil });
        let fire = |at: usize, c_in, inside, out| -> Result<Step> {
            let w = w.at(at);
            let squeeze = w.conv2d("squeeze", (c_in, inside), 1, 1, 0)?;
            let one = w.conv2d("expand1x1", (inside, out), 1, 1, 0)?;
            let three = w.conv2d("expand3x3", (inside, out), 3, 1, 1)?;
            Ok(Step::Fire { squeeze, one, three })
        };
        Ok(match self {
            Self::Alex => vec![
                vec![conv(0, (3, 64), 11, 4, 2)?],
                vec![pool(3, false), conv(3, (64, 192), 5, 1, 2)?],
                vec![pool(3, false), same(6, (192, 384))?],
                vec![same(8, (384, 256))?],
                vec![same(10, (256, 256))?],
            ],
            Self::Vgg16 => vec![
                vec![same(0, (3, 64))?, same(2, (64, 64))?],
                vec![pool(2, false), same(5, (64, 128))?, same(7, (128, 128))?],
                vec![pool(2, false), same(10, (128, 256))?, same(12, (256, 256))?, same(14, (256, 256))?],
                vec![pool(2, false), same(17, (256, 512))?, same(19, (512, 512))?, same(21, (512, 512))?],
                vec![pool(2, false), same(24, (512, 512))?, same(26, (512, 512))?, same(28, (512, 512))?],
            ],
            Self::Squeeze => vec![
                vec![conv(0, (3, 64), 3, 2, 0)?],
                vec![pool(3, true), fire(3, 64, 16, 64)?, fire(4, 128, 16, 64)?],
                vec![pool(3, true), fire(6, 128, 32, 128)?, fire(7, 256, 32, 128)?],
                vec![pool(3, true), fire(9, 256, 48, 192)?],
                vec![fire(10, 384, 48, 192)?],
                vec![fire(11, 384, 64, 256)?],
                vec![fire(12, 512, 64, 256)?],
            ],
        })
    }
}

/// A step of a trunk.
#[derive(Debug)]
enum Step {
    /// A convolution and its ReLU.
    Conv(Conv2d),
    Pool(MaxPool),
    /// SqueezeNet's block: fewer channels, then kernels of two sizes side by side.
    Fire {
        squeeze: Conv2d,
        one: Conv2d,
        three: Conv2d,
    },
}

impl Step {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let through = |conv: &Conv2d, x: &Tensor| -> Result<Tensor> { relu(&conv.forward(x)?) };
        match self {
            Self::Conv(conv) => through(conv, x),
            Self::Pool(pool) => pool.forward(x),
            Self::Fire { squeeze, one, three } => {
                let x = through(squeeze, x)?;
                Ok(Tensor::cat(&[through(one, &x)?, through(three, &x)?], 1)?)
            }
        }
    }

    /// Pixels that `pixels` become along an axis, if they are enough.
    fn length(&self, pixels: usize) -> Option<usize> {
        match self {
            Self::Conv(conv) => {
                let kernel = *conv.weight.dims().last()?;
                Some((pixels + 2 * conv.padding).checked_sub(kernel)? / conv.stride + 1)
            }
            Self::Pool(pool) => pool.length(pixels),
            Self::Fire { .. } => Some(pixels),
        }
    }
}

/// The network that compares pictures.
#[derive(Debug)]
pub struct Lpips {
    backbone: Backbone,
    slices: Vec<Vec<Step>>,
    heads: Vec<Tensor>,
    device: Device,
}

/// What the network finds in one picture, as often as it is compared.
#[derive(Debug, Clone)]
pub struct Features {
    backbone: Backbone,
    /// Width and height of the picture.
    size: (u32, u32),
    /// `[1, c, h, w]` of each layer, of length 1 over `c`.
    layers: Vec<Tensor>,
}

impl Lpips {
    /// Opens torchvision's classifier (`trunk`) and the weights of its channels (`heads`), both safetensors files. It
    /// computes in float32, whatever type `compute` has.
    ///
    /// # Errors
    /// Files that are not there or cannot be read; tensors that are not there, of another shape, or not finite.
    pub fn open(backbone: Backbone, trunk: &Path, heads: &Path, compute: &Compute) -> Result<Self> {
        let compute = compute.in_f32();
        let files = [open_file(trunk, &backbone.hint())?, open_file(heads, &backbone.hint())?];
        let wanted =
            [Layout::of(|w| backbone.slices(&w.at("features")))?, Layout::of(|w| heads_of(backbone, w))?];
        let wrong = files.iter().zip(&wanted).zip([trunk, heads]).filter_map(|((files, wanted), path)| {
            let misfits = misfits(files, wanted);
            (!misfits.is_empty()).then(|| format!("`{}`: {}", path.display(), misfits.join(", ")))
        });
        let wrong: Vec<_> = wrong.collect();
        if !wrong.is_empty() {
            let message = format!("this is no LPIPS of `{}`: {}", backbone.name(), wrong.join("; "));
            return Err(Problem::new(message).hint(backbone.hint()).into());
        }
        let [trunk, heads] = files.each_ref().map(|files| FromFile { files, compute: &compute });
        Self::new(backbone, &trunk, &heads, &compute.device)
    }

    fn new(backbone: Backbone, trunk: &dyn Source, heads: &dyn Source, device: &Device) -> Result<Self> {
        let slices = backbone.slices(&Weights::new(trunk).at("features"))?;
        let heads = heads_of(backbone, &Weights::new(heads))?;
        Ok(Self { backbone, slices, heads, device: device.clone() })
    }

    /// What the network finds in a picture.
    ///
    /// # Errors
    /// A picture that is too small for the network.
    pub fn features(&self, picture: &RgbImage) -> Result<Features> {
        let (width, height) = picture.dimensions();
        let side = width.min(height) as usize;
        if !self.takes(side) {
            let least = (side..).find(|side| self.takes(*side)).unwrap_or(side);
            let name = self.backbone.name();
            let message = format!(
                "a picture of {width} x {height} is too small for `{name}`: a side has to have {least} pixels"
            );
            return Err(Problem::new(message).into());
        }
        let mut x = scaled(picture, &self.device)?;
        let mut layers = Vec::with_capacity(self.slices.len());
        for slice in &self.slices {
            for step in slice {
                x = step.forward(&x)?;
            }
            let length = x.sqr()?.sum_keepdim(1)?.sqrt()?; // [1, 1, h, w]
            layers.push(x.broadcast_div(&(length + EPSILON)?)?);
        }
        Ok(Features { backbone: self.backbone, size: (width, height), layers })
    }

    /// The distance of two pictures: 0 for a picture and itself, and seldom above 1.
    ///
    /// # Errors
    /// Pictures of different sizes, features of another network.
    pub fn distance(&self, a: &Features, b: &Features) -> Result<f64> {
        Ok(self.distance_per_layer(a, b)?.iter().sum())
    }

    /// What each layer adds to the distance of two pictures.
    ///
    /// # Errors
    /// As [`Self::distance`].
    pub fn distance_per_layer(&self, a: &Features, b: &Features) -> Result<Vec<f64>> {
        if a.size != b.size {
            let ((w, h), (other_w, other_h)) = (a.size, b.size);
            let message = format!(
                "only pictures of one size can be compared, but these are {w} x {h} and {other_w} x {other_h}"
            );
            return Err(Problem::new(message).hint("resize one of them first").into());
        }
        if let Some(other) = [a, b].into_iter().find(|one| one.backbone != self.backbone) {
            let (name, other) = (self.backbone.name(), other.backbone.name());
            return Err(Problem::new(format!("`{name}` cannot compare features of `{other}`")).into());
        }
        let layers = a.layers.iter().zip(&b.layers).zip(&self.heads);
        layers.map(|((a, b), head)| mean(&conv2d(&(a - b)?.sqr()?, head, None, 1, 0)?)).collect()
    }

    /// Whether every layer has something of a picture with a side of so many pixels.
    fn takes(&self, side: usize) -> bool {
        self.slices.iter().flatten().try_fold(side, |pixels, step| step.length(pixels)).is_some()
    }
}

/// The weight of every channel of every layer.
fn heads_of(backbone: Backbone, w: &Weights<'_>) -> Result<Vec<Tensor>> {
    let head = |(i, &c): (usize, &usize)| w.tensor(&format!("lin{i}.model.1.weight"), &[1, c, 1, 1]);
    backbone.widths().iter().enumerate().map(head).collect()
}

/// A picture as the networks take it, `[1, 3, h, w]`.
fn scaled(picture: &RgbImage, device: &Device) -> Result<Tensor> {
    let (w, h) = picture.dimensions();
    let plane = |c: usize| {
        picture.pixels().map(move |pixel| (f32::from(pixel.0[c]) / 127.5 - 1.0 - SHIFT[c]) / SCALE[c])
    };
    let planes: Vec<f32> = (0..3).flat_map(plane).collect();
    Ok(Tensor::from_vec(planes, (1, 3, h as usize, w as usize), device)?)
}

/// The mean of all numbers, taken in float64.
fn mean(x: &Tensor) -> Result<f64> {
    let numbers = x.flatten_all()?.to_vec1::<f32>()?;
    Ok(numbers.iter().map(|&x| f64::from(x)).sum::<f64>() / numbers.len() as f64)
}

/// A file of weights, if there is one.
fn open_file(path: &Path, hint: &str) -> Result<WeightFiles> {
    if !path.is_file() {
        return Err(Problem::new(format!("there is no file `{}`", path.display())).hint(hint).into());
    }
    WeightFiles::open_file(path)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;

    /// A network of zeros.
    fn zeros(backbone: Backbone) -> Lpips {
        Lpips::new(backbone, &Layout::default(), &Layout::default(), &Device::Cpu).unwrap()
    }

    #[test]
    fn a_picture_that_is_too_small_is_told_the_least_side() {
        for (backbone, least) in [(Backbone::Alex, 31), (Backbone::Vgg16, 16), (Backbone::Squeeze, 17)] {
            let told = zeros(backbone).features(&RgbImage::new(40, least - 1)).unwrap_err().to_string();
            assert!(told.contains(&format!("40 x {}", least - 1)), "{told}");
            assert!(told.contains(&format!("{least} pixels")), "{told}");
        }
        let features = zeros(Backbone::Alex).features(&RgbImage::new(31, 33)).unwrap();
        assert_eq!(features.layers[0].dims(), [1, 64, 7, 7]);
        assert_eq!(features.layers[4].dims(), [1, 256, 1, 1]);
    }

    #[test]
    fn pictures_of_two_sizes_have_no_distance() {
        let lpips = zeros(Backbone::Squeeze);
        let of = |w, h| lpips.features(&RgbImage::new(w, h)).unwrap();
        let told = lpips.distance(&of(20, 18), &of(18, 20)).unwrap_err().to_string();
        assert!(told.contains("20 x 18 and 18 x 20"), "{told}");
        assert_eq!(lpips.distance(&of(20, 18), &of(20, 18)).unwrap(), 0.0, "no length, and yet no NaN");
        let told = zeros(Backbone::Alex).distance(&of(20, 18), &of(20, 18)).unwrap_err().to_string();
        assert!(told.contains("`alex` cannot compare features of `squeeze`"), "{told}");
    }

    #[test]
    fn files_that_cannot_be_read_are_told_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let e = Lpips::open(Backbone::Alex, &path, &path, &Compute::cpu()).unwrap_err();
            (e.to_string(), Problem::hint_of(&e).unwrap_or_default().to_owned())
        };
        let (told, hint) = refused("old.pth", &[0x80, 2, 0x8a, 10]);
        assert!(told.contains("pickle") && hint.contains("safetensors"), "{told} {hint}");
        let (told, hint) = refused("torn.safetensors", b"PK");
        assert!(told.contains("torn.safetensors"), "{told} {hint}");
        let absent = folder.path().join("absent.pth");
        let e = Lpips::open(Backbone::Alex, &absent, &absent, &Compute::cpu()).unwrap_err();
        assert!(e.to_string().contains("there is no file"), "{e}");
        assert!(Problem::hint_of(&e).unwrap_or_default().contains("alexnet-owt-7be5be79.pth"), "{e}");
    }

    #[test]
    fn all_that_is_wrong_with_the_tensors_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.safetensors");
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F16, &Device::Cpu).unwrap();
        let tensors = [("features.0.weight", zeros(&[64, 3, 3, 3])), ("features.0.bias", zeros(&[64]))];
        candle_core::safetensors::save(&tensors.into_iter().collect(), &path).unwrap();
        let told = Lpips::open(Backbone::Alex, &path, &path, &Compute::cpu()).unwrap_err().to_string();
        for part in [
            "`features.0.weight` is [64, 3, 3, 3], expected [64, 3, 11, 11]",
            "`features.10.bias` [256] is missing",
        ] {
            assert!(told.contains(part), "{told}");
        }
        assert!(
            told.contains("`lin4.model.1.weight` [1, 256, 1, 1] is missing")
                && !told.contains("features.0.bias"),
            "{told}"
        );
    }
}
