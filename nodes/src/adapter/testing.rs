//! What Python computed of the layers of SDXL base 1.0, for tests. The files lie in `tests/data`.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::layers::{Reading, Subset};
use super::shape::LayerShape;

/// A layer and where it belongs: a bit for every subset, in the order of [`Subset::ALL`].
pub(super) struct KnownLayer {
    pub(super) layer: LayerShape,
    in_the_words: u32,
    in_the_files: u32,
}

impl KnownLayer {
    pub(super) fn belongs_to(&self, subset: Subset, reading: Reading) -> bool {
        let place = Subset::ALL.iter().position(|&other| other == subset).unwrap();
        let mask = match reading {
            Reading::Files => self.in_the_files,
            Reading::Words => self.in_the_words,
        };
        mask >> place & 1 == 1
    }
}

pub(super) fn read(file: &str) -> Value {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
    serde_json::from_slice(&std::fs::read(folder.join(file)).unwrap()).unwrap()
}

pub(super) fn part<T: DeserializeOwned>(value: &Value, key: &str) -> T {
    serde_json::from_value(value[key].clone()).unwrap()
}

pub(super) fn sdxl_layers() -> Vec<KnownLayer> {
    type Row = (String, String, Vec<usize>, u8, u32, u32);
    let rows: Vec<Row> = part(&read("data/sdxl_layers.json"), "layers");
    let known = |(name, kind, weight, _, in_the_words, in_the_files): Row| {
        let layer = LayerShape { name, weight };
        assert_eq!(kind == "conv", layer.is_convolution());
        KnownLayer { layer, in_the_words, in_the_files }
    };
    rows.into_iter().map(known).collect()
}
