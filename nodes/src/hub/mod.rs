//! Models of the Hugging Face hub: found in the cache that all its tools share, and brought into it.
//!
//! What is complete in the cache is used without asking the hub, so a run gives the same result tomorrow and
//! without a network. A revision like `main` therefore stays at the commit that was downloaded first: to move on,
//! name the newer commit in the graph, or remove the file `refs/main` from the model's folder in the cache.
//!
//! Checking a graph downloads nothing: it asks the hub only whether it has the model.
//!
//! This room knows files and HTTP, and no tensors.

mod cache;
mod client;
mod download;
mod id;
mod refusal;
mod resolve;
mod select;
mod settings;
#[cfg(test)]
mod testing;

pub use cache::name_of;
pub use download::Watch;
pub use id::HubId;
pub use resolve::{when_checked, when_keyed, when_run};
pub use select::Wanted;
pub use settings::HubSettings;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use flow_engine::{Problem, Result};

use cache::Repo;
use client::{Client, Failure, Listing};
use download::Download;
use select::Selection;

/// Which weights are good enough, where a model has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Full precision, or halves of a model that has nothing else.
    Full,
    /// Halves, or full precision of a model that has nothing else.
    Half,
    /// Whatever is there.
    Any,
}

/// The hub and the cache of what came from it.
pub struct Hub {
    settings: HubSettings,
    /// How often in a row a download may break off without one new byte.
    tries: u32,
}

impl Hub {
    /// The hub of some settings.
    pub fn new(settings: HubSettings) -> Self {
        Self { settings, tries: 5 }
    }

    /// Whether nothing may be asked for.
    pub fn is_offline(&self) -> bool {
        self.settings.offline
    }

    /// The folder of a model, if all that is needed of it is in the cache. Asks nobody.
    pub fn cached(&self, id: &HubId, wanted: Wanted, precision: Precision) -> Option<PathBuf> {
        let repo = Repo::new(&self.settings.cache, id);
        let commit = repo.commit_of(&id.revision)?;
        let selection = select::select(&repo.files(&commit), wanted, precision == Precision::Half).ok()?;
        let takes_any = precision == Precision::Any || self.settings.offline;
        let is_best = selection.no_full.iter().all(|name| repo.lacks(&commit, name));
        (takes_any || is_best).then(|| repo.snapshot(&commit))
    }

    /// Asks the hub how many bytes a model's files have, where it tells. Writes nothing.
    ///
    /// # Errors
    /// The hub cannot be reached, has no such model, or does not give it to everybody; the model lacks files.
    pub fn look_up(&self, id: &HubId, wanted: Wanted, precision: Precision) -> Result<Lookup> {
        let listing = match self.list(&Client::new(&self.settings), id) {
            Ok(listing) => listing,
            Err(Failure::Unreachable(problem)) => return Ok(Lookup::Unreachable(problem)),
            Err(Failure::Refused(problem)) => return Err(problem.into()),
        };
        let selection = chosen(id, &listing, wanted, precision)?;
        let mut sizes = selection.files.iter().map(|name| Some(listing.files[name].as_ref()?.size_bytes));
        Ok(Lookup::There { size_bytes: sizes.try_fold(0, |sum: u64, size| Some(sum.saturating_add(size?))) })
    }

    /// The folder of a model; what is not in the cache is brought into it.
    ///
    /// # Errors
    /// As [`Self::look_up`]; downloads that break off, come with a wrong digest, or do not fit on the disk;
    /// whatever `watch` says.
    pub fn fetch(
        &self,
        id: &HubId,
        wanted: Wanted,
        precision: Precision,
        watch: &mut Watch<'_>,
    ) -> Result<PathBuf> {
        if let Some(folder) = self.cached(id, wanted, precision) {
            return Ok(folder);
        }
        if self.settings.offline {
            return Err(self.absent_offline(id).into());
        }
        let client = Client::new(&self.settings);
        let listing = self.list(&client, id)?;
        let selection = chosen(id, &listing, wanted, precision)?;
        let identify = |name: &String| match &listing.files[name] {
            Some(identity) => Ok((name.clone(), identity.clone())),
            None => Ok((name.clone(), client.identify(id, &listing.commit, name)?)),
        };
        let files = selection.files.iter().map(identify).collect::<Result<Vec<_>>>()?;

        let repo = Repo::new(&self.settings.cache, id);
        let total = files.iter().fold(0, |sum: u64, (_, identity)| sum.saturating_add(identity.size_bytes));
        let mut download = Download {
            client: &client,
            repo: &repo,
            id,
            commit: &listing.commit,
            watch,
            done: 0,
            total,
            tries: self.tries,
        };
        for (name, identity) in &files {
            download.file(name, identity)?;
        }
        for name in &selection.no_full {
            repo.set_lacks(&listing.commit, name)?;
        }
        repo.set_ref(&id.revision, &listing.commit)?;
        Ok(repo.snapshot(&listing.commit))
    }

    /// What a model consists of, at the commit where the cache has its branch: what is added to a model later, in
    /// another precision say, belongs to what is there. Only if the hub has forgotten that commit, at its newest.
    fn list(&self, client: &Client<'_>, id: &HubId) -> Result<Listing, Failure> {
        let known = Repo::new(&self.settings.cache, id).commit_of(&id.revision);
        if let Some(revision) = known.filter(|commit| *commit != id.revision) {
            match client.list(&HubId { revision, ..id.clone() }) {
                Err(Failure::Refused(_)) => {}
                answer => return answer,
            }
        }
        client.list(id)
    }

    /// Why a model that is not in the cache cannot be had.
    fn absent_offline(&self, id: &HubId) -> Problem {
        let folder = Repo::new(&self.settings.cache, id).folder().display().to_string();
        Problem::new(format!("{id} is not in the cache, and `HF_HUB_OFFLINE` is set"))
            .hint(format!("unset it to download the model, or put all its files into {folder}"))
    }
}

/// What the hub says of a model.
#[derive(Debug)]
pub enum Lookup {
    /// It has it.
    There {
        /// All files that are needed, where it tells.
        size_bytes: Option<u64>,
    },
    /// It does not answer, and why.
    Unreachable(Problem),
}

/// The files of a listing that are needed.
fn chosen(id: &HubId, listing: &Listing, wanted: Wanted, precision: Precision) -> Result<Selection> {
    let names: BTreeSet<String> = listing.files.keys().cloned().collect();
    select::select(&names, wanted, precision == Precision::Half).map_err(|missing| {
        let folders: BTreeSet<_> = missing.iter().filter_map(|name| Path::new(name).parent()).collect();
        let is_pickle = |name: &&String| name.ends_with(".bin") || name.ends_with(".ckpt");
        let mut pickles = names.iter().filter(is_pickle);
        let has_pickles = pickles.any(|name| Path::new(name).parent().is_some_and(|at| folders.contains(at)));
        refusal::incomplete(id, &missing, has_pickles).into()
    })
}

#[cfg(test)]
mod tests;
