//! CLIP's tokenizer: text to a fixed number of ids.
//!
//! From `tokenizer.json` where there is one, else from `vocab.json` and `merges.txt`, which then get the rules that
//! transformers' `CLIPTokenizer` puts around them.
//!
//! One trap is kept because SDXL pipelines have it: whatever token pads is a special token, so in the second tokenizer,
//! which pads with `!`, every `!` of a prompt is id 0, even inside `!!!`.

mod new_words;

use std::path::{Path, PathBuf};

use flow_engine::{Problem, Result};
use serde_json::{Value, json};
use tokenizers::AddedToken;

use self::new_words::NewWord;
use super::config::{self, SpecialToken, SpecialTokens, TokenizerConfig};

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
/// How CLIP cuts a text into words, before cutting words into tokens.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// The ids of several texts, `[texts][tokens]`.
pub type Ids = Vec<Vec<u32>>;

/// SDXL's two tokenizers.
#[derive(Debug, Clone)]
pub struct Tokenizers {
    /// Of the first text encoder.
    pub first: Tokenizer,
    /// Of the second text encoder.
    pub second: Tokenizer,
}

impl Tokenizers {
    /// The ids of prompts for each text encoder, `[prompts][tokens]` twice.
    pub fn encode<S: AsRef<str>>(&self, prompts: &[S]) -> Result<(Ids, Ids)> {
        let all = |tokenizer: &Tokenizer| {
            prompts.iter().map(|p| tokenizer.encode(p.as_ref())).collect::<Result<_>>()
        };
        Ok((all(&self.first)?, all(&self.second)?))
    }
}

/// One tokenizer.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    new_words: Vec<NewWord>,
    length: usize,
    start: u32,
    end: u32,
    pad: u32,
}

impl Tokenizer {
    /// Opens the folder of one tokenizer.
    ///
    /// # Errors
    /// Absent files, files that are not what they should be, special tokens that are not in the vocabulary.
    pub fn open(folder: &Path) -> Result<Self> {
        let config: TokenizerConfig = config::read(&folder.join("tokenizer_config.json"))?;
        let map = folder.join("special_tokens_map.json");
        let map: SpecialTokens =
            if map.is_file() { config::read_json(&map)? } else { SpecialTokens::default() };
        let token = |map: Option<SpecialToken>, config: Option<SpecialToken>, default: &str| {
            config.or(map).map_or_else(|| default.to_owned(), |token| token.text().to_owned())
        };
        let special = Special {
            start: token(map.bos_token, config.bos_token, START),
            end: token(map.eos_token, config.eos_token, END),
            pad: token(map.pad_token, config.pad_token, END),
        };

        let whole = folder.join("tokenizer.json");
        let (file, rules) = match whole.is_file() {
            true => (whole.clone(), config::read_json(&whole)?),
            false => (folder.join("vocab.json"), classic_rules(folder, &special)?),
        };
        Self::new(rules, &special, config.model_max_length)
            .map_err(|cause| Problem::new(format!("`{}` is no tokenizer: {cause:#}", file.display())).into())
    }

