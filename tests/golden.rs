//! Flow's numbers against those of PyTorch, diffusers and transformers.
//!
//! `tests/golden/README.md` says where the numbers come from. Nothing here knows a size, a prompt or a setting: they
//! come from the files, so that another set of golden files can take the place of this one (`FLOW_GOLDEN`). What a set
//! does not have is said and left out; the set in the repository has everything.

#[cfg(test)] // always so; clippy wants to read it
#[path = "golden_tests/mod.rs"]
mod golden_tests;
