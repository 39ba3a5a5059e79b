//! Signals: the polite ways of telling a program to end, to step back, and to come again.
//!
//! A thread of its own hears them, so that a screen that hangs can still be ended. It does not draw.

use std::sync::atomic::{AtomicBool, Ordering};

/// What signals ask for.
#[derive(Default)]
pub struct Asked {
    /// To end.
    pub end: AtomicBool,
    /// To step back until somebody says to come again.
    pub step_back: AtomicBool,
    /// To set the terminal up again.
    pub come_again: AtomicBool,
    /// Whether the next request to step back is this program's own.
    pub is_own: AtomicBool,
    /// Whether another program has the terminal, and is the one who is meant.
    pub is_away: AtomicBool,
}

impl Asked {
    /// Whether it was asked since the last look.
    pub fn take(flag: &AtomicBool) -> bool {
        flag.swap(false, Ordering::SeqCst)
    }
}

#[cfg(unix)]
mod unix {
    use std::io::stdin;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::thread;

    use anyhow::Context as _;
    use flow_engine::{Result, Stop};
    use rustix::process::{Signal, getpgrp, getsid, kill_current_process_group};
    use rustix::termios::tcgetpgrp;
    use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGSTOP, SIGTERM, SIGTSTP};
    use signal_hook::iterator::{Handle, Signals};
    use signal_hook::low_level::raise;

    use super::Asked;
    use crate::dashboard::driver::terminal;

    /// What a program that was asked to end says.
    const CANCELLED: i32 = 130;

    /// Listens until it is dropped.
    pub struct Listening {
        handle: Handle,
    }

    impl Listening {
        /// The first request to end asks `stop` as well, the second ends the program where it is.
        ///
        /// # Errors
        /// A system that lets nobody listen.
        pub fn begin(asked: Arc<Asked>, stop: Stop) -> Result<Self> {
            let signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT]);
            let mut signals = signals.context("cannot listen for signals")?;
            let handle = signals.handle();
            let listen = move || signals.forever().for_each(|signal| heed(signal, &asked, &stop));
            thread::Builder::new()
                .name("signals".into())
                .spawn(listen)
                .context("cannot listen for signals")?;
            Ok(Self { handle })
        }
    }

    impl Drop for Listening {
        fn drop(&mut self) {
            self.handle.close();
        }
    }

    fn heed(signal: i32, asked: &Asked, stop: &Stop) {
        let is_away = asked.is_away.load(Ordering::SeqCst);
        match signal {
            SIGCONT => asked.come_again.store(true, Ordering::SeqCst),
            SIGTSTP if Asked::take(&asked.is_own) => {}
            SIGTSTP if is_away => drop(raise(SIGSTOP)),
            SIGTSTP => asked.step_back.store(true, Ordering::SeqCst),
            // The editor's own Ctrl-C.
            SIGINT if is_away => {}
            _ => {
                stop.ask();
                if asked.end.swap(true, Ordering::SeqCst) {
                    terminal::restore_soon();
                    std::process::exit(CANCELLED);
                }
            }
        }
    }

    /// Whether a shell is there who can bring a stopped program back: one that gave it a process group of its own.
    pub fn has_shell() -> bool {
        getsid(None).is_ok_and(|session| session != getpgrp())
    }

    /// Whether the terminal listens to this program, and not to another that the shell has put before it.
    ///
    /// # Errors
    /// A terminal that is gone.
    pub fn is_in_front() -> Result<bool> {
        Ok(tcgetpgrp(stdin()).context("the terminal is gone")? == getpgrp())
    }

    /// Stops the program, and what was started together with it, until the shell has it go on.
    pub fn step_back(asked: &Asked) {
        asked.is_own.store(true, Ordering::SeqCst);
        // `cargo run`, for one, is to be stopped too.
        if kill_current_process_group(Signal::TSTP).is_err() {
            asked.is_own.store(false, Ordering::SeqCst);
        }
        stop_here();
    }

    /// Stops the program until the shell has it go on.
    pub fn stop_here() {
        // A program that cannot be stopped goes on.
        let _ = raise(SIGSTOP);
    }
}

#[cfg(not(unix))]
mod unix {
    use std::sync::Arc;

    use flow_engine::{Result, Stop};

    use super::Asked;

    /// There are no signals here.
    pub struct Listening;

    impl Listening {
        /// Listens to nothing.
        pub fn begin(_: Arc<Asked>, _: Stop) -> Result<Self> {
            Ok(Self)
        }
    }

    /// Nobody could bring a stopped program back.
    pub fn has_shell() -> bool {
        false
    }

    /// Nobody else could have the terminal.
    pub fn is_in_front() -> Result<bool> {
        Ok(true)
    }

    /// Does nothing.
    pub fn step_back(_: &Asked) {}

    /// Does nothing.
    pub fn stop_here() {}
}

pub use unix::{Listening, has_shell, is_in_front, step_back, stop_here};
