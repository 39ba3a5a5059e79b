//! The dashboard: a screen on which a run is watched and steered.
//!
//! It only listens. A [`Message`] changes the [`State`](state::State), which may ask for [`Effect`]s; the state is
//! painted when something changed. State and view are pure: they know no clock, no terminal, no file and no thread, so
//! that every screen can be tested from recorded events. The driver is the one that touches the world: it reads keys,
//! decodes pictures, measures the machine, and carries out effects.

pub mod driver;
pub mod keys;
#[cfg(test)]
mod kit;
pub mod message;
pub mod state;
pub mod view;

pub use message::{Effect, Message, Pictures, Resources, Scope};
