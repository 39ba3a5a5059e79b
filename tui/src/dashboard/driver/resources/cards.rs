//! Graphics cards through NVIDIA's NVML, whose library is looked for when the program runs.
//!
//! Where these lines were written there was no card: what they read was never seen, only that they find none. A card
//! that does not tell one of its numbers shows 0 for it.

use std::ffi::OsStr;

use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::{Device, Nvml};

use crate::dashboard::message::Card;

/// The driver brings this name; the one without a number comes with the tools for developers.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// The cards that the driver tells of, if there is a driver.
pub struct Cards {
    driver: Option<Nvml>,
}

impl Cards {
    /// Looks for the driver once.
    pub fn find() -> Self {
        let named = || Nvml::builder().lib_path(OsStr::new(LIBRARY)).init();
        Self { driver: Nvml::init().or_else(|_| named()).ok() }
    }

    /// How the cards are.
    pub fn look(&self) -> Vec<Card> {
        let Some(driver) = &self.driver else { return Vec::new() };
        let count = driver.device_count().unwrap_or(0);
        (0..count).filter_map(|index| driver.device_by_index(index).ok()).map(|card| look(&card)).collect()
    }
}

fn look(card: &Device<'_>) -> Card {
    let memory = card.memory_info();
    Card {
        name: card.name().unwrap_or_else(|_| "graphics card".to_owned()),
        busy: card.utilization_rates().map_or(0.0, |rates| rates.gpu as f32 / 100.0),
        memory: memory.map_or((0, 0), |memory| (memory.total, memory.used)),
        temperature: card.temperature(TemperatureSensor::Gpu).unwrap_or(0),
    }
}
