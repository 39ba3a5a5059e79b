//! Which layers of the denoiser an adapter works on: the paper's eight subsets by name, or a pattern.
//!
//! A subset goes by the names that diffusers gives to modules, so that it means the same at every depth and width.
//! The paper (PaRa, arXiv 2406.05641) says in its appendix B what its subsets are, and the sizes of its files (its
//! Table 3) say something else: the files hold no feed-forward, no projection around a transformer and no embedding.
//! The plain names are what it ran, so that results can be compared; [`Layers::Literal`] is what it says.

use std::fmt;

use flow_engine::{Problem, Result};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One of the paper's subsets.
#[expect(non_camel_case_types, reason = "graphs write the names of the paper, and RON takes no hyphens")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Subset {
    /// All but cross-attention.
    ExCA,
    /// All but self-attention.
    ExSA,
    /// Self-attention only.
    SAO,
    /// Cross-attention only.
    CAO,
    /// The full model.
    FMT,
    /// Queries and keys of cross-attention only.
    SCA,
    /// All but cross-attention, of the middle block only.
    ExCA_HL,
    /// The last convolution of the middle block only.
    ExCA_HL_Last,
}

/// The last convolution of the middle block, which has two residual blocks in every SDXL.
const LAST: &str = "mid_block.resnets.1.conv2";

impl Subset {
    /// All of them, in the order of the paper's Table 3.
    pub const ALL: [Self; 8] = [
        Self::ExCA,
        Self::ExSA,
        Self::SAO,
        Self::CAO,
        Self::FMT,
        Self::SCA,
        Self::ExCA_HL,
        Self::ExCA_HL_Last,
    ];

    /// As the paper writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExCA => "ExCA",
            Self::ExSA => "ExSA",
            Self::SAO => "SAO",
            Self::CAO => "CAO",
            Self::FMT => "FMT",
            Self::SCA => "SCA",
            Self::ExCA_HL => "ExCA-HL",
            Self::ExCA_HL_Last => "ExCA-HL-Last",
        }
    }

    /// Whether a layer is in it.
    fn holds(self, layer: &str, reading: Reading) -> bool {
        match reading {
            Reading::Files => self.holds_in_files(layer),
            Reading::Words => self.holds_in_words(layer),
        }
    }

    fn holds_in_files(self, layer: &str) -> bool {
        let adapted = ["attn1", "attn2", "resnets", "downsamplers", "upsamplers"];
        let is_adapted = adapted.iter().any(|module| within(layer, module));
        match self {
            // the option behind `ExSA` leaves out `attn2` as well, so that both files are the same
            Self::ExCA | Self::ExSA => is_adapted && !within(layer, "attn2"),
            Self::FMT => is_adapted,
            Self::SCA => within(layer, "attn2") && !within(layer, "to_out"),
            Self::ExCA_HL => is_adapted && within(layer, "mid_block") && !within(layer, "attn2"),
            Self::SAO | Self::CAO | Self::ExCA_HL_Last => self.holds_in_words(layer),
        }
    }

    fn holds_in_words(self, layer: &str) -> bool {
        let is_embedding = within(layer, "time_embedding") || within(layer, "add_embedding");
        match self {
            Self::ExCA => !within(layer, "attn2") && !is_embedding,
            Self::ExSA => !within(layer, "attn1"),
            Self::SAO => within(layer, "attn1"),
            Self::CAO => within(layer, "attn2"),
            Self::FMT => true,
            Self::SCA => within(layer, "attn2") && (within(layer, "to_q") || within(layer, "to_k")),
            Self::ExCA_HL => within(layer, "mid_block") && !within(layer, "attn2"),
            Self::ExCA_HL_Last => layer == LAST,
        }
    }
}

/// Whether a module is part of a layer's name.
fn within(layer: &str, module: &str) -> bool {
    layer.split('.').any(|part| part == module)
}

impl fmt::Display for Subset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a subset of the paper is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reading {
    /// By the sizes of the paper's files, which its Table 3 prints.
    #[serde(rename = "table3")]
    Files,
    /// By the words of its appendix B.
    #[serde(rename = "appendix_b")]
    Words,
}

impl Reading {
    /// Both, the one that the plain names mean first.
    pub const ALL: [Self; 2] = [Self::Files, Self::Words];

    /// As the metadata of an adapter's file names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Files => "table3",
            Self::Words => "appendix_b",
        }
    }
}

