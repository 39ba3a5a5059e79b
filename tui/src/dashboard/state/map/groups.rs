//! Like nodes that may stand as one: a sweep is a few groups rather than a few hundred nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::node::Node;

/// Fewer nodes that differ in a number make no group.
const FEWEST_NUMBERED: usize = 4;
/// Fewer nodes that are of one kind and read the same make no group.
const FEWEST_SIBLINGS: usize = 5;

/// Like nodes of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What tells it from all others.
    pub name: Arc<str>,
    /// What a person calls it.
    pub label: String,
    /// The kind of all its nodes.
    pub kind: String,
    /// Positions of its nodes.
    pub members: Vec<usize>,
}

/// The groups of some nodes: first of those whose names differ in numbers, then of those that read the same. All of a
/// group are in one layer, so that none comes before itself.
pub fn of(nodes: &[Node], layers: &[usize]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut group_of = vec![None; nodes.len()];
    let numbered = gathered(nodes, |at| {
        let stem = stem(&nodes[at].name)?;
        Some((layers[at], nodes[at].kind.as_str(), stem))
    });
    for ((layer, kind, stem), members) in numbered {
        if members.len() >= FEWEST_NUMBERED {
            add(&mut groups, &mut group_of, format!("{layer}/{kind}/{stem}"), stem, kind, members);
        }
    }
    let siblings = gathered(nodes, |at| {
        let mut reads: Vec<_> = nodes[at].inputs.iter().map(|&input| group_of[input].ok_or(input)).collect();
        reads.sort_unstable();
        reads.dedup();
        let is_free = group_of[at].is_none() && !reads.is_empty();
        is_free.then_some((layers[at], nodes[at].kind.as_str(), reads))
    });
    for ((layer, kind, reads), members) in siblings {
        if members.len() >= FEWEST_SIBLINGS {
            let name = format!("{layer}/{kind}/{reads:?}");
            add(&mut groups, &mut group_of, name, kind.to_owned(), kind, members);
        }
    }
    groups
}

fn gathered<Sign: Ord>(nodes: &[Node], sign: impl Fn(usize) -> Option<Sign>) -> BTreeMap<Sign, Vec<usize>> {
    let mut gathered: BTreeMap<Sign, Vec<usize>> = BTreeMap::new();
    for at in 0..nodes.len() {
        if let Some(sign) = sign(at) {
            gathered.entry(sign).or_default().push(at);
        }
    }
    gathered
}

fn add(
    groups: &mut Vec<Group>,
    group_of: &mut [Option<usize>],
    name: String,
    label: String,
    kind: &str,
    members: Vec<usize>,
) {
    members.iter().for_each(|&member| group_of[member] = Some(groups.len()));
    groups.push(Group { name: name.into(), label, kind: kind.to_owned(), members });
}

/// A name with an ellipsis for each number and for what stands in brackets; none if it has neither.
fn stem(name: &str) -> Option<String> {
    let mut stem = String::with_capacity(name.len());
    let mut depth = 0_usize;
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth > 0 => {
                depth -= 1;
                leave_out(&mut stem);
            }
            _ if depth > 0 => {}
            letter if letter.is_ascii_digit() => {
                leave_out(&mut stem);
                let goes_on = |next: &char| next.is_ascii_digit() || matches!(next, '.' | '/' | ':');
                while letters.next_if(goes_on).is_some() {}
            }
            letter => stem.push(letter),
        }
    }
    (stem.contains('…') && depth == 0).then_some(stem)
}

fn leave_out(stem: &mut String) {
    if !stem.ends_with('…') {
        stem.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_brackets_are_what_members_of_a_sweep_differ_in() {
        assert_eq!(stem("at most 1/16").as_deref(), Some("at most …"));
        assert_eq!(stem("picture (seed: 3)[2]").as_deref(), Some("picture …"));
        assert_eq!(stem("1/2 seed 13").as_deref(), Some("… seed …"));
        assert_eq!(stem("a frog"), None);
        assert_eq!(stem("odd (name 3"), None);
    }
}
