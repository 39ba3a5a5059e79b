//! The typed nodes of Flow and what they are made of.

mod device;
mod registry;

pub use device::settle;
pub use registry::registry;
