//! How many ranks a layer gives: equation 8 of PaRa (arXiv 2406.05641).
//!
//! ```text
//! r' = r                          if r <= gamma rank(W)
//!      floor(gamma rank(W))       otherwise; 0 leaves the layer alone
//! ```
//!
//! The rank of a weight is the number of its singular values above `sigma_max * max(rows, columns) * 2^-23`, or the
//! smaller of its sides where only its shape is known.

use std::fmt;
use std::str::FromStr;

use flow_engine::Problem;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A share of a whole, more than 0 and at most 1: a number, or a fraction in quotes such as `"1/40"`.
///
/// It stays as it was written: a graph, its key and an adapter's file say 1/40, which no binary number is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(Written);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Written {
    Number(f64),
    Fraction { part: u32, whole: u32 },
}

impl Share {
    /// The share that a number is.
    ///
    /// # Errors
    /// A number that is not more than 0 and at most 1.
    pub fn number(number: f64) -> Result<Self, Problem> {
        let fits = number > 0.0 && number <= 1.0;
        fits.then_some(Self(Written::Number(number))).ok_or_else(|| no_share(&number.to_string()))
    }

    /// The share that `part` is of `whole`.
    ///
    /// # Errors
    /// A part that is nothing or more than the whole.
    pub fn fraction(part: u32, whole: u32) -> Result<Self, Problem> {
        let fits = 0 < part && part <= whole;
        let share = Self(Written::Fraction { part, whole });
        fits.then_some(share).ok_or_else(|| no_share(&format!("{part}/{whole}")))
    }

    /// The share of a count, rounded down: exactly for a fraction.
    pub fn of(self, count: usize) -> usize {
        match self.0 {
            Written::Fraction { part, whole } => {
                (u128::from(part) * count as u128 / u128::from(whole)) as usize
            }
            // A decimal is meant as written: 0.57 of 100 is 57, though the product of floats is less.
            Written::Number(number) => (number * count as f64 * (1.0 + 2.0 * f64::EPSILON)).floor() as usize,
        }
    }
}

fn no_share(text: &str) -> Problem {
    Problem::new(format!("a share is more than 0 and at most 1, and `{text}` is not")).hint(SPELLING)
}

const SPELLING: &str = "write a number such as 0.025, or a fraction in quotes such as \"1/40\"";

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Written::Number(number) => write!(f, "{number}"),
            Written::Fraction { part, whole } => write!(f, "{part}/{whole}"),
        }
    }
}

/// Reads what [`fmt::Display`] writes.
impl FromStr for Share {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let unreadable = || Problem::new(format!("`{text}` is no share")).hint(SPELLING);
        match text.split_once('/') {
            Some((part, whole)) => {
                let [part, whole] = [part, whole].map(|number| number.trim().parse());
                Self::fraction(part.map_err(|_| unreadable())?, whole.map_err(|_| unreadable())?)
            }
            None => Self::number(text.trim().parse().map_err(|_| unreadable())?),
        }
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Written::Number(number) => serializer.serialize_f64(number),
            Written::Fraction { .. } => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = Share;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number such as 0.025, or a fraction in quotes such as \"1/40\"")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Share, E> {
        Share::number(number).map_err(with_spelling)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Share, E> {
        self.visit_f64(number as f64)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Share, E> {
        self.visit_f64(number as f64)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Share, E> {
        text.parse().map_err(with_spelling)
    }
}

/// The error of a reader, which has no room for a hint of its own.
fn with_spelling<E: Error>(problem: Problem) -> E {
    E::custom(format_args!("{problem}; {SPELLING}"))
}

impl JsonSchema for Share {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["number", "string"],
            "exclusiveMinimum": 0,
            "maximum": 1,
            "pattern": r"^\s*\d+\s*/\s*\d+\s*$",
        })
    }
}

/// The most ranks that a weight of this rank may give.
pub fn rank_bound(gamma: Share, rank: usize) -> usize {
    gamma.of(rank)
}

/// How many of the `wanted` ranks a weight of rank `weight_rank` gives; 0 leaves the layer alone.
pub fn bounded_rank(wanted: usize, gamma: Share, weight_rank: usize) -> usize {
    wanted.min(rank_bound(gamma, weight_rank))
}

/// Which layers a share bounds the rank of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cap {
    /// Every layer, as the paper's equation 8 says.
    Everywhere(Share),
    /// Convolutions alone, as the paper's files are.
    Convolutions(Share),
    /// No layer; a rank is still no larger than the layer.
    Nowhere,
}

impl Cap {
    /// The share on a layer of this kind, if there is one.
    pub fn on(self, is_convolution: bool) -> Option<Share> {
        match self {
            Self::Everywhere(gamma) => Some(gamma),
            Self::Convolutions(gamma) => is_convolution.then_some(gamma),
            Self::Nowhere => None,
        }
    }
}

#[cfg(test)]
#[path = "bound_tests.rs"]
mod tests;
