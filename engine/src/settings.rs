//! What a whole run shares: device, precision, project folder.
//!
//! Plain values here; the nodes turn them into what their tensor library wants.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Problem;

/// Where tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// The processor.
    Cpu,
    /// The CUDA device of this ordinal.
    Cuda(usize),
    /// Apple's GPU.
    Metal,
}

impl Device {
    /// The device without its ordinal: what a result's key depends on.
    pub fn class(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda(_) => "cuda",
            Self::Metal => "metal",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            other => f.write_str(other.class()),
        }
    }
}

/// The precision that networks compute in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// 16-bit brain float.
    BF16,
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
        })
    }
}

impl FromStr for Device {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "metal" => Ok(Self::Metal),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|ordinal| ordinal.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| {
                    Problem::new(format!("`{text}` is not a device")).hint("write cpu, cuda, cuda:1 or metal")
                }),
        }
    }
}

impl FromStr for Dtype {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::BF16),
            _ => Err(Problem::new(format!("`{text}` is not a dtype")).hint("write f32, f16 or bf16")),
        }
    }
}

/// Device and precision of a run, settled before any key is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Settings {
    /// Where tensors live.
    pub device: Device,
    /// What networks compute in.
    pub dtype: Dtype,
}

/// The folder that a graph's paths are relative to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    root: PathBuf,
    found_by: &'static str,
}

impl Project {
    /// The project of a graph file: the nearest folder above it that holds a `graphs` folder,
    /// or the current directory if there is none.
    pub fn of(graph_file: &Path) -> Self {
        let absolute = std::path::absolute(graph_file).unwrap_or_else(|_| graph_file.to_path_buf());
        absolute.ancestors().skip(1).find(|folder| folder.join("graphs").is_dir()).map_or_else(
            Self::current,
            |root| Self { root: root.to_path_buf(), found_by: "the project, the folder with `graphs`" },
        )
    }

    /// The project that the current directory lies in.
    pub fn here() -> Self {
        Self::of(Path::new("any"))
    }

    /// The current directory as a project.
    pub fn current() -> Self {
        Self {
            root: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            found_by: "the current directory",
        }
    }

    /// A given folder as a project.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), found_by: "the project" }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder in which Flow keeps what it can make again.
    pub fn home(&self) -> PathBuf {
        self.root.join(".flow")
    }

    /// A path of a graph as the file system knows it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// What paths are relative to, in words, for an error about a path.
    pub fn describe(&self) -> String {
        format!("paths are relative to {} ({})", self.root.display(), self.found_by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_reads_back_as_it_is_written() {
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(3), Device::Metal] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        assert!("cuda:x".parse::<Device>().is_err());
    }
}
