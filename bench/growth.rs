//! How cost grows: with the size of a picture, the layers that are adapted, their rank, the adapters that are folded, and the
//! nodes of a graph.
//!
//! `cargo bench -p flow-nodes --bench growth -- FOLDER` draws a plot of seconds for each into `FOLDER`, and prints a table
//! of what was fitted. It takes the embedded model, on the CPU in float32, and a quarter of an hour, most of it for pictures
//! of 1024 pixels; the machine should have nothing else to do. `picture-size`, `adapted-layers`, `rank`, `folded-adapters`
//! and `nodes` choose some of them.
//!
//! A point is the median of several times. What is fitted is `a xᵖ`, by least squares of the logarithms: over all points,
//! and over what comes on top of the first point, which says more where a part of the cost stays.

mod asked;
mod axes;
mod noise_adapters;
mod passing;
mod training;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use axes::{Line, Panel, exponent};
use flow_engine::{
    Device, Digest, Document, Dtype, Graph, NodeType, Project, Ready, Registry, Result, Run, Session,
    Settings, Status, Wanted, read_ron,
};
use flow_nodes::adapter::Adapter;
use flow_nodes::adapter::fold::Scales;
use flow_nodes::adapter::layers::Layers;
use flow_nodes::adapter::shape::{LayerShape, layers_among};
use flow_nodes::model::{self, Model};
use flow_nodes::sdxl::{Checkpoint, Compute, Part};
use flow_nodes::train::method::{Lora, Para};
use passing::{Pass, graph_text};
use training::Training;

/// Times of a point, at least; more, until [`ENOUGH`] seconds are over.
const TIMES: usize = 3;
const ENOUGH: f64 = 1.0;
const SIZES: [usize; 5] = [64, 128, 256, 512, 1024];
const LAYERS: [usize; 5] = [1, 4, 16, 64, usize::MAX];
const RANKS: [usize; 6] = [1, 2, 4, 8, 16, 32];
const ADAPTERS: [usize; 5] = [1, 2, 4, 8, 16];
const NODES: [usize; 5] = [10, 100, 1_000, 3_000, 10_000];

/// What something costs, by how much of it there is.
struct Growth {
    title: &'static str,
    /// Of what there is how much.
    of: &'static str,
    lines: Vec<(&'static str, Vec<(f64, f64)>)>,
}

/// Measures how something grows.
type Measure = fn(&Bench) -> Result<Growth>;

struct Bench {
    checkpoint: Checkpoint,
    compute: Compute,
}

fn measured<T>(mut work: impl FnMut() -> Result<T>) -> Result<f64> {
    work()?; // warms up
    let (mut seconds, started) = (Vec::new(), Instant::now());
    while seconds.len() < TIMES || started.elapsed().as_secs_f64() < ENOUGH {
        let begun = Instant::now();
        let result = work()?;
        seconds.push(begun.elapsed().as_secs_f64());
        drop(result);
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[seconds.len() / 2])
}

impl Bench {
    fn by_size(&self) -> Result<Growth> {
        let (unet, vae) =
            (self.checkpoint.load_unet(&self.compute)?, self.checkpoint.load_vae(&self.compute)?);
        let (mut steps, mut decodes) = (Vec::new(), Vec::new());
        for size in SIZES {
            let latents = asked::latents(&self.checkpoint, size)?;
            let denoiser = asked::guided(&self.checkpoint, &unet, size)?;
            steps.push((size as f64, measured(|| denoiser.predict(&latents, 500.0))?));
            decodes.push((size as f64, measured(|| vae.decode(&latents))?));
        }
        let lines = vec![("denoiser step with guidance", steps), ("decode", decodes)];
        Ok(Growth { title: "a picture by its size", of: "pixels each way", lines })
    }

    /// The layers of the paper's ExCA.
    fn layers(&self) -> Result<Vec<LayerShape>> {
        let selection = Layers::ExCA.compile()?;
        let shapes = self.checkpoint.weights(Part::Unet).shapes();
        let shapes: BTreeMap<_, _> = shapes.map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
        Ok(layers_among(&shapes).into_iter().filter(|layer| selection.holds(&layer.name)).collect())
    }

    /// The seconds of a step with a PaRa and with a LoRA of a rank on some layers.
    fn steps(&self, rank: usize, layers: &serde_json::Value) -> Result<[f64; 2]> {
        let para: Para = serde_json::from_value(
            serde_json::json!({ "rank": rank, "bound": "Nowhere", "layers": layers }),
        )?;
        let lora: Lora = serde_json::from_value(serde_json::json!({ "rank": rank, "layers": layers }))?;
        let methods: [&dyn flow_nodes::train::method::Method; 2] = [&para, &lora];
        let [para, lora] = methods.map(|method| {
            let training = Training {
                checkpoint: &self.checkpoint,
                method,
                size: 64,
                recomputes: false,
                compute: self.compute.clone(),
            };
            training.run(|trainer| measured(|| trainer.step()))
        });
        Ok([para?, lora?])
    }