    /// One from the texts of a tokenizer's files; `name` is what an error calls them.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn from_texts(name: &str, config: &str, vocab: &str, merges: &str) -> Result<Self> {
        let config: TokenizerConfig = config::parse(config, name)?;
        let token = |token: &Option<SpecialToken>, default: &str| {
            token.as_ref().map_or(default, SpecialToken::text).to_owned()
        };
        let special = Special {
            start: token(&config.bos_token, START),
            end: token(&config.eos_token, END),
            pad: token(&config.pad_token, END),
        };
        let rules = rules(name, &config::parse_json(vocab, name)?, merges, &special)?;
        Self::new(rules, &special, config.model_max_length)
    }

    /// The files of a tokenizer's folder that decide its ids.
    pub fn files(folder: &Path) -> Vec<PathBuf> {
        let whole = folder.join("tokenizer.json").is_file();
        let rules: &[&str] = if whole { &["tokenizer.json"] } else { &["vocab.json", "merges.txt"] };
        let settings = ["tokenizer_config.json", "special_tokens_map.json"];
        rules.iter().chain(&settings).map(|name| folder.join(name)).filter(|file| file.is_file()).collect()
    }

    fn new(rules: Value, special: &Special, length: usize) -> Result<Self> {
        let mut inner: tokenizers::Tokenizer = serde_json::from_value(rules)?;
        inner.with_truncation(None).map_err(|cause| anyhow::anyhow!(cause))?;
        inner.with_padding(None);
        let special_tokens = [&special.start, &special.end, &special.pad];
        if let Some(absent) = special_tokens.iter().find(|token| inner.token_to_id(token).is_none()) {
            anyhow::bail!("its vocabulary lacks the special token `{absent}`");
        }
        let added = special_tokens.map(|token| AddedToken::from(token.as_str(), true));
        inner.add_special_tokens(added).map_err(|cause| anyhow::anyhow!(cause))?;
        let id = |token: &str| inner.token_to_id(token).unwrap_or_default();
        let [start, end, pad] = special_tokens.map(|token| id(token));
        Ok(Self { inner, new_words: Vec::new(), length, start, end, pad })
    }

    /// How many ids a text becomes.
    pub fn length(&self) -> usize {
        self.length
    }

    /// How many tokens of text fit between the start and the end.
    pub fn room(&self) -> usize {
        self.length.saturating_sub(2)
    }

    /// The ids of `text`: start, words, end, and padding to [`Self::length`]. What is too long loses its tail.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.framed(self.words(text)?.into_iter().map(|word| word.id)))
    }

    /// The ids of `text` from its start token to its end token, at most [`Self::length`].
    pub fn encode_unpadded(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids: Vec<u32> = self.words(text)?.into_iter().map(|word| word.id).collect();
        ids.truncate(self.room());
        ids.insert(0, self.start);
        ids.push(self.end);
        Ok(ids)
    }

    /// The tokens of `text`, however many, without start and end. A new word has one for each of its vectors.
    pub fn words(&self, text: &str) -> Result<Vec<Word>> {
        let encoding = self.inner.encode(text, false);
        let encoding =
            encoding.map_err(|cause| Problem::new(format!("cannot tokenize `{text}`: {cause}")))?;
        let (ids, mut words) = (encoding.get_ids(), Vec::<Word>::with_capacity(encoding.len()));
        for (i, (&id, &(start, _))) in ids.iter().zip(encoding.get_offsets()).enumerate() {
            words.push(Word { id, start, continues: self.continues(words.last(), id) });
            let written_out = ids.get(i + 1).is_some_and(|&next| next == id + 1);
            let behind = if written_out { 0..0 } else { self.vectors_behind(id) };
            words.extend(behind.map(|id| Word { id, start, continues: true }));
        }
        Ok(words)
    }

    /// Whether an id is the end token's, which also stands for what the vocabulary has no token for.
    pub fn is_end(&self, id: u32) -> bool {
        id == self.end
    }

    /// At most [`Self::room`] tokens of text with start, end and padding around them: [`Self::length`] ids.
    pub fn framed(&self, ids: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let words = ids.into_iter().take(self.room());
        let mut framed: Vec<u32> = [self.start].into_iter().chain(words).chain([self.end]).collect();
        framed.resize(self.length, self.pad);
        framed
    }
}

/// A token of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// Its id.
    pub id: u32,
    /// Where in the text it starts, in bytes.
    pub start: usize,
    /// Whether it is a further vector of the new word before it, from which it should not be parted.
    pub continues: bool,
}

/// The tokens that are not words.
struct Special {
    start: String,
    end: String,
    pad: String,
}

/// What `tokenizer.json` would say, from the files that came before it.
fn classic_rules(folder: &Path, special: &Special) -> Result<Value> {
    let (vocab_file, merges_file) = (folder.join("vocab.json"), folder.join("merges.txt"));
    let vocab: Value = config::read_json(&vocab_file)?;
    let merges = config::text(&merges_file)?;
    rules(&vocab_file.display().to_string(), &vocab, &merges, special)
}

