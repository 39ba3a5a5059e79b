//! Words that a tokenizer learns after its training, as textual inversion makes them.
//!
//! A word has one token for each of its vectors: `<v>`, `<v>_1`, `<v>_2`. They are added as transformers adds tokens:
//! cut out of a text before anything else is, wherever they stand, inside a longer word too, the longest one first; case
//! does not matter, because they are looked for in the normalized text. `<v>` stands for all of its vectors, as
//! diffusers reads it, and a later token for its own alone. A text that is written out already, `<v> <v>_1`, stays as it
//! is.

use flow_engine::{Problem, Result};
use tokenizers::AddedToken;

use super::{Tokenizer, Tokenizers, Word};

/// The ids of one word.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewWord {
    first: u32,
    vectors: u32,
}

impl NewWord {
    /// Whether an id is one of its vectors, but not the first.
    fn goes_on_with(&self, id: u32) -> bool {
        id > self.first && id - self.first < self.vectors
    }
}

impl Tokenizers {
    /// Teaches both tokenizers new words: tokens, and how many vectors each stands for. Their ids follow those that are
    /// there, in this order.
    ///
    /// # Errors
    /// A token that the vocabulary or another new word has, or that a tokenizer would not find in a text; more vectors
    /// than a text has room for.
    pub fn with_words(self, words: &[(&str, usize)]) -> Result<Self> {
        let teach = |tokenizer: Tokenizer| {
            words
                .iter()
                .try_fold(tokenizer, |tokenizer, &(token, vectors)| tokenizer.with_word(token, vectors))
        };
        Ok(Self { first: teach(self.first)?, second: teach(self.second)? })
    }
}

impl Tokenizer {
    /// One more than the largest id, new words included.
    pub fn size(&self) -> usize {
        self.inner.get_vocab(true).into_values().max().map_or(0, |largest| largest as usize + 1)
    }

    fn with_word(mut self, token: &str, vectors: usize) -> Result<Self> {
        if vectors == 0 || vectors > self.room() {
            let room = self.room();
            let message = format!("the new word `{token}` has {vectors} vectors, expected 1 to {room}");
            return Err(Problem::new(message)
                .hint(format!("a text encoder reads {room} tokens of text at once"))
                .into());
        }
        let names: Vec<String> = (0..vectors).map(|i| name(token, i)).collect();
        for name in &names {
            self.refuse_known(token, name)?;
        }
        let first = self.size() as u32;
        let added = names.iter().map(|name| AddedToken::from(name.as_str(), false));
        self.inner.add_tokens(added).map_err(|cause| anyhow::anyhow!(cause))?;
        self.new_words.push(NewWord { first, vectors: vectors as u32 });

        let ids: Vec<u32> = (first..first + vectors as u32).collect();
        for (i, name) in names.iter().enumerate() {
            let expected = if i == 0 { &ids[..] } else { &ids[i..=i] };
            if self.words(name)?.iter().map(|word| word.id).ne(expected.iter().copied()) {
                let message =
                    format!("`{name}` cannot be a new word: the tokenizer cuts it into other tokens");
                return Err(Problem::new(message).hint(another(token)).into());
            }
        }
        Ok(self)
    }

    /// Refuses a token that has a meaning already.
    fn refuse_known(&self, token: &str, name: &str) -> Result<()> {
        let read = self.words(name)?;
        let one = read.iter().filter(|word| !word.continues).count() == 1;
        if !one && self.inner.token_to_id(name).is_none() {
            return Ok(());
        }
        let new = read.first().is_some_and(|word| self.new_words.iter().any(|new| new.first == word.id));
        let whose = if new { "of another new word" } else { "in the model's vocabulary" };
        let which = if name == token { "it".to_owned() } else { format!("its vector `{name}`") };
        let message = format!("`{token}` cannot be a new word: {which} is already a token {whose}");
        Err(Problem::new(message).hint(another(token)).into())
    }

    /// The ids that a token stands for besides its own, where nothing says which vectors of the word are meant.
    pub(super) fn vectors_behind(&self, id: u32) -> std::ops::Range<u32> {
        let word = self.new_words.iter().find(|word| word.first == id);
        word.map_or(0..0, |word| word.first + 1..word.first + word.vectors)
    }

    /// Whether `id` is the next vector of the word that ends in `last`.
    pub(super) fn continues(&self, last: Option<&Word>, id: u32) -> bool {
        last.is_some_and(|last| last.id + 1 == id) && self.new_words.iter().any(|word| word.goes_on_with(id))
    }
}

/// What diffusers calls a vector of a word.
fn name(token: &str, vector: usize) -> String {
    if vector == 0 { token.to_owned() } else { format!("{token}_{vector}") }
}

