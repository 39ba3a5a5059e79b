//! The outline of a graph file: names, kinds and fields as stretches of its text, unread.
//!
//! Everything borrowed here is a part of the text it was read from, so the place of a part is
//! the difference of two addresses.

use std::fmt;

use ron::error::SpannedResult;
use ron::value::RawValue;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, EnumAccess, MapAccess, VariantAccess, Visitor};

/// The outermost form of a graph file.
#[derive(serde::Deserialize)]
#[serde(rename = "Graph", deny_unknown_fields)]
pub(super) struct GraphFile<'a> {
    #[serde(borrow)]
    pub nodes: Entries<'a>,
}

/// The entries of a map in the order of the text. A map type would keep the last of two equal
/// names and say nothing.
pub(super) struct Entries<'a>(pub Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nodes by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

/// A node's text, taken apart.
pub(super) struct Outline<'a> {
    /// The name of its kind.
    pub kind: &'a str,
    /// Its fields: name and value.
    pub fields: Vec<(&'a str, &'a str)>,
}

/// Takes a node's text apart.
pub(super) fn outline(body: &str) -> SpannedResult<Outline<'_>> {
    super::ron::ron_options().from_str_seed(body, OutlineSeed)
}

struct OutlineSeed;

impl<'de> DeserializeSeed<'de> for OutlineSeed {
    type Value = Outline<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_enum("Node", &[], self)
    }
}

impl<'de> Visitor<'de> for OutlineSeed {
    type Value = Outline<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node, Kind(field: value, ..)")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Self::Value, A::Error> {
        let (Identifier(kind), body) = data.variant()?;
        let fields = body.struct_variant(&[], FieldsVisitor)?;
        Ok(Outline { kind, fields })
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Vec<(&'de str, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some((Identifier(name), value)) = map.next_entry::<Identifier<'de>, &'de RawValue>()? {
            fields.push((name, value.get_ron()));
        }
        Ok(fields)
    }
}

/// A bare name, borrowed from the text.
pub(super) struct Identifier<'a>(pub &'a str);

impl<'de: 'a, 'a> Deserialize<'de> for Identifier<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Identifier<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Identifier(name))
            }
        }
        deserializer.deserialize_identifier(NameVisitor)
    }
}

/// Where a part of a text starts in it.
pub(super) fn offset_in(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}
