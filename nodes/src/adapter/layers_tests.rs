//! Subsets against the masks that Python computed, and how they are read and written.

use flow_engine::Problem;
use ron::extensions::Extensions;

use super::*;
use crate::adapter::shape::layers_among;
use crate::adapter::testing::{part, read, sdxl_layers};
use crate::sdxl::weights::Layout;
use crate::sdxl::{Checkpoint, UNet};

/// As graphs are read.
fn from_ron(text: &str) -> Layers {
    ron::Options::default()
        .with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES | Extensions::IMPLICIT_SOME)
        .from_str(text)
        .unwrap()
}

fn every_subset() -> impl Iterator<Item = (Subset, Reading)> {
    Reading::ALL.into_iter().flat_map(|reading| Subset::ALL.map(|subset| (subset, reading)))
}

#[test]
fn every_subset_holds_the_layers_of_the_table_in_both_readings() {
    let known = sdxl_layers();
    assert_eq!(known.len(), 794);
    for (subset, reading) in every_subset() {
        let selection = Layers::of(subset, reading).compile().unwrap();
        for known in &known {
            let name = known.layer.name.as_str();
            assert_eq!(
                selection.holds(name),
                known.belongs_to(subset, reading),
                "{reading:?} {subset} {name}"
            );
        }
    }
}

#[test]
fn every_subset_has_as_many_layers_as_the_table_counts() {
    let (known, table) = (sdxl_layers(), read("data/sdxl_layers.json"));
    for (subset, reading) in every_subset() {
        let selection = Layers::of(subset, reading).compile().unwrap();
        let count = known.iter().filter(|known| selection.holds(&known.layer.name)).count();
        let expected: usize = part(&table["counts"][reading.name()], subset.name());
        assert_eq!(count, expected, "{reading:?} {subset}");
    }
}

#[test]
fn subsets_mean_the_same_on_a_small_sdxl() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/mini-sdxl");
    let checkpoint = Checkpoint::open(folder.as_ref()).unwrap();
    let layers = layers_among(&Layout::of(|w| UNet::new(checkpoint.unet_config(), w)).unwrap());
    let count = |subset, reading| {
        let selection = Layers::of(subset, reading).compile().unwrap();
        layers.iter().filter(|layer| selection.holds(&layer.name)).count()
    };
    assert_eq!(count(Subset::FMT, Reading::Words), layers.len());
    assert_eq!(count(Subset::ExCA, Reading::Files), 133);
    assert_eq!(count(Subset::SAO, Reading::Files), count(Subset::CAO, Reading::Files));
    assert!(Subset::ALL.into_iter().all(|subset| count(subset, Reading::Files) > 0));
}

#[test]
fn a_pattern_is_looked_for_anywhere_in_a_name() {
    let selection = from_ron(r#"Matching("attn1\\.to_[qk]$")"#).compile().unwrap();
    assert!(selection.holds("mid_block.attentions.0.transformer_blocks.3.attn1.to_q"));
    assert!(!selection.holds("mid_block.attentions.0.transformer_blocks.3.attn1.to_v"));
    assert!(!selection.holds("mid_block.attentions.0.transformer_blocks.3.attn2.to_q"));
}

#[test]
fn a_pattern_that_is_none_is_told_in_one_line() {
    let error = Layers::Matching("attn[12".into()).compile().unwrap_err();
    assert_eq!(error.to_string(), "`attn[12` is no regular expression: unclosed character class");
    assert!(Problem::hint_of(&error).unwrap().contains("\"attn1\""));
    let error = Layers::Matching("(?:a{1000}){1000}".into()).compile().unwrap_err().to_string();
    assert!(error.contains("exceeds size limit") && error.lines().count() == 1, "{error}");
}

#[test]
fn names_are_read_as_graphs_write_them_and_shown_as_the_paper_does() {
    for (graph, text) in [
        ("ExCA", "ExCA"),
        ("ExCA_HL", "ExCA-HL"),
        ("ExCA_HL_Last", "ExCA-HL-Last"),
        ("Literal(ExCA_HL)", "Literal(ExCA-HL)"),
        (r#"Matching("a\\.b")"#, r#"Matching("a\\.b")"#),
    ] {
        let layers = from_ron(graph);
        assert_eq!(layers.to_string(), text);
        assert_eq!(ron::to_string(&layers).unwrap(), graph);
    }
    for (subset, reading) in every_subset() {
        assert_eq!(Layers::of(subset, reading).subset(), Some((subset, reading)));
    }
}

#[test]
fn only_names_that_mean_layers_of_another_kind_than_the_words_say_so() {
    let noted: Vec<_> = every_subset()
        .map(|(subset, reading)| Layers::of(subset, reading))
        .filter(|layers| layers.note().is_some())
        .collect();
    assert_eq!(noted, [Layers::ExSA, Layers::SCA]);
}
