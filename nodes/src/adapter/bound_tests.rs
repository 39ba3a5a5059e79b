//! Ranks against the table of SDXL's shapes; how a share is read and written. The golden files are in `tests/golden_tests`.

use ron::extensions::Extensions;
use serde_json::{Value, from_value, json};

use super::*;
use crate::adapter::shape::LayerShape;
use crate::adapter::testing::{part, read};

fn share(text: &str) -> Share {
    text.parse().unwrap()
}

#[test]
fn bounds_of_every_shape_of_sdxl_are_those_of_the_table() {
    type Row = (String, Vec<usize>, usize, usize, usize);
    let rows: Vec<Row> = part(&read("data/expected_sizes.json"), "rank_bound");
    assert_eq!(rows.len(), 35);
    for (_, weight, twentieth, fortieth, eightieth) in rows {
        let layer = LayerShape { name: String::new(), weight };
        let bounds = ["1/20", "1/40", "1/80"].map(|gamma| rank_bound(share(gamma), layer.full_rank()));
        assert_eq!(bounds, [twentieth, fortieth, eightieth], "{:?}", layer.weight);
    }
}

#[test]
fn a_decimal_gives_what_its_fraction_gives() {
    for (decimal, fraction) in
        [(0.05, "1/20"), (0.025, "1/40"), (0.0125, "1/80"), (0.57, "57/100"), (1.0, "1/1")]
    {
        let decimal = Share::number(decimal).unwrap();
        assert!((0..=12_800).all(|rank| rank_bound(decimal, rank) == rank_bound(share(fraction), rank)));
    }
}

#[test]
fn a_bound_on_convolutions_leaves_linear_layers_alone() {
    let gamma = share("1/40");
    assert_eq!(Cap::Everywhere(gamma).on(false), Some(gamma));
    assert_eq!(Cap::Convolutions(gamma).on(true), Some(gamma));
    assert_eq!(Cap::Convolutions(gamma).on(false), None);
    assert_eq!(Cap::Nowhere.on(true), None);
}

#[test]
fn a_share_is_kept_as_it_was_written() {
    for written in [json!("1/40"), json!("2/80"), json!(0.025), json!(1.0)] {
        let share: Share = from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(share).unwrap(), written);
    }
    let options = ron::Options::default()
        .with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES | Extensions::IMPLICIT_SOME);
    for (written, expected) in [("\"1/40\"", "1/40"), ("0.025", "0.025"), ("1", "1"), ("\" 1 / 4 \"", "1/4")]
    {
        let found: Option<Share> = options.from_str(written).unwrap();
        assert_eq!(found, Some(share(expected)));
    }
}

#[test]
fn what_is_no_share_is_refused_in_words() {
    for number in [
        json!(0.0),
        json!(-0.5),
        json!(1.5),
        json!(0),
        json!(40),
        json!("0/40"),
        json!("41/40"),
        json!("1/0"),
    ] {
        let told = from_value::<Share>(number.clone()).unwrap_err().to_string();
        assert!(told.contains("more than 0 and at most 1"), "{number}: {told}");
    }
    for text in ["", "1/", "/40", "1/40/2", "a quarter", "-1/40", "NaN"] {
        let problem = text.parse::<Share>().unwrap_err();
        assert!(problem.to_string().contains(&format!("`{text}`")), "{problem}");
    }
    let told = from_value::<Share>(json!([1, 40])).unwrap_err().to_string();
    assert!(told.contains("expected a number such as 0.025, or a fraction in quotes"), "{told}");
}

#[test]
fn the_manual_calls_a_share_a_number_with_a_range() {
    let schema = Value::from(schemars::schema_for!(Share));
    assert_eq!(schema["type"], json!(["number", "string"]));
    assert_eq!((&schema["exclusiveMinimum"], &schema["maximum"]), (&json!(0), &json!(1)));
}
