//! Watching the memory of this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The program's own allocator, or each of a step's large results would come from the system page by page.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Anonymous memory of this process, in MiB.
pub fn anonymous() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<usize>().ok()).unwrap_or_default() / 1024
}

/// Runs `work`; gives its result, the peak of anonymous memory above the start in MiB, and the seconds.
pub fn watched<T>(work: impl FnOnce() -> T) -> (T, usize, f64) {
    let (before, started) = (anonymous(), Instant::now());
    let (peak, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let watcher = std::thread::spawn({
        let (peak, done) = (Arc::clone(&peak), Arc::clone(&done));
        move || {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(anonymous(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    });
    let result = work();
    done.store(true, Ordering::Relaxed);
    watcher.join().expect("the watcher only reads a file");
    (result, peak.load(Ordering::Relaxed).saturating_sub(before), started.elapsed().as_secs_f64())
}
