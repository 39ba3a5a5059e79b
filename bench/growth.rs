//! How cost grows: with the size of a picture, the layers that are adapted, their rank, the adapters that are folded, and the
//! nodes of a graph.
//!
//! `cargo bench -p flow-nodes --bench growth -- FOLDER` draws a plot for each into `FOLDER` (`docs/performance`, for those of
//! the documentation), seconds on the left and memory on the right, and prints a table of what was fitted. It takes the
//! embedded model, on the CPU in float32, and about ten minutes; the machine should have nothing else to do.
//!
//! A point is the median of several times. What is fitted is `a xᵖ`, by least squares of the logarithms: over all points,
//! and over what comes on top of the first point, which says more where a part of the cost stays.

mod asked;
mod axes;
mod memory;
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
use flow_nodes::adapter::fold::Scales;
use flow_nodes::adapter::layers::Layers;
use flow_nodes::adapter::shape::{LayerShape, layers_among};
use flow_nodes::adapter::{Adapter, read, write};
use flow_nodes::model::{self, Model};
use flow_nodes::sample::Generator;
use flow_nodes::sdxl::{Checkpoint, Compute, Part};
use flow_nodes::train::method::{Lora, Para};
use memory::watched;
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

/// The median of seconds, and the most memory above the start in MiB.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    mib: f64,
}

/// What something costs, by how much of it there is.
struct Growth {
    file: &'static str,
    title: &'static str,
    /// Of what there is how much.
    of: &'static str,
    lines: Vec<(&'static str, Vec<(f64, Cost)>)>,
}

struct Bench {
    checkpoint: Checkpoint,
    compute: Compute,
}

fn measured<T>(mut work: impl FnMut() -> Result<T>) -> Result<Cost> {
    work()?; // warms up
    let (mut seconds, started) = (Vec::new(), Instant::now());
    let mut most = 0;
    while seconds.len() < TIMES || started.elapsed().as_secs_f64() < ENOUGH {
        let (result, mib, took) = watched(&mut work);
        result?;
        most = most.max(mib);
        seconds.push(took);
    }
    seconds.sort_by(f64::total_cmp);
    Ok(Cost { seconds: seconds[seconds.len() / 2], mib: most as f64 })
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
        Ok(Growth { file: "picture-size", title: "a picture by its size", of: "pixels each way", lines })
    }

    /// The layers of the paper's ExCA.
    fn layers(&self) -> Result<Vec<LayerShape>> {
        let selection = Layers::ExCA.compile()?;
        let shapes = self.checkpoint.weights(Part::Unet).shapes();
        let shapes: BTreeMap<_, _> = shapes.map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
        Ok(layers_among(&shapes).into_iter().filter(|layer| selection.holds(&layer.name)).collect())
    }

    /// The seconds of a step with a PaRa and with a LoRA of a rank on some layers.
    fn steps(&self, rank: usize, layers: &serde_json::Value) -> Result<[Cost; 2]> {
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
        Ok(Growth { file: "adapted-layers", title: "a training step by its layers", of: "layers", lines })
    }

    fn by_rank(&self) -> Result<Growth> {
        let (mut paras, mut loras) = (Vec::new(), Vec::new());
        for rank in RANKS {
            let [para, lora] = self.steps(rank, &serde_json::json!("ExCA"))?;
            paras.push((rank as f64, para));
            loras.push((rank as f64, lora));
        }
        let lines = vec![("PaRa on ExCA", paras), ("LoRA on ExCA", loras)];
        Ok(Growth { file: "rank", title: "a training step by rank", of: "rank", lines })
    }

    fn by_adapters(&self) -> Result<Growth> {
        let layers = self.layers()?;
        let pieces: [(&str, Adapter); 2] = [("PaRas", para(&layers)?), ("LoRAs", lora(&layers)?)];
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
        Ok(Growth {
            file: "folded-adapters",
            title: "folding by the adapters in turn",
            of: "adapters",
            lines,
        })
    }
}

/// A PaRa of rank 8.
fn para(layers: &[LayerShape]) -> Result<Adapter> {
    let mut noise = Generator::new(2);
    let spans = layers.iter().map(|layer| {
        Ok((format!("unet.{}.para_B", layer.name), noise.randn(&[layer.rows(), 8.min(layer.rows())])?))
    });
    made("para", &spans.collect::<Result<_>>()?)
}

/// A LoRA of rank 8.
fn lora(layers: &[LayerShape]) -> Result<Adapter> {
    let (mut noise, mut tensors) = (Generator::new(2), BTreeMap::new());
    for layer in layers {
        let down = [&[8], &layer.weight[1..]].concat();
        let up = [&[layer.rows(), 8][..], &vec![1; layer.weight.len() - 2]].concat();
        for (end, shape) in [("A", down), ("B", up)] {
            tensors.insert(format!("unet.{}.lora_{end}.weight", layer.name), (noise.randn(&shape)? * 0.01)?);
        }
    }
    made("lora", &tensors)
}

fn made(name: &str, tensors: &BTreeMap<String, candle_core::Tensor>) -> Result<Adapter> {
    Ok(read::of_bytes(name, flow_nodes::sdxl::write::bytes(tensors, &write::Metadata::new())?)?.into())
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
    Ok(Growth { file: "nodes", title: "a graph read, checked and run, by its nodes", of: "nodes", lines })
}

/// What a row of the table says of a quantity: from, to, and two exponents.
fn cells(points: &[(f64, f64)]) -> String {
    let ((_, first), (_, last)) = (points[0], points[points.len() - 1]);
    let above: Vec<_> = points[1..].iter().map(|&(x, y)| (x, y - first)).collect();
    let shown = |p: Option<f64>| p.map_or("-".to_owned(), |p| format!("{p:.2}"));
    format!("{first:.3} to {last:.3} | {} | {}", shown(exponent(points)), shown(exponent(&above)))
}

fn tell(growth: &Growth, folder: &Path) -> Result<()> {
    let Growth { file, title, of, lines } = growth;
    let of_cost = |get: fn(&Cost) -> f64| -> Vec<Line> {
        let points = |points: &[(f64, Cost)]| points.iter().map(|(x, cost)| (*x, get(cost))).collect();
        lines.iter().map(|(name, each)| Line { name, points: points(each) }).collect()
    };
    let (seconds, mib) = (of_cost(|cost| cost.seconds), of_cost(|cost| cost.mib));
    for (seconds, mib) in seconds.iter().zip(&mib) {
        let points = &seconds.points;
        println!(
            "| {title}: {} | {} to {} {of} | {} | {} |",
            seconds.name,
            points[0].0,
            points[points.len() - 1].0,
            cells(points),
            cells(&mib.points)
        );
    }
    let panels = [
        Panel { title: &format!("{title}: seconds"), x: of, y: "s", lines: &seconds },
        Panel { title: "memory above the start", x: of, y: "MiB", lines: &mib },
    ];
    axes::draw(&folder.join(format!("{file}.svg")), &panels)
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
    println!("| what grows | from .. to | seconds | exponent | on top | MiB | exponent | on top |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for growth in
        [Bench::by_size, Bench::by_layers, Bench::by_rank, Bench::by_adapters, |_: &Bench| by_nodes()]
    {
        tell(&growth(&bench)?, &folder)?;
    }
    Ok(())
}