fn another(token: &str) -> String {
    let bare: String = token.chars().filter(|c| c.is_alphanumeric()).collect();
    format!(
        "choose a token that stands in no other word, such as `<{bare}-1>`; upper and lower case are the same"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sdxl::settings::Settings;

    fn mini() -> Tokenizers {
        let open = |folder: &str| {
            let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini-sdxl");
            Tokenizer::open(&model.join(folder)).unwrap()
        };
        Tokenizers { first: open("tokenizer"), second: open("tokenizer_2") }
    }

    fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        tokenizer.words(text).unwrap().iter().map(|word| word.id).collect()
    }

    fn refused(words: &[(&str, usize)]) -> String {
        format!("{:#}", mini().with_words(words).unwrap_err())
    }

    #[test]
    fn new_words_take_the_ids_behind_the_vocabulary_in_their_order() {
        let taught = mini().with_words(&[("<v>", 2), ("<w>", 1)]).unwrap();
        let more = taught.clone().with_words(&[("<x>", 3)]).unwrap();
        for (plain, taught, more) in
            [(mini().first, taught.first, more.first), (mini().second, taught.second, more.second)]
        {
            let n = plain.size() as u32;
            assert_eq!(ids(&taught, "<w><v>"), [n + 2, n, n + 1]);
            assert_eq!(taught.size(), plain.size() + 3);
            assert_eq!(ids(&more, "<x> <v>_1"), [n + 3, n + 4, n + 5, n + 1]);
        }
    }

    #[test]
    fn sdxls_own_vocabulary_learns_words_that_it_has_not() {
        let real = Settings::SdxlBase.tokenizers().unwrap();
        let taught = real.clone().with_words(&[("<v>", 2), ("ohwx-man", 1)]).unwrap();
        for tokenizer in [&taught.first, &taught.second] {
            assert_eq!(ids(tokenizer, "<v> ohwx-man"), [49408, 49409, 49410]);
        }
        for token in ["sks", "cat", "Cat"] {
            assert!(real.clone().with_words(&[(token, 1)]).is_err(), "{token}");
        }
    }

    #[test]
    fn a_new_word_is_found_wherever_it_stands_and_in_any_case() {
        let (plain, taught) = (mini().first, mini().with_words(&[("<v>", 2)]).unwrap().first);
        let n = plain.size() as u32;
        for (text, before, after) in [
            ("a photo of <v> on a beach", "a photo of", "on a beach"),
            ("panda<V>panda", "panda", "panda"),
            ("<v>", "", ""),
            ("red, <v>!", "red,", "!"),
        ] {
            let expected = [ids(&plain, before), vec![n, n + 1], ids(&plain, after)].concat();
            assert_eq!(ids(&taught, text), expected, "{text}");
        }
        let text = "a bär <v> panda";
        let words = taught.words(text).unwrap();
        let word = words.iter().position(|word| word.id == n).unwrap();
        assert!(text[words[word].start..].starts_with("<v>"));
        assert!(text[words[word + 2].start..].starts_with("panda"));
    }

    #[test]
    fn a_word_that_is_written_out_says_the_same_and_a_later_vector_only_itself() {
        let tokenizer = mini().with_words(&[("<v>", 3)]).unwrap().first;
        let n = mini().first.size() as u32;
        assert_eq!(ids(&tokenizer, "<v> <v>_1 <v>_2"), [n, n + 1, n + 2]);
        assert_eq!(ids(&tokenizer, "<v> <v>_1 panda")[..2], [n, n + 1]);
        assert_eq!(ids(&tokenizer, "<v>_2 <v>_1"), [n + 2, n + 1]);
        assert_eq!(ids(&tokenizer, "<v> <v>"), [n, n + 1, n + 2, n, n + 1, n + 2]);
        let continues = |text: &str| -> Vec<bool> {
            tokenizer.words(text).unwrap().iter().map(|word| word.continues).collect()
        };
        assert_eq!(continues("<v> <v>"), [false, true, true, false, true, true]);
        assert_eq!(continues("<v> <v>_1 <v>_2"), [false, true, true]);
        assert_eq!(continues("<v>_2 <v>_1"), [false, false]);
    }

    #[test]
    fn texts_without_a_new_word_keep_their_ids() {
        let (plain, taught) = (mini(), mini().with_words(&[("<v>", 2)]).unwrap());
        for text in ["", "a photo of a panda!!!", "< v > v", "<v", "a bär, _1"] {
            assert_eq!(plain.encode(&[text]).unwrap(), taught.encode(&[text]).unwrap(), "{text}");
        }
    }

    #[test]
    fn a_token_that_means_something_already_is_refused() {
        let known = "cannot be a new word: it is already a token in the model's vocabulary";
        for token in ["panda", "Panda", "a", "<|endoftext|>", "!"] {
            assert_eq!(refused(&[(token, 1)]), format!("`{token}` {known}"));
        }
        let twice = "cannot be a new word: it is already a token of another new word";
        assert_eq!(refused(&[("<v>", 2), ("<v>", 2)]), format!("`<v>` {twice}"));
        assert_eq!(refused(&[("<v>", 2), ("<V>", 1)]), format!("`<V>` {twice}"));
        assert!(refused(&[("<v>", 3), ("<v>_1", 1)]).starts_with("`<v>_1` cannot"));
        let vector = "`<v>` cannot be a new word: its vector `<v>_1` is already a token of another new word";
        assert_eq!(refused(&[("<v>_1", 1), ("<v>", 2)]), vector);
    }

    #[test]
    fn a_token_that_no_text_would_have_is_refused() {
        let cut = |token| format!("`{token}` cannot be a new word: the tokenizer cuts it into other tokens");
        assert_eq!(refused(&[("wow!wow", 1)]), cut("wow!wow")); // `!` pads in the second tokenizer
        assert_eq!(refused(&[("", 1)]), cut(""));
        assert_eq!(refused(&[("<v>", 0)]), "the new word `<v>` has 0 vectors, expected 1 to 30");
        assert_eq!(refused(&[("<v>", 31)]), "the new word `<v>` has 31 vectors, expected 1 to 30");
        assert!(mini().with_words(&[("<v>", 30), ("🐻", 1), ("my toy", 2)]).is_ok());
    }
}
