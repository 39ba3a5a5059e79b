//! Reading a picture file, as large as it is needed and no larger.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::time::SystemTime;

use image::imageops::FilterType;
use image::{DynamicImage, ImageReader, Limits};

/// Files that are larger are not read: they are no pictures to look at in a terminal.
const MOST_BYTES: u64 = 64 << 20;
/// Pictures with a longer side are not decoded.
const LONGEST_SIDE: u32 = 16_384;
/// The memory that decoding may take.
const MOST_MEMORY: u64 = 512 << 20;

/// How a file is known from another of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    /// The stamp of a file; none if it is not there.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self { bytes: metadata.len(), modified: metadata.modified().ok() })
    }
}

/// Reads a picture.
///
/// # Errors
/// Why it cannot be shown, in a few words.
pub fn read(path: &Path) -> Result<DynamicImage, String> {
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    if bytes > MOST_BYTES {
        return Err(format!("too large to show here: {} MiB", bytes >> 20));
    }
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format();
    let mut reader = reader.map_err(|error| format!("cannot be read: {error}"))?;
    reader.limits(limits());
    reader.decode().map_err(|error| match error {
        image::ImageError::Limits(_) => "too large to show here".to_owned(),
        image::ImageError::Unsupported(_) => "no PNG, JPEG or WebP".to_owned(),
        error => format!("broken: {error}"),
    })
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_MEMORY);
    limits
}

/// Makes a picture small enough for so many pixels, coarsely and fast, if it is much larger.
pub fn shrunk(image: DynamicImage, width: u32, height: u32) -> DynamicImage {
    // The fine step that follows has enough to choose from.
    let (width, height) = (width.saturating_mul(2).max(1), height.saturating_mul(2).max(1));
    if image.width() > width && image.height() > height {
        let scale = f64::max(
            f64::from(width) / f64::from(image.width()),
            f64::from(height) / f64::from(image.height()),
        );
        let scaled = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
        return image.thumbnail_exact(scaled(image.width()), scaled(image.height()));
    }
    image
}

/// How a picture is brought to so many pixels: small ones grow with their pixels to be seen, others are smooth.
pub fn filter(image: &DynamicImage, width: u32, height: u32) -> FilterType {
    const MANY: u32 = 4;
    let grows = width / image.width().max(1) >= MANY && height / image.height().max(1) >= MANY;
    if grows { FilterType::Nearest } else { FilterType::CatmullRom }
}
