//! `flow inspect`: what it prints of sizes.

use serde_json::Value;

use super::{flow, root};

/// The cells of the row with this rank below a subset's name, in the table under a head.
fn row(text: &str, head: &str, subset: &str, rank: &str) -> Vec<String> {
    let table = text.lines().skip_while(|line| !line.contains(head));
    let mut rows = table.skip_while(|line| line.split_whitespace().next() != Some(subset));
    let first = rows.next().unwrap_or_else(|| panic!("no {subset} under {head:?}"));
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let first = cells(first)[2..].to_vec(); // without subset and count
    std::iter::once(first).chain(rows.map(cells)).find(|row| row[0] == rank).unwrap()
}

#[test]
fn sizes_of_sdxl_stand_beside_those_of_the_paper() {
    let call = flow(root(), &["inspect", "--sizes", "sdxl"]);
    assert_eq!((call.code, call.stderr.as_str()), (Some(0), ""));
    let text = call.stdout;
    assert!(text.contains("794 linear layers") && text.contains("48 of 48 come out"), "{text}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for (head, subset, rank, expected) in [
        ("equation 8", "ExCA", "2", "2 771,200 1.51 MiB 2,160,346 4.26 MiB"),
        ("equation 8", "ExCA", "128", "128 11,543,040 22.06 MiB 30,541,146 58.39 MiB"),
        ("Literal", "ExCA", "16", "16 18,444,800 35.25 MiB 36,142,588 69.14 MiB"),
        ("Table 3", "ExCA", "16", "16 6,128,640 13M 13M 16,873,306 33M 33M"),
        ("Table 3", "ExSA", "2", "2 771,200 1.9M 1.9M 2,160,346 4.8M 4.8M"),
        ("Table 3", "SAO", "32", "32 10,649,600 21M - 21,299,480 42M -"),
        ("Table 3", "ExCA-HL-Last", "128", "128 40,960 82K 82K 409,601 803K 803K"),
    ] {
        assert_eq!(row(&text, head, subset, rank), words(expected), "{subset} at {rank} under {head}");
    }
    assert!(text.contains("`Literal(ExSA)`") && text.contains("`Literal(SCA)`"), "{text}");
    let mut tables = text.lines().take_while(|line| !line.contains("`Literal"));
    assert!(tables.all(|line| line.chars().count() <= 80 && line.trim_end() == line), "{text}");
}

#[test]
fn sizes_are_json_for_programs() {
    let call = flow(root(), &["inspect", "--sizes", "sdxl", "--json"]);
    let report: Value = serde_json::from_str(&call.stdout).unwrap();
    assert_eq!((&report["layers"], &report["gamma"]), (&794.into(), &"1/40".into()));
    let subsets = report["subsets"].as_array().unwrap();
    assert_eq!(subsets.len(), 16);
    let literal = &subsets[8];
    assert_eq!((&literal["name"], &literal["reading"]), (&"Literal(ExCA)".into(), &"appendix_b".into()));
    assert_eq!(literal["ranks"][0]["bounded"]["para"]["bytes"], 4_692_264);
    assert!(literal["ranks"][0]["paper"].is_null());
    let last = &subsets[7]["ranks"][3];
    assert_eq!((&subsets[7]["subset"], &last["rank"]), (&"ExCA-HL-Last".into(), &128.into()));
    assert_eq!(
        (&last["paper"]["lora"]["bytes"], &last["paper"]["lora"]["printed"]),
        (&821_859.into(), &"803K".into())
    );
}

#[test]
fn a_model_that_is_not_known_is_told_with_the_one_that_is() {
    let call = flow(root(), &["inspect", "--sizes", "flux"]);
    assert!(call.code == Some(2) && call.stderr.contains("sdxl"), "{}", call.stderr);
}
