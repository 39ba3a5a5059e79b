//! How large PaRa and LoRA are on SDXL base 1.0, subset by subset: what `flow inspect --sizes sdxl` shows.

use flow_engine::Result;
use safetensors::Dtype;
use serde::{Serialize, Serializer};

use super::bound::{Cap, Share};
use super::layers::{Layers, Reading, Subset};
use super::shape::{LayerShape, layers_among};
use super::sizes::{Kind, Outline};
use super::table3;
use crate::sdxl::base_config;

/// The ranks that are shown.
const RANKS: [usize; 4] = [2, 16, 32, 128];

/// Sizes on every subset of the paper.
#[derive(Debug, Clone, Serialize)]
pub struct SizeReport {
    /// Whose layers.
    pub model: &'static str,
    /// Linear layers and convolutions of its denoiser.
    pub layers: usize,
    /// The share that bounds a rank.
    pub gamma: Share,
    /// Every subset by the paper's files, and then every one by its words.
    pub subsets: Vec<SubsetSizes>,
    /// What a reader of the numbers should know.
    pub notes: Vec<String>,
}

/// Sizes on one subset.
#[derive(Debug, Clone, Serialize)]
pub struct SubsetSizes {
    /// As a person writes it: `ExCA-HL`, or `Literal(ExCA-HL)`.
    pub name: String,
    /// The paper's name.
    #[serde(serialize_with = "as_text")]
    pub subset: Subset,
    /// What the name stands for.
    pub reading: Reading,
    /// Layers in it.
    pub layers: usize,
    /// A row for every rank.
    pub ranks: Vec<RankSizes>,
}

/// Sizes at one rank.
#[derive(Debug, Clone, Serialize)]
pub struct RankSizes {
    /// The rank that is wanted.
    pub rank: usize,
    /// With the bound on every layer, as safetensors in half precision.
    pub bounded: Both<Size>,
    /// As the paper's files are; only for subsets that are read by them.
    pub paper: Option<Both<PaperSize>>,
}

/// The same of both kinds.
#[derive(Debug, Clone, Serialize)]
pub struct Both<T> {
    /// Of PaRa.
    pub para: T,
    /// Of LoRA.
    pub lora: T,
}

/// The size of one adapter.
#[derive(Debug, Clone, Serialize)]
pub struct Size {
    /// Layers that the bound leaves a rank.
    pub layers: usize,
    /// Values in the file.
    pub parameters: usize,
    /// The file's size.
    pub bytes: usize,
}

/// The size of an adapter as its authors keep it.
#[derive(Debug, Clone, Serialize)]
pub struct PaperSize {
    /// What was computed.
    #[serde(flatten)]
    pub size: Size,
    /// The file's size as the paper prints sizes.
    pub listed: String,
    /// What the paper prints, if it does.
    pub printed: Option<&'static str>,
}

fn as_text<S: Serializer>(subset: &Subset, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(subset.name())
}

impl<T> Both<T> {
    fn of(mut one: impl FnMut(Kind) -> Result<T>) -> Result<Self> {
        Ok(Self { para: one(Kind::PaRa)?, lora: one(Kind::LoRA)? })
    }

    /// PaRa's first.
    pub fn each(&self) -> [&T; 2] {
        [&self.para, &self.lora]
    }
}

impl SizeReport {
    /// Of SDXL base 1.0, from its built-in configuration: no weights are read.
    ///
    /// # Errors
    /// None that a program whose tests pass can have.
    pub fn of_sdxl() -> Result<Self> {
        let (layers, gamma) = (layers_among(&base_config::unet_shapes()?), Share::fraction(1, 40)?);
        let sets = Reading::ALL.into_iter().flat_map(|reading| Subset::ALL.map(|subset| (subset, reading)));
        let sizes = sets.map(|(subset, reading)| SubsetSizes::of(subset, reading, &layers, gamma));
        let notes = Subset::ALL.iter().filter_map(|&subset| Layers::of(subset, Reading::Files).note());
        Ok(Self {
            model: "SDXL base 1.0",
            layers: layers.len(),
            gamma,
            subsets: sizes.collect::<Result<_>>()?,
            notes: notes.chain([table3::NOTE_ON_RANK_32]).map(str::to_owned).collect(),
        })
    }

    /// How many of the sizes that the paper prints come out, and how many it prints.
    pub fn printed_sizes_that_come_out(&self) -> (usize, usize) {
        let papers =
            self.subsets.iter().flat_map(|subset| &subset.ranks).filter_map(|rank| rank.paper.as_ref());
        let printed = papers.flat_map(Both::each).filter_map(|size| Some(size.printed? == size.listed));
        printed.fold((0, 0), |(right, all), comes_out| (right + usize::from(comes_out), all + 1))
    }
}

impl SubsetSizes {
    fn of(subset: Subset, reading: Reading, layers: &[LayerShape], gamma: Share) -> Result<Self> {
        let named = Layers::of(subset, reading);
        let selection = named.compile()?;
        let chosen: Vec<_> = layers.iter().filter(|layer| selection.holds(&layer.name)).cloned().collect();
        let sizes_at = |rank| {
            let in_files = || Both::of(|kind| Ok(paper_size(subset, kind, &chosen, rank, gamma)));
            Ok(RankSizes {
                rank,
                bounded: Both::of(|kind| bounded_size(kind, &chosen, rank, gamma))?,
                paper: (reading == Reading::Files).then(in_files).transpose()?,
            })
        };
        let ranks = RANKS.into_iter().map(sizes_at).collect::<Result<_>>()?;
        Ok(Self { name: named.to_string(), subset, reading, layers: chosen.len(), ranks })
    }
}

fn bounded_size(kind: Kind, layers: &[LayerShape], rank: usize, gamma: Share) -> Result<Size> {
    let outline = Outline::of(kind, layers, rank, Cap::Everywhere(gamma));
    Ok(size(&outline, outline.file_bytes(Dtype::F16)?))
}

fn paper_size(subset: Subset, kind: Kind, layers: &[LayerShape], rank: usize, gamma: Share) -> PaperSize {
    let outline = Outline::of(kind, layers, rank, table3::cap(gamma));
    let bytes = table3::file_bytes(subset, kind, &outline);
    PaperSize {
        size: size(&outline, bytes),
        listed: table3::listed(bytes),
        printed: table3::printed(subset, kind, rank),
    }
}

fn size(outline: &Outline, bytes: usize) -> Size {
    Size { layers: outline.layers(), parameters: outline.parameters(), bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_both_readings_and_every_size_of_the_paper() {
        let report = SizeReport::of_sdxl().unwrap();
        assert_eq!((report.layers, report.subsets.len()), (794, 16));
        assert_eq!(report.printed_sizes_that_come_out(), (48, 48));
        let read_by_words = report.subsets.iter().filter(|subset| subset.reading == Reading::Words);
        assert!(read_by_words.flat_map(|subset| &subset.ranks).all(|rank| rank.paper.is_none()));
    }
}
