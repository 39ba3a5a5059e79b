//! What a file of weights is, as tables.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use flow_nodes::inspect::{AdapterInspection, Inspection, LayerInspection, Network, Tensors};
use indicatif::{HumanBytes, HumanCount};

use super::out::harmless;
use super::table::{Column, table};

/// Longer words in metadata are cut; JSON has them whole.
const LONGEST: usize = 60;

/// A line, and a table for each thing that there is.
pub fn inspection(file: &Inspection) -> String {
    let mut text = format!("{}: {}\n{}\n", harmless(&file.path), file.what, size(&file.total));
    if let Some(word) = &file.word {
        let [first, second] = word.widths;
        let token = harmless(&word.token);
        let _ = write!(
            text,
            "\nThe word `{token}`: {} vectors of {first} and {second} features.\n",
            word.vectors
        );
    }
    for note in &file.notes {
        text.push('\n');
        for line in note.lines() {
            let _ = writeln!(text, "{}", harmless(line));
        }
    }
    let mut add = |table: String| {
        let _ = write!(text, "\n{table}");
    };
    if !file.networks.is_empty() {
        add(networks(&file.networks));
    }
    if let Some(adapter) = &file.adapter {
        add(changed(adapter));
        add(layers(&adapter.layers));
    }
    if !file.metadata.is_empty() {
        let rows = file.metadata.iter().map(|(key, value)| vec![harmless(key), cut(&harmless(value))]);
        add(table(&[Column::Words("metadata"), Column::Words("")], rows));
    }
    text
}

fn size(total: &Tensors) -> String {
    let (tensors, parameters) = (total.tensors, HumanCount(total.parameters as u64));
    let tensors = if tensors == 1 { "1 tensor".to_owned() } else { format!("{tensors} tensors") };
    format!("{tensors}, {parameters} parameters in {}, {}", dtypes(&total.dtypes), bytes(total))
}

fn dtypes(dtypes: &BTreeSet<String>) -> String {
    dtypes.iter().map(String::as_str).collect::<Vec<_>>().join(" and ")
}

fn bytes(tensors: &Tensors) -> String {
    HumanBytes(tensors.bytes as u64).to_string()
}

fn networks(networks: &[Network]) -> String {
    let columns = [
        Column::Words("network"),
        Column::Number("tensors"),
        Column::Number("parameters"),
        Column::Number("size"),
        Column::Words("type"),
    ];
    let row = |Network { network, tensors }: &Network| {
        let count = HumanCount(tensors.parameters as u64).to_string();
        vec![harmless(network), tensors.tensors.to_string(), count, bytes(tensors), dtypes(&tensors.dtypes)]
    };
    table(&columns, networks.iter().map(row))
}

fn changed(adapter: &AdapterInspection) -> String {
    let columns =
        [Column::Words("network"), Column::Number("layers"), Column::Number("ranks"), Column::Number("norm")];
    let rows = adapter.networks.iter().map(|network| {
        let ranks = match network.ranks {
            Some([least, most]) if least < most => format!("{least}-{most}"),
            Some([rank, _]) => rank.to_string(),
            None => "-".to_owned(),
        };
        vec![network.network.to_owned(), network.layers.to_string(), ranks, norm(network.norm)]
    });
    table(&columns, rows)
}

/// A row for each layer; its name comes last, for it is the longest.
fn layers(layers: &[LayerInspection]) -> String {
    let columns = [
        Column::Number("rank"),
        Column::Number("norm"),
        Column::Words("type"),
        Column::Words("method"),
        Column::Words("layer"),
    ];
    let row = |layer: &LayerInspection| {
        let types: BTreeSet<_> = layer.tensors.iter().map(|tensor| tensor.dtype.clone()).collect();
        let name = match layer.changes {
            "bias" => format!("{}, its bias", harmless(&layer.layer)),
            _ => harmless(&layer.layer),
        };
        let rank = layer.rank.map_or("-".to_owned(), |rank| rank.to_string());
        vec![rank, norm(layer.norm), dtypes(&types), layer.method.to_owned(), name]
    };
    table(&columns, layers.iter().map(row))
}

fn norm(norm: Option<f64>) -> String {
    match norm {
        None => "no number".to_owned(),
        Some(norm) if norm != 0.0 && norm < 1e-3 => format!("{norm:.2e}"),
        Some(norm) => format!("{norm:.4}"),
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 2).chain("..".chars()).collect()
}