    fn by_layers(&self) -> Result<Growth> {
        let layers = self.layers()?;
        let (mut paras, mut loras) = (Vec::new(), Vec::new());
        for count in LAYERS.map(|count| count.min(layers.len())) {
            let names: Vec<_> = layers[..count].iter().map(|layer| layer.name.replace('.', r"\.")).collect();
            let only = serde_json::json!({ "Matching": format!("^({})$", names.join("|")) });
            let [para, lora] = self.steps(8, &only)?;
            paras.push((count as f64, para));
            loras.push((count as f64, lora));
        }
        let lines = vec![("PaRa of rank 8", paras), ("LoRA of rank 8", loras)];
        Ok(Growth { title: "a training step by its layers", of: "layers", lines })
    }

    fn by_rank(&self) -> Result<Growth> {
        let (mut paras, mut loras) = (Vec::new(), Vec::new());
        for rank in RANKS {
            let [para, lora] = self.steps(rank, &serde_json::json!("ExCA"))?;
            paras.push((rank as f64, para));
            loras.push((rank as f64, lora));
        }
        let lines = vec![("PaRa on ExCA", paras), ("LoRA on ExCA", loras)];
        Ok(Growth { title: "a training step by rank", of: "rank", lines })
    }

    fn by_adapters(&self) -> Result<Growth> {
        let layers = self.layers()?;
        let pieces: [(&str, Adapter); 2] = [
            ("PaRas", noise_adapters::para(&layers, 8)?.into()),
            ("LoRAs", noise_adapters::lora(&layers, 8)?.into()),
        ];
        let mut lines = Vec::new();
        for (name, adapter) in pieces {
            let mut points = Vec::new();
            for count in ADAPTERS {
                let base = Model::new(self.checkpoint.clone(), Digest::of(b"mini"));
                let model =
                    (0..count).try_fold(base, |model, _| model.with(&adapter, Scales::both(1.0), false))?;
                points.push((count as f64, measured(|| model.build_unet(&self.compute))?));
            }
            lines.push((name, points));
        }
        Ok(Growth { title: "folding by the adapters in turn", of: "adapters", lines })
    }
}

/// A chain of nodes that do nothing: read, checked and run.
fn by_nodes() -> Result<Growth> {
    let settings = Settings { device: Device::Cpu, dtype: Dtype::F32 };
    let session = Session::new(Registry::new(1, vec![NodeType::of::<Pass>()]), settings, Project::current());
    let points = NODES.map(|count| {
        let text = graph_text(count, |i| if i == 0 { vec![] } else { vec![i - 1] });
        let run = || {
            let source = read_ron(Document::new("bench.ron", text.clone()), &[], &session.registry);
            let graph = Graph::new(source, &session.registry)
                .map_err(|problems| anyhow::anyhow!("{} mistakes", problems.len()))?;
            let ready = Ready::unchecked(graph, Wanted::default());
            anyhow::ensure!(Run::new(&ready, &session).execute().status == Status::Done, "a node failed");
            Ok(())
        };
        Ok((count as f64, measured(run)?))
    });
    let points = points.into_iter().collect::<Result<_>>()?;
    let lines = vec![("a chain", points)];
    Ok(Growth { title: "a graph read, checked and run, by its nodes", of: "nodes", lines })
}

/// What a row of the table says of a quantity: from, to, and two exponents.
fn cells(points: &[(f64, f64)]) -> String {
    let ((_, first), (_, last)) = (points[0], points[points.len() - 1]);
    let above: Vec<_> = points[1..].iter().map(|&(x, y)| (x, y - first)).collect();
    let shown = |p: Option<f64>| p.map_or("-".to_owned(), |p| format!("{p:.2}"));
    format!("{first:.3} to {last:.3} | {} | {}", shown(exponent(points)), shown(exponent(&above)))
}

fn tell(growth: &Growth, file: &Path) -> Result<()> {
    let Growth { title, of, lines } = growth;
    for (name, points) in lines {
        let (from, to) = (points[0].0, points[points.len() - 1].0);
        println!("| {title}: {name} | {from} to {to} {of} | {} |", cells(points));
    }
    let lines: Vec<_> = lines.iter().map(|(name, points)| Line { name, points: points.clone() }).collect();
    axes::draw(file, &Panel { title, x: of, y: "seconds", lines: &lines })
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // Called as a test.
    if !words.iter().any(|word| word == "--bench") {
        return Ok(());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let said = words.iter().find(|word| !word.starts_with("--"));
    let folder: PathBuf = root.join(said.map_or("target/bench/growth", String::as_str));
    std::fs::create_dir_all(&folder)?;
    // As the program settles them: what products are worth threads, too.
    let compute = model::compute(flow_nodes::settle(Some(Device::Cpu), None)?)?;
    let bench = Bench { checkpoint: Checkpoint::open(&root.join("models/mini-sdxl"))?, compute };
    println!("| what grows | from .. to | seconds | exponent | on top |");
    println!("| --- | --- | --- | --- | --- |");
    let growths: [(&str, Measure); 5] = [
        ("picture-size", Bench::by_size),
        ("adapted-layers", Bench::by_layers),
        ("rank", Bench::by_rank),
        ("folded-adapters", Bench::by_adapters),
        ("nodes", |_| by_nodes()),
    ];
    let is_said = |name: &str| words.iter().any(|word| word == name);
    let is_any_said = growths.iter().any(|(name, _)| is_said(name));
    for (name, growth) in growths.iter().filter(|(name, _)| !is_any_said || is_said(name)) {
        tell(&growth(&bench)?, &folder.join(format!("{name}.svg")))?;
    }
    Ok(())
}
