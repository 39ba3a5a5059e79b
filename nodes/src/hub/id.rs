//! `hub:owner/name@revision`: which model of the hub, and which state of it.

use std::fmt;

use flow_engine::{Problem, Result};

/// What a path of a graph starts with to mean a model of the hub.
const PREFIX: &str = "hub:";

/// The branch that a model without a revision means.
const DEFAULT_REVISION: &str = "main";

/// A model of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    /// Whose it is.
    pub owner: String,
    /// What it is called.
    pub name: String,
    /// A branch, a tag, or a commit.
    pub revision: String,
}

impl HubId {
    /// The model that a path means, if it starts with `hub:`.
    ///
    /// # Errors
    /// It does, and what follows is no name of a model.
    pub fn of(path: &str) -> Result<Option<Self>> {
        let Some(text) = path.strip_prefix(PREFIX) else { return Ok(None) };
        let (model, revision) = text.split_once('@').unwrap_or((text, DEFAULT_REVISION));
        let parsed = model.split_once('/').filter(|(owner, name)| is_part(owner) && is_part(name));
        match parsed {
            Some((owner, name)) if revision.split('/').all(is_name) => Ok(Some(Self {
                owner: owner.to_owned(),
                name: name.to_owned(),
                revision: revision.to_owned(),
            })),
            _ => Err(Problem::new(format!("`{path}` is no name of a model on the hub"))
                .hint("write `hub:owner/name` or `hub:owner/name@revision`")
                .into()),
        }
    }

    /// Owner and name, as the hub's addresses have them.
    pub fn model(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }
}

/// As a graph writes it.
impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}", self.owner, self.name)?;
        if self.revision == DEFAULT_REVISION { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

/// Whether it can be an owner or a model: not only a name, but one that the cache keeps apart from others, where `--`
/// stands between the two.
fn is_part(text: &str) -> bool {
    is_name(text) && !text.contains("--")
}

/// Whether it can stand in an address and in a path: no folder above, nothing to be escaped.
fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !text.is_empty() && text.chars().all(fits) && !text.starts_with('.') && !text.contains("..")
}

/// Whether a revision is a commit, which never changes its meaning.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_is_written() {
        for text in ["hub:a/b", "hub:stabilityai/stable-diffusion-xl-base-1.0@fp16", "hub:a/b@refs/pr/1"] {
            assert_eq!(HubId::of(text).unwrap().unwrap().to_string(), text);
        }
        assert_eq!(HubId::of("hub:a/b@main").unwrap().unwrap().to_string(), "hub:a/b");
        assert_eq!(HubId::of("models/hub:a").unwrap(), None);
    }

    #[test]
    fn what_could_leave_the_cache_or_the_address_is_refused() {
        for text in
            ["hub:", "hub:a", "hub:a/b/c", "hub:../b", "hub:a/b@../x", "hub:a/b@", "hub:a/b c", "hub:a/b?x=1"]
        {
            assert!(HubId::of(text).is_err(), "{text}");
        }
        // In the cache these two would be one model, as on the hub neither can be.
        assert!(HubId::of("hub:a--b/c").is_err() && HubId::of("hub:a/b--c").is_err());
    }
}
