//! Where the files behind a graph's path are, at each of the three times that a node asks.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use flow_engine::{Check, Cx, Dtype, NotYet, Project, Result, Settings};

use super::{Hub, HubId, HubSettings, Lookup, Precision, Wanted};

/// Progress is told at most this often.
const BEAT: Duration = Duration::from_millis(100);
const BYTES_PER_MB: u64 = 1_000_000;

/// While a graph is checked, nothing is downloaded.
///
/// # Errors
/// [`NotYet`] for a model that running will download; what is known to be wrong with one.
pub fn when_checked(path: &str, wanted: Wanted, cx: &Check<'_>) -> Result<PathBuf> {
    let Some(id) = HubId::of(path)? else { return Ok(cx.path(path)) };
    let (hub, precision) = (Hub::new(HubSettings::from_env()), precision(cx.settings()));
    if let Some(folder) = hub.cached(&id, wanted, precision) {
        return Ok(folder);
    }
    if hub.is_offline() {
        return Err(hub.absent_offline(&id).into());
    }
    Err(match hub.look_up(&id, wanted, precision)? {
        Lookup::There { size_bytes: Some(size) } => {
            NotYet::new(format!("{id} is not here yet: running downloads up to {}", mega(size)))
        }
        Lookup::There { size_bytes: None } => {
            NotYet::new(format!("{id} is not here yet: running downloads it"))
        }
        Lookup::Unreachable(problem) => {
            NotYet::new(format!("{id} is not here yet, and nobody knows whether it can be had: {problem}"))
        }
    }
    .into())
}

/// For its key, a model is taken as it is in the cache.
///
/// # Errors
/// [`NotYet`], if it is not there.
pub fn when_keyed(path: &str, wanted: Wanted, project: &Project) -> Result<PathBuf> {
    let Some(id) = HubId::of(path)? else { return Ok(project.path(path)) };
    let cached = Hub::new(HubSettings::from_env()).cached(&id, wanted, Precision::Any);
    cached.ok_or_else(|| NotYet::new(format!("{id} is not here yet")).into())
}

/// When a node runs, what is missing is downloaded.
///
/// # Errors
/// As [`Hub::fetch`].
pub fn when_run(path: &str, wanted: Wanted, cx: &Cx<'_>) -> Result<PathBuf> {
    let Some(id) = HubId::of(path)? else { return Ok(cx.path(path)) };
    let mut told = Instant::now();
    Hub::new(HubSettings::from_env()).fetch(&id, wanted, precision(cx.settings()), &mut |done, total| {
        if done < total && told.elapsed() < BEAT {
            return cx.stop_if_asked();
        }
        told = Instant::now();
        let mb = |bytes: u64| usize::try_from(bytes.div_ceil(BYTES_PER_MB)).unwrap_or(usize::MAX);
        cx.progress(mb(done), mb(total), "MB")
    })
}

/// Halves are good enough for a run in halves; bfloat16 keeps other digits, so it starts from full precision.
fn precision(settings: Settings) -> Precision {
    if settings.dtype == Dtype::F16 { Precision::Half } else { Precision::Full }
}

fn mega(bytes: u64) -> String {
    if bytes < 1_000_000_000 {
        return format!("{} MB", bytes.div_ceil(BYTES_PER_MB));
    }
    format!("{:.1} GB", bytes as f64 / 1e9)
}
