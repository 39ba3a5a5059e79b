//! Where tensors live: the run's settings, settled and turned into candle's.

use candle_core::utils::{cuda_is_available, metal_is_available};
use flow_engine::{Device, Dtype, Problem, Result, Settings};

/// Settles device and precision, where a person left the choice to the program: a GPU if this
/// build has one, f32 on a CPU and f16 on a GPU.
///
/// # Errors
///
/// If the device was asked for and this build, or this machine, has none.
pub fn settle(device: Option<Device>, dtype: Option<Dtype>) -> Result<Settings> {
    let device = match device {
        Some(device) => device,
        None if cuda_is_available() && candle(Device::Cuda(0)).is_ok() => Device::Cuda(0),
        None if metal_is_available() && candle(Device::Metal).is_ok() => Device::Metal,
        None => Device::Cpu,
    };
    candle(device)?;
    crate::ops::settle_threads();
    let dtype = dtype.unwrap_or(if device == Device::Cpu { Dtype::F32 } else { Dtype::F16 });
    Ok(Settings { device, dtype })
}

/// A device as candle knows it.
///
/// # Errors
///
/// If this build was made without it, or this machine has none.
pub fn candle(device: Device) -> Result<candle_core::Device> {
    let found = match device {
        Device::Cpu => return Ok(candle_core::Device::Cpu),
        Device::Cuda(ordinal) => candle_core::Device::new_cuda(ordinal),
        Device::Metal => candle_core::Device::new_metal(0),
    };
    let built = match device {
        Device::Cuda(_) => cuda_is_available(),
        _ => metal_is_available(),
    };
    let class = device.class();
    let hint = if built {
        "this machine has none".to_owned()
    } else {
        format!("build with `--features {class}`, or use --device cpu")
    };
    found.map_err(|error| {
        anyhow::Error::from(error).context(Problem::new(format!("cannot use the device {device}")).hint(hint))
    })
}

/// A precision as candle knows it.
pub fn dtype(dtype: Dtype) -> candle_core::DType {
    match dtype {
        Dtype::F32 => candle_core::DType::F32,
        Dtype::F16 => candle_core::DType::F16,
        Dtype::BF16 => candle_core::DType::BF16,
    }
}
