//! Sizes of adapters beside those of PaRa's paper, as tables.

use std::fmt::Write as _;

use flow_nodes::adapter::layers::Reading;
use flow_nodes::adapter::size_report::{PaperSize, RankSizes, Size, SizeReport, SubsetSizes};
use indicatif::{HumanBytes, HumanCount};

use super::table::{Column, table};

/// Three tables, and what to know of them.
pub fn sizes(report: &SizeReport) -> String {
    let (model, layers, gamma) = (report.model, report.layers, report.gamma);
    let (right, printed) = report.printed_sizes_that_come_out();
    let of_reading = |reading| report.subsets.iter().filter(move |subset| subset.reading == reading);
    let (files, words) = (of_reading(Reading::Files), of_reading(Reading::Words));
    let mut text =
        format!("{model}: {layers} linear layers and convolutions in the denoiser, gamma = {gamma}.\n");
    let as_the_papers = format!(
        "Files as the paper's: gamma on convolutions alone, and a pickle whose bytes per\n\
         layer are fitted. Of the sizes in its Table 3, {right} of {printed} come out:"
    );
    for (head, table) in [
        ("Safetensors in F16 with gamma on every layer, as equation 8 says:", bounded(files.clone())),
        ("The same of the paper's words for its subsets, Literal(ExCA) and so on:", bounded(words)),
        (as_the_papers.as_str(), papers(files)),
    ] {
        let _ = write!(text, "\n{head}\n\n{table}");
    }
    for note in &report.notes {
        let _ = write!(text, "\n{note}\n");
    }
    text
}

fn bounded<'a>(subsets: impl Iterator<Item = &'a SubsetSizes>) -> String {
    let columns = [
        Column::Words("subset"),
        Column::Number("layers"),
        Column::Number("rank"),
        Column::Number("PaRa\nparameters"),
        Column::Number("PaRa\nfile"),
        Column::Number("LoRA\nparameters"),
        Column::Number("LoRA\nfile"),
    ];
    let shown = |size: &Size| [number(size.parameters), HumanBytes(size.bytes as u64).to_string()];
    let sizes_at = |rank: &RankSizes| Some(rank.bounded.each().map(shown).concat());
    table(&columns, subsets.flat_map(|subset| rows(subset, sizes_at)))
}

fn papers<'a>(subsets: impl Iterator<Item = &'a SubsetSizes>) -> String {
    let columns = [
        Column::Words("subset"),
        Column::Number("layers"),
        Column::Number("rank"),
        Column::Number("PaRa\nparameters"),
        Column::Number("PaRa\nfile"),
        Column::Number("PaRa\npaper"),
        Column::Number("LoRA\nparameters"),
        Column::Number("LoRA\nfile"),
        Column::Number("LoRA\npaper"),
    ];
    let shown = |paper: &PaperSize| {
        [number(paper.size.parameters), paper.listed.clone(), paper.printed.unwrap_or("-").to_owned()]
    };
    let sizes_at = |rank: &RankSizes| Some(rank.paper.as_ref()?.each().map(shown).concat());
    table(&columns, subsets.flat_map(|subset| rows(subset, sizes_at)))
}

/// A row for each rank that has sizes; only the first one names the subset.
fn rows(subset: &SubsetSizes, sizes_at: impl Fn(&RankSizes) -> Option<Vec<String>>) -> Vec<Vec<String>> {
    let sized = subset.ranks.iter().filter_map(|rank| Some((rank.rank, sizes_at(rank)?)));
    let row = |(index, (rank, sizes)): (usize, (usize, Vec<String>))| {
        let [name, count] = match index {
            0 => [subset.subset.to_string(), subset.layers.to_string()],
            _ => Default::default(),
        };
        [vec![name, count, rank.to_string()], sizes].concat()
    };
    sized.enumerate().map(row).collect()
}

fn number(count: usize) -> String {
    HumanCount(count as u64).to_string()
}