/// Which layers an adapter works on.
///
/// Only linear layers and convolutions of the denoiser are ever among them. The names are the paper's and mean the
/// layers that the sizes of its files prove; `Literal(..)` means its words.
#[expect(non_camel_case_types, reason = "graphs write the names of the paper, and RON takes no hyphens")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Layers {
    /// Self-attention, residual blocks and samplers: all that the paper trains but cross-attention.
    ExCA,
    /// The same layers as `ExCA`, self-attention among them: so the paper's files are, against its words.
    ExSA,
    /// Self-attention only.
    SAO,
    /// Cross-attention only.
    CAO,
    /// Attention of both kinds, residual blocks and samplers.
    FMT,
    /// Queries, keys and values of cross-attention; the paper's words leave out the values.
    SCA,
    /// `ExCA` in the middle block only.
    ExCA_HL,
    /// The last convolution of the middle block only.
    ExCA_HL_Last,
    /// One of the eight names by the words of the paper's appendix B, `Literal(ExCA)` say: there feed-forwards,
    /// projections and the outermost convolutions are layers too.
    Literal(Subset),
    /// Layers whose diffusers name a regular expression finds something in, `Matching("attn1\\.to_[qk]$")` say.
    Matching(String),
}

impl Layers {
    /// A subset of the paper in one of its readings.
    pub fn of(subset: Subset, reading: Reading) -> Self {
        if reading == Reading::Words {
            return Self::Literal(subset);
        }
        match subset {
            Subset::ExCA => Self::ExCA,
            Subset::ExSA => Self::ExSA,
            Subset::SAO => Self::SAO,
            Subset::CAO => Self::CAO,
            Subset::FMT => Self::FMT,
            Subset::SCA => Self::SCA,
            Subset::ExCA_HL => Self::ExCA_HL,
            Subset::ExCA_HL_Last => Self::ExCA_HL_Last,
        }
    }

    /// The subset of the paper that is meant and how it is read; none for a pattern.
    pub fn subset(&self) -> Option<(Subset, Reading)> {
        match self.meaning() {
            Meaning::Subset(subset, reading) => Some((subset, reading)),
            Meaning::Pattern(_) => None,
        }
    }

    fn meaning(&self) -> Meaning<'_> {
        let subset = match self {
            Self::ExCA => Subset::ExCA,
            Self::ExSA => Subset::ExSA,
            Self::SAO => Subset::SAO,
            Self::CAO => Subset::CAO,
            Self::FMT => Subset::FMT,
            Self::SCA => Subset::SCA,
            Self::ExCA_HL => Subset::ExCA_HL,
            Self::ExCA_HL_Last => Subset::ExCA_HL_Last,
            Self::Literal(subset) => return Meaning::Subset(*subset, Reading::Words),
            Self::Matching(pattern) => return Meaning::Pattern(pattern),
        };
        Meaning::Subset(subset, Reading::Files)
    }

    /// What a person who uses the name should know: that the paper's words mean layers of another kind.
    pub fn note(&self) -> Option<&'static str> {
        match self {
            Self::ExSA => Some(
                "ExSA means the layers that the paper's files hold, which are those of ExCA: it trains self-attention. \
                 The paper's words, all but self-attention, are `Literal(ExSA)`.",
            ),
            Self::SCA => Some(
                "SCA means the layers that the paper's files hold: queries, keys and values of cross-attention. \
                 The paper's words, queries and keys only, are `Literal(SCA)`.",
            ),
            _ => None,
        }
    }

    /// Makes ready to ask about many layers.
    ///
    /// # Errors
    /// A pattern that is no regular expression.
    pub fn compile(&self) -> Result<Selection> {
        Ok(Selection(match self.meaning() {
            Meaning::Subset(subset, reading) => Rule::Subset(subset, reading),
            Meaning::Pattern(pattern) => Rule::Matching(compiled(pattern)?),
        }))
    }
}

enum Meaning<'a> {
    Subset(Subset, Reading),
    Pattern(&'a str),
}

fn compiled(pattern: &str) -> Result<Regex> {
    Regex::new(pattern).map_err(|error| {
        // a drawing of the place, over several lines, and then the reason
        let told = error.to_string();
        let reason = told.lines().last().unwrap_or_default();
        let reason = reason.trim_start_matches("error: ").trim_end_matches('.');
        Problem::new(format!("`{pattern}` is no regular expression: {reason}"))
            .hint("write a part of the layers' names, such as \"attn1\" or \"mid_block.*conv\"")
            .into()
    })
}

/// As text writes it: `ExCA-HL`, `Literal(ExCA-HL)`.
impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning() {
            Meaning::Subset(subset, Reading::Files) => f.pad(subset.name()),
            Meaning::Subset(subset, Reading::Words) => f.pad(&format!("Literal({subset})")),
            Meaning::Pattern(pattern) => f.pad(&format!("Matching({pattern:?})")),
        }
    }
}

/// Says of every layer whether an adapter works on it.
#[derive(Debug, Clone)]
pub struct Selection(Rule);

#[derive(Debug, Clone)]
enum Rule {
    Subset(Subset, Reading),
    Matching(Regex),
}

impl Selection {
    /// Whether the layer of this diffusers name (`mid_block.resnets.1.conv2`) is chosen. Ask for linear layers and
    /// convolutions only: a norm has a name like theirs.
    pub fn holds(&self, layer: &str) -> bool {
        match &self.0 {
            Rule::Subset(subset, reading) => subset.holds(layer, *reading),
            Rule::Matching(pattern) => pattern.is_match(layer),
        }
    }
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
