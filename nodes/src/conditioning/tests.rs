//! Prompts through the embedded model, whose encoders read 32 tokens at once.

use candle_core::Tensor;
use flow_engine::{
    Device, Diagnostic, Document, Dtype, Event, Events, Project, Ready, Run, Session, Settings, read_ron,
};

use super::*;
use crate::adapter::textual_inversion::{self, TextualInversion};
use crate::model::TextPart;
use crate::registry;
use crate::sdxl::{Checkpoint, Compute, Part};

/// Tokens that the embedded model's encoders read at once.
const LENGTH: usize = 32;
/// More words than that.
const LONG: &str = "a photo of a red panda and a blue bear and a green frog and a pink pig and a grey cat and a \
                    white dog and an orange fox and a black crab and a brown owl on a yellow skateboard";

/// What came of one EncodePrompt.
struct Told {
    conditioning: Conditioning,
    warnings: Vec<String>,
}

fn session() -> Session {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Session::new(registry(), Settings { device: Device::Cpu, dtype: Dtype::F32 }, Project::at(root))
}

fn checked<T>(fields: &str, then: impl FnOnce(Result<Ready<'_>, Vec<Diagnostic>>, &Session) -> T) -> T {
    let nodes = format!(
        r#""base": LoadSDXL(path: "models/mini-sdxl"), "words": EncodePrompt(model: "base", {fields})"#
    );
    let session = session();
    let document = Document::new("graph.ron", format!("Graph(nodes: {{ {nodes} }})"));
    then(Ready::checked(read_ron(document, &[], &session.registry), &session), &session)
}

fn told(fields: &str) -> Told {
    checked(fields, |graph, session| {
        let graph = graph.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        let (events, receiver) = Events::channel();
        let outcome = Run { events, ..Run::new(&graph, session) }.execute();
        let events: Vec<_> = receiver.iter().map(|record| record.event).collect();
        let warnings = events.iter().filter_map(|event| match event {
            Event::Warning { message, .. } => Some(message.clone()),
            Event::NodeFailed { diagnostic, .. } => panic!("{diagnostic:?}"),
            _ => None,
        });
        let conditioning = outcome.results["words"].downcast::<Conditioning>().unwrap();
        Told { conditioning: (*conditioning).clone(), warnings: warnings.collect() }
    })
}

fn encoded(prompt: &str) -> Conditioning {
    told(&format!("prompt: {prompt:?}")).conditioning
}

/// The embedded model's tokenizers and text encoders.
fn mini() -> TextPart {
    let folder = session().project.path("models/mini-sdxl");
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let encoders = checkpoint.load_text_encoders(&Compute::cpu()).unwrap();
    TextPart { tokenizers: checkpoint.tokenizers().unwrap(), encoders }
}

/// The same with a new word `<v>` of `n` vectors.
fn mini_with_word(n: usize) -> TextPart {
    let checkpoint = Checkpoint::open(&session().project.path("models/mini-sdxl")).unwrap();
    let compute = Compute::cpu();
    let vectors = |i: usize| {
        let d = checkpoint.text_configs()[i].hidden_size;
        let values = (0..n * d).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        Tensor::from_vec(values, (n, d), &candle_core::Device::Cpu).unwrap()
    };
    let word = TextualInversion::new("<v>", &vectors(0), &vectors(1)).unwrap();
    let sources = [Part::TextEncoder, Part::TextEncoder2].map(|part| checkpoint.source(part, &compute));
    let (tokenizers, encoders) =
        textual_inversion::load(&checkpoint, [&sources[0], &sources[1]], &[&word]).unwrap();
    TextPart { tokenizers, encoders }
}

fn encoded_by(part: &TextPart, prompt: &str) -> TextEmbeds {
    let chunked = encode::Chunked::new(part, &emphasis::parse(prompt).unwrap()).unwrap();
    chunked.encode(part, chunked.count(), 0).unwrap()
}

/// The mistakes of a check: place and message.
fn mistakes(fields: &str) -> Vec<(String, String)> {
    checked(fields, |graph, _| {
        let place = |mistake: &Diagnostic| mistake.place.as_ref().unwrap().text().to_owned();
        let mistakes = graph.err().unwrap_or_default();
        mistakes.iter().map(|mistake| (place(mistake), mistake.message.clone())).collect()
    })
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    a.dims() == b.dims() && values(a) == values(b)
}

/// A chunk's features.
fn chunk(text: &TextEmbeds, index: usize) -> Tensor {
    text.prompt_embeds.narrow(1, index * LENGTH, LENGTH).unwrap()
}

fn chunks(text: &TextEmbeds) -> usize {
    text.prompt_embeds.dim(1).unwrap() / LENGTH
}

#[test]
fn a_short_prompt_is_one_chunk_and_exactly_what_the_encoders_say() {
    let told = encoded("a photo of a panda!!!");
    let part = mini();
    let (ids, ids_2) = part.tokenizers.encode(&["a photo of a panda!!!"]).unwrap();
    let plain = part.encoders.forward(&ids, &ids_2).unwrap();
    assert!(same(&told.positive.prompt_embeds, &plain.prompt_embeds));
    assert!(same(&told.positive.pooled, &plain.pooled));
    assert!(values(&told.negative.prompt_embeds).iter().all(|value| *value == 0.0));
}

#[test]
fn a_long_prompt_is_read_in_chunks_and_its_first_is_what_truncation_leaves() {
    let (long, cut) =
        (told(&format!("prompt: {LONG:?}")), told(&format!("prompt: {LONG:?}, truncate: true")));
    assert_eq!(long.warnings, [""; 0]);
    let (long, short) = (long.conditioning.positive, cut.conditioning.positive);
    assert!(chunks(&long) >= 2);
    assert_eq!(chunks(&short), 1);
    assert!(same(&chunk(&long, 0), &short.prompt_embeds));
    assert!(same(&long.pooled, &short.pooled));
    assert!(!same(&chunk(&long, 1), &chunk(&long, 0)));
}

#[test]
fn a_warning_says_which_words_were_cut() {
    let cut = told(&format!("prompt: \"panda\", negative_prompt: {LONG:?}, truncate: true"));
    let [warning] = &cut.warnings[..] else { panic!("{:?}", cut.warnings) };
    let rest = warning.strip_prefix("`negative_prompt` is too long, and its end is cut off: `").unwrap();
    let rest = rest.strip_suffix('`').unwrap();
    assert!(rest.len() > 20 && LONG.ends_with(rest), "{warning}");
    assert_eq!(told("prompt: \"a short one\", truncate: true").warnings, [""; 0]);
}

#[test]
fn every_chunk_is_encoded_as_if_it_stood_alone() {
    let words = mini().tokenizers.first.words(LONG).unwrap();
    let second = &LONG[words[LENGTH - 2].start..];
    let (long, alone) = (encoded(LONG).positive, encoded(second).positive);
    assert!(same(&chunk(&long, 1), &chunk(&alone, 0)), "of {second}");
    assert!(!same(&long.pooled, &alone.pooled));
}

#[test]
fn the_shorter_of_prompt_and_negative_prompt_is_filled_up_with_empty_chunks() {
    let empty = encoded("").positive;
    let told = told(&format!("prompt: \"panda\", negative_prompt: {LONG:?}")).conditioning;
    assert_eq!(chunks(&told.positive), chunks(&told.negative));
    assert!(same(&chunk(&told.positive, 1), &empty.prompt_embeds));
    assert!(same(&chunk(&told.positive, 0), &encoded("panda").positive.prompt_embeds));
    let zeros = encoded(LONG);
    assert_eq!(zeros.negative.prompt_embeds.dims(), zeros.positive.prompt_embeds.dims());
}

#[test]
fn the_encoder_with_fewer_chunks_reads_the_empty_text_at_the_end() {
    // Only the second tokenizer takes every `!` for a token, so a prompt full of them is longer to it.
    let part = mini();
    let mut chunked = encode::Chunked::new(&part, &emphasis::parse(LONG).unwrap()).unwrap();
    let count = chunked.count();
    chunked.chunks[0].truncate(1);
    assert_eq!(chunked.count(), count);
    let text = chunked.encode(&part, count, 0).unwrap();
    let (whole, empty) = (encoded(LONG).positive, encoded("").positive);
    let d = part.encoders.first.width();
    let first = |x: &Tensor| x.narrow(2, 0, d).unwrap();
    assert!(same(&first(&chunk(&text, 0)), &first(&chunk(&whole, 0))));
    assert!(same(&first(&chunk(&text, 1)), &first(&empty.prompt_embeds)));
    let second = |x: &Tensor| x.narrow(2, d, x.dim(2).unwrap() - d).unwrap();
    assert!(same(&second(&text.prompt_embeds), &second(&whole.prompt_embeds)));
}

#[test]
fn weights_move_the_words_that_they_stand_on_and_nothing_else() {
    let (plain, empty) = (encoded("a red panda").positive, encoded("").positive);
    let (strong, gone) = (encoded("a (red:1.5) panda").positive, encoded("a (red:0) panda").positive);
    assert!(same(&plain.pooled, &strong.pooled));
    let token = |text: &TextEmbeds, at: usize| text.prompt_embeds.narrow(1, at, 1).unwrap();
    for at in (0..LENGTH).filter(|&at| at != 2) {
        assert!(same(&token(&plain, at), &token(&strong, at)), "token {at}");
    }
    let (z, e, s) = (token(&plain, 2), token(&empty, 2), token(&strong, 2));
    let expected = (&e + ((z - &e).unwrap() * 1.5).unwrap()).unwrap();
    let off = |a: &Tensor, b: &Tensor| {
        values(a).iter().zip(values(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(off(&s, &expected) < 1e-5);
    assert!(off(&token(&gone, 2), &e) < 1e-5);
}

#[test]
fn a_weight_of_one_and_escaped_brackets_change_nothing() {
    let plain = encoded("a red panda");
    for prompt in ["a (red:1) panda", "((a red panda:0.5):2)"] {
        let weighed = encoded(prompt);
        assert!(same(&weighed.positive.prompt_embeds, &plain.positive.prompt_embeds), "{prompt}");
        assert!(same(&weighed.positive.pooled, &plain.positive.pooled), "{prompt}");
        assert!(weighed.digest() != plain.digest(), "a picture of `{prompt}` says so");
    }
    let (literal, bare) =
        (encoded(r"a red panda \(plush\)").positive, encoded("a red panda (plush)").positive);
    assert!(!same(&literal.prompt_embeds, &bare.prompt_embeds));
}

#[test]
fn clip_skip_counts_from_the_penultimate_block() {
    let skipped = |n: usize| told(&format!("prompt: \"panda\", clip_skip: {n}")).conditioning;
    assert_eq!(skipped(0).digest(), encoded("panda").digest());
    let features = |n: usize| skipped(n).positive.prompt_embeds;
    assert!(!same(&features(1), &features(0)));
    let found = mistakes("prompt: \"panda\", clip_skip: 12");
    assert_eq!(found[0].0, "12");
    assert!(found[0].1.starts_with("`clip_skip` is 12, but a text encoder has "), "{found:?}");
}

#[test]
fn sizes_are_the_pictures_own_unless_they_are_set() {
    let plain = encoded("panda");
    assert_eq!(plain.time_ids(64, 48), TimeIds::whole(64, 48));
    let set = told("prompt: \"panda\", original_size: (512, 768), crop: (1, 2)").conditioning;
    let ids = TimeIds { original: (512, 768), crop: (1, 2), target: (64, 48) };
    assert_eq!(set.time_ids(64, 48), ids);
    assert!(set.digest() != plain.digest());
    let target = told("prompt: \"panda\", target_size: (1, 3)").conditioning;
    assert_eq!(target.time_ids(64, 48).target, (1, 3));
}

#[test]
fn brackets_that_make_no_sense_are_found_before_anything_runs_at_their_field() {
    let long = format!("{}(bear", "word ".repeat(200));
    let found = mistakes(&format!("prompt: {long:?}, negative_prompt: \"(a:b)\""));
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].1, "the `(` at character 1001, `(bear`, is never closed");
    assert_eq!(found[1].0, "\"(a:b)\"");
    assert!(found[1].1.starts_with("the weight `b` before character 5"), "{found:?}");
}

#[test]
fn the_vectors_of_a_new_word_stay_in_one_chunk() {
    let part = mini_with_word(4);
    let filler = "a ".repeat(LENGTH - 2 - 3); // leaves room for three tokens
    for word in ["<v>", "(<v>:1.5)", "<v> <v>_1 <v>_2 <v>_3"] {
        let long = encoded_by(&part, &format!("{filler}{word} panda"));
        assert_eq!(chunks(&long), 2, "{word}");
        assert!(same(&chunk(&long, 0), &encoded_by(&part, &filler).prompt_embeds), "{word}");
        assert!(same(&chunk(&long, 1), &encoded_by(&part, &format!("{word} panda")).prompt_embeds), "{word}");
    }
    let fits = encoded_by(&part, &format!("{}<v>", "a ".repeat(LENGTH - 2 - 4)));
    assert_eq!(chunks(&fits), 1);
}

#[test]
fn a_weight_moves_every_vector_of_a_new_word() {
    let part = mini_with_word(2);
    let [plain, strong] = ["a <v> panda", "a (<v>:1.5) panda"].map(|prompt| encoded_by(&part, prompt));
    let token = |text: &TextEmbeds, at: usize| text.prompt_embeds.narrow(1, at, 1).unwrap();
    for at in 0..LENGTH {
        assert_eq!(same(&token(&plain, at), &token(&strong, at)), ![2, 3].contains(&at), "token {at}");
    }
    assert!(same(&plain.pooled, &strong.pooled));
}
