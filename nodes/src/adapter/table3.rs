//! The sizes that PaRa's authors print (arXiv 2406.05641, Tables 3 and 5), and the files that give them.
//!
//! With values of two bytes, gamma = 1/40 on convolutions alone (against their equation 8, and for LoRA too) and a file
//! as `torch.save` writes it, all 48 sizes of Table 3 come out. What such a file costs beside its values is fitted:
//! two numbers for each of the two. The values are not.

use super::bound::{Cap, Share};
use super::layers::Subset;
use super::sizes::{Kind, Outline};

/// The ranks of Table 3.
pub const RANKS: [usize; 3] = [2, 16, 128];

/// Table 3: per subset PaRa and LoRA at each of [`RANKS`].
const PRINTED: [(Subset, [[&str; 2]; 3]); 8] = [
    (Subset::ExCA, [["1.8M", "4.8M"], ["13M", "33M"], ["87M", "190M"]]),
    (Subset::ExSA, [["1.9M", "4.8M"], ["13M", "33M"], ["87M", "190M"]]),
    (Subset::SAO, [["1.6M", "3.1M"], ["11M", "21M"], ["82M", "163M"]]),
    (Subset::CAO, [["1.6M", "3.5M"], ["11M", "25M"], ["82M", "193M"]]),
    (Subset::FMT, [["3.4M", "8.2M"], ["23M", "58M"], ["169M", "382M"]]),
    (Subset::SCA, [["1.2M", "2.8M"], ["7.9M", "20M"], ["62M", "152M"]]),
    (Subset::ExCA_HL, [["276K", "700K"], ["1.9M", "5.0M"], ["14M", "30M"]]),
    (Subset::ExCA_HL_Last, [["6.9K", "53K"], ["42K", "403K"], ["82K", "803K"]]),
];

/// The size that Table 3 prints, if it has one.
pub fn printed(subset: Subset, kind: Kind, rank: usize) -> Option<&'static str> {
    let (_, sizes) = PRINTED.iter().find(|(other, _)| *other == subset)?;
    let column = RANKS.iter().position(|&other| other == rank)?;
    Some(match kind {
        Kind::PaRa => sizes[column][0],
        Kind::LoRA => sizes[column][1],
    })
}

/// What stands beside sizes at a rank that Table 3 leaves out.
pub const NOTE_ON_RANK_32: &str =
    "Rank 32 is not in Table 3. Table 5 prints 22M and 56M for ExCA, where these files are 24M and 62M.";

/// Where the paper's files bound the rank.
pub fn cap(gamma: Share) -> Cap {
    Cap::Convolutions(gamma)
}

/// What the paper's file of a subset takes, in bytes.
pub fn file_bytes(subset: Subset, kind: Kind, outline: &Outline) -> usize {
    let per_layer = match (kind, subset) {
        // Every tensor's path repeats the file's name, and `innoxattn` is two letters longer than `noxattn`.
        (Kind::PaRa, Subset::ExSA) => PARA_LAYER_BYTES + 4.0,
        (Kind::PaRa, _) => PARA_LAYER_BYTES,
        (Kind::LoRA, _) => LORA_LAYER_BYTES,
    };
    let values = VALUE_BYTES * outline.parameters();
    let container = FIXED_BYTES + per_layer * outline.layers() as f64;
    values + container.round_ties_even() as usize
}

/// Half precision.
const VALUE_BYTES: usize = 2;
/// Of a zip of tensors with a pickle; fitted, as the next two are.
const FIXED_BYTES: f64 = 900.0;
/// Names, headers and padding of one layer's tensors.
const PARA_LAYER_BYTES: f64 = 994.5;
const LORA_LAYER_BYTES: f64 = 1757.0;

/// A size as a long listing of files prints it: in binary units and rounded up, with a decimal below 10.
pub fn listed(bytes: usize) -> String {
    const KIB: usize = 1 << 10;
    let (unit, letter) = if bytes.div_ceil(KIB) < KIB { (KIB, 'K') } else { (KIB * KIB, 'M') };
    let tenths = (10 * bytes).div_ceil(unit);
    if tenths < 100 {
        format!("{}.{}{letter}", tenths / 10, tenths % 10)
    } else {
        format!("{}{letter}", bytes.div_ceil(unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::layers::{Layers, Reading};
    use crate::adapter::shape::LayerShape;
    use crate::adapter::testing::{part, read, sdxl_layers};

    fn file(subset: Subset, kind: Kind, rank: usize) -> usize {
        let selection = Layers::of(subset, Reading::Files).compile().unwrap();
        let layers: Vec<LayerShape> = sdxl_layers().into_iter().map(|known| known.layer).collect();
        let chosen = layers.iter().filter(|layer| selection.holds(&layer.name));
        let outline = Outline::of(kind, chosen, rank, cap(Share::fraction(1, 40).unwrap()));
        file_bytes(subset, kind, &outline)
    }

    #[test]
    fn all_48_sizes_of_table_3_come_out() {
        type Row = (String, usize, Kind, String, usize);
        let rows: Vec<Row> = part(&read("data/expected_sizes.json"), "table3");
        assert_eq!(rows.len(), 48);
        for (subset, rank, kind, paper, bytes) in rows {
            let subset = Subset::ALL.into_iter().find(|known| known.name() == subset).unwrap();
            let found = file(subset, kind, rank);
            assert_eq!(found, bytes, "{subset} {kind:?} {rank}");
            assert_eq!(listed(found), paper, "{subset} {kind:?} {rank}");
            assert_eq!(printed(subset, kind, rank), Some(paper.as_str()));
        }
    }

    #[test]
    fn table_3_has_no_rank_32() {
        assert_eq!(printed(Subset::ExCA, Kind::PaRa, 32), None);
    }

    #[test]
    fn a_size_is_rounded_up_and_has_a_decimal_below_ten() {
        let sizes = [1, 1024, 1025, 10_137, 10_138, 10_240, 10_241, (1 << 20) - 1, 1 << 20, 10 << 20];
        let listed: Vec<_> = sizes.into_iter().map(listed).collect();
        assert_eq!(listed, ["0.1K", "1.0K", "1.1K", "9.9K", "10K", "10K", "11K", "1.0M", "1.0M", "10M"]);
    }
}