/// The rules around a vocabulary, which an error calls `name`, and its merges.
fn rules(name: &str, vocab: &Value, merges: &str, special: &Special) -> Result<Value> {
    let id = |token: &str| {
        vocab
            .get(token)
            .and_then(Value::as_u64)
            .ok_or_else(|| Problem::new(format!("`{name}` lacks the special token `{token}`")))
    };
    let (start, end) = (id(&special.start)?, id(&special.end)?);
    let merges: Vec<&str> =
        merges.lines().filter(|line| !line.starts_with("#version") && !line.is_empty()).collect();
    Ok(json!({
        "version": "1.0",
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFC" },
            { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " },
            { "type": "Lowercase" },
        ]},
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": WORDS }, "behavior": "Removed", "invert": true },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        ]},
        "post_processor": {
            "type": "RobertaProcessing",
            "sep": [special.end, end], "cls": [special.start, start],
            "trim_offsets": false, "add_prefix_space": false,
        },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": special.end, "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>", "fuse_unk": false, "byte_fallback": false,
            "vocab": vocab, "merges": merges,
        },
    }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn mini(folder: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini-sdxl").join(folder)
    }

    /// A copy of a tokenizer's folder with other bytes in one file.
    fn spoiled(file: &str, bytes: Option<&str>) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for name in ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"] {
            std::fs::copy(mini("tokenizer").join(name), copy.path().join(name)).unwrap();
        }
        match bytes {
            Some(bytes) => std::fs::write(copy.path().join(file), bytes).unwrap(),
            None => std::fs::remove_file(copy.path().join(file)).unwrap(),
        }
        copy
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let cases = [
            ("vocab.json", Some("{"), "vocab.json` is not the file it should be"),
            ("vocab.json", Some("{}"), "vocab.json` lacks the special token `<|startoftext|>`"),
            ("merges.txt", None, "cannot read `"),
            ("merges.txt", Some("nonsense without a vocabulary\n"), "is no tokenizer"),
            ("tokenizer_config.json", None, "tokenizer_config.json`"),
            ("tokenizer_config.json", Some(r#"{"model_max_length": 1}"#), "`model_max_length` is 1"),
            ("tokenizer.json", Some("{}"), "tokenizer.json` is no tokenizer"),
        ];
        for (file, bytes, says) in cases {
            let said = format!("{:#}", Tokenizer::open(spoiled(file, bytes).path()).unwrap_err());
            assert!(said.contains(says), "{file}: {said}");
        }
    }

    #[test]
    fn every_text_has_the_same_length_and_its_end() {
        let tokenizer = Tokenizer::open(&mini("tokenizer")).unwrap();
        for text in ["", "a photo of a cat", &"very ".repeat(100)] {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(ids.len(), tokenizer.length());
            assert!(ids.contains(&tokenizer.end), "{text}");
        }
    }

    #[test]
    fn the_words_of_a_long_text_are_all_there_with_their_places() {
        let tokenizer = Tokenizer::open(&mini("tokenizer")).unwrap();
        let text = "a bär on a beach ".repeat(30);
        let words = tokenizer.words(&text).unwrap();
        assert!(words.len() > tokenizer.room());
        let ids: Vec<u32> = words.iter().take(tokenizer.room()).map(|word| word.id).collect();
        assert_eq!(tokenizer.framed(ids), tokenizer.encode(&text).unwrap());
        assert!(words.windows(2).all(|pair| pair[0].start <= pair[1].start));
        assert!(words.iter().all(|word| text.is_char_boundary(word.start)));
        assert_eq!(words.iter().filter(|word| text[word.start..].starts_with("beach")).count(), 30);
    }

    #[test]
    fn the_padding_token_is_special_inside_a_text_too() {
        let (first, second) = (Tokenizer::open(&mini("tokenizer")), Tokenizer::open(&mini("tokenizer_2")));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(second.encode_unpadded("!!!").unwrap()[1..4], [0, 0, 0]);
        assert_ne!(first.encode_unpadded("!").unwrap()[1], 0);
    }
}
