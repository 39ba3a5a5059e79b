//! Methods that differ in known ways.

use super::super::scores::tests::scores;
use super::table::{from_report, to_report};
use super::*;
use crate::report::Report;

fn method(name: &str, scores: Vec<Scores>) -> Method {
    Method { name: name.into(), scores }
}

#[test]
fn a_constant_difference_of_paired_seeds_is_certain_though_the_means_vary() {
    let methods = [method("base", vec![scores(0.0)]), method("PaRa", vec![scores(0.01)])];
    let compared = compare(&methods).unwrap();
    let difference = compared[1].difference.unwrap();
    assert!(difference.is_paired && difference.verdict() == "higher", "{difference:?}");
    assert!((difference.mean - 0.01).abs() < 1e-12);
    let interval = difference.interval.unwrap();
    assert!(interval.high - interval.low < 1e-9, "{interval:?}");
    assert!(compared[0].difference.is_none());
}

#[test]
fn other_seeds_are_compared_by_their_means_and_this_difference_is_noise() {
    let mut other = scores(0.01);
    other.pictures.iter_mut().for_each(|picture| picture.made.seed = picture.made.seed.map(|s| s + 100));
    let methods = [method("base", vec![scores(0.0)]), method("PaRa", vec![other])];
    let difference = compare(&methods).unwrap()[1].difference.unwrap();
    assert!(!difference.is_paired && difference.verdict() == "within noise", "{difference:?}");
    assert!((difference.mean - 0.01).abs() < 1e-12);
}

#[test]
fn a_comparison_comes_back_from_its_table() {
    let methods = [method("base", vec![scores(0.0)]), method("PaRa", vec![scores(0.01)])];
    let compared = compare(&methods).unwrap();
    let report = to_report("methods".into(), &compared, &methods);
    assert_eq!(from_report(&report).unwrap(), compared);
    assert_eq!(report.settings["CLIP"], "a judge");
    assert_eq!(from_report(&Report::default()), None);
}

#[test]
fn different_prompts_and_numbers_of_reports_are_refused() {
    let mut other = scores(0.0);
    other.pictures.iter_mut().for_each(|picture| picture.made.prompt = Some("a cat".into()));
    let said = |methods: &[Method]| compare(methods).unwrap_err().to_string();
    let told = said(&[method("base", vec![scores(0.0)]), method("PaRa", vec![other])]);
    assert!(told.contains("`a bear`") && told.contains("`a cat`"), "{told}");
    let told = said(&[method("base", vec![scores(0.0)]), method("PaRa", vec![])]);
    assert_eq!(told, "`base` has 1 reports and `PaRa` 0");
}

#[test]
fn other_judges_and_other_numbers_of_pictures_are_refused() {
    let said = |other: Scores| {
        let methods = [method("base", vec![scores(0.0)]), method("PaRa", vec![other])];
        compare(&methods).unwrap_err().to_string()
    };
    let settings = [("CLIP".to_owned(), "another".to_owned())].into();
    let told = said(Scores { settings, ..scores(0.0) });
    assert_eq!(told, "report 1 of `base` and of `PaRa` differ: CLIP is a judge and another");
    let mut fewer = scores(0.0);
    fewer.pictures.pop();
    let told = said(fewer);
    assert!(told.ends_with("runs of [3, 3] and of [3, 2] pictures"), "{told}");
}

#[test]
fn shared_seeds_and_measures_that_some_lack_are_told() {
    let mut more = scores(0.0);
    more.measures.push(Measure::ImageAlignment);
    more.pictures.iter_mut().for_each(|picture| picture.values.push(0.5));
    let methods = [method("base", vec![more, scores(0.0)]), method("PaRa", vec![scores(0.01), scores(0.01)])];
    let report = to_report("methods".into(), &compare(&methods).unwrap(), &methods);
    let notes = report.notes.join("\n");
    assert!(notes.contains("Reports share seeds"), "{notes}");
    assert!(
        notes.contains("Not compared: image alignment (CLIP), which was not measured of `base`, `PaRa`"),
        "{notes}"
    );
}
