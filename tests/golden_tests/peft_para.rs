//! The one other program that has PaRa: PEFT's DEFT tuner with `para=True`, on the embedded model.
//!
//! `bench/peft-para.sh` made the files; unlike the golden set they belong to `models/mini-sdxl`.

use candle_core::{DType, Device};
use flow_engine::Digest;
use flow_nodes::adapter::fold::Scales;
use flow_nodes::adapter::read;
use flow_nodes::model::Model;
use flow_nodes::sdxl::{Checkpoint, Compute, TextEmbeds};

use super::support::{close, repository};

/// float32 on both sides: PEFT's own error against float64 is of the size of ours.
const EPS: f64 = 5e-5;

#[test]
fn golden_a_para_of_pefts_gives_pefts_prediction() {
    let folder = repository().join("tests/data/peft-para");
    let golden = candle_core::safetensors::load(folder.join("expected.safetensors"), &Device::Cpu).unwrap();
    let base =
        Model::new(Checkpoint::open(&repository().join("models/mini-sdxl")).unwrap(), Digest::of(b"mini"));
    let para = read::open(&folder, Digest::of(b"peft")).unwrap();
    assert!(para.is("PaRa"));
    assert_eq!(para.layers().len(), 153);
    let reduced = base.with(&para.into(), Scales::both(1.0), false).unwrap();
    let text = TextEmbeds {
        prompt_embeds: golden["encoder_hidden_states"].clone(),
        pooled: golden["text_embeds"].clone(),
    };
    let t = golden["timestep"].to_dtype(DType::F32).unwrap();
    for (model, wanted) in [(&base, "eps.base"), (&reduced, "eps")] {
        let unet = model.build_unet(&Compute::cpu()).unwrap();
        let found = unet.forward(&golden["sample"], &t, &text, &golden["time_ids"]).unwrap();
        close(wanted, &found, &golden[wanted], EPS);
    }
}
