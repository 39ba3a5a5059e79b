//! Pictures from files, with captions from text files and masks from pictures beside them.

use std::fs;
use std::path::{Path, PathBuf};

use flow_engine::{Problem, Project, Result};
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageReader, Limits, RgbImage};

use super::Picture;
use super::find::{caption_file, mask_file};
use flow_engine::file::is_special;

/// How many broken files an error names.
const NAMED: usize = 10;

/// Looks at the headers of picture files and of their masks, and at their captions; reports every broken one.
pub fn check(files: &[PathBuf], project: &Project) -> Result<(), Problem> {
    let mut broken = Broken::default();
    for file in files {
        let size = broken.note(file, size(file));
        if let (Some(size), Some(mask)) = (size, mask_file(file)) {
            broken.note(&mask, self::size(&mask).and_then(|of_mask| same_size(of_mask, size)));
        }
        broken.note_caption(file, caption(file));
    }
    broken.report(project)
}

/// Loads picture files with their captions and masks; reports every broken one. `step` is called after
/// each file with the number of files so far, and may stop the loading.
pub fn load(
    files: &[PathBuf],
    project: &Project,
    mut step: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<Picture>> {
    let mut broken = Broken::default();
    let mut pictures = Vec::with_capacity(files.len());
    for (index, file) in files.iter().enumerate() {
        let pixels = broken.note(file, decode(file));
        let caption = broken.note_caption(file, caption(file)).flatten();
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        if let Some(pixels) = pixels {
            let mask = mask_file(file).and_then(|file| broken.note(&file, mask(&file, pixels.dimensions())));
            pictures.push(Picture { caption, mask, ..Picture::new(name, pixels) });
        }
        step(index + 1)?;
    }
    broken.report(project)?;
    Ok(pictures)
}

/// Files that could not be read, and why.
#[derive(Default)]
struct Broken {
    files: Vec<(PathBuf, String)>,
}

impl Broken {
    fn note<T>(&mut self, file: &Path, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.files.push((file.to_path_buf(), format!("{error:#}")))).ok()
    }

    fn note_caption<T>(&mut self, picture: &Path, result: Result<T>) -> Option<T> {
        self.note(&picture.with_extension("txt"), result)
    }

    fn report(self, project: &Project) -> Result<(), Problem> {
        let shown = |path: &Path| path.strip_prefix(project.root()).unwrap_or(path).display().to_string();
        let hint = "pictures are PNG, JPEG or WebP; captions are UTF-8 text; masks are grey and as large as \
                    their pictures";
        match &self.files[..] {
            [] => Ok(()),
            [(file, why)] => Err(Problem::new(format!("cannot read {}: {why}", shown(file))).hint(hint)),
            files => {
                let named = files.iter().take(NAMED).map(|(file, why)| format!("{} ({why})", shown(file)));
                let mut list = named.collect::<Vec<_>>().join(", ");
                if files.len() > NAMED {
                    list.push_str(&format!(" and {} more", files.len() - NAMED));
                }
                Err(Problem::new(format!("cannot read {} files: {list}", files.len())).hint(hint))
            }
        }
    }
}

/// A reader that goes by the first bytes of the file, and by its ending only if they say nothing.
fn open(file: &Path) -> Result<ImageReader<std::io::BufReader<fs::File>>> {
    anyhow::ensure!(!is_special(file), "it is a pipe, a socket or a device, not a file");
    Ok(ImageReader::open(file)?.with_guessed_format()?)
}

/// Width and height of a picture file once it is upright, from its header.
fn size(file: &Path) -> Result<(u32, u32)> {
    let mut decoder = open(file)?.into_decoder()?;
    let (width, height) = decoder.dimensions();
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    let is_turned =
        matches!(orientation(&mut decoder), Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH);
    Ok(if is_turned { (height, width) } else { (width, height) })
}

/// What EXIF says; broken EXIF is no reason to refuse a picture.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

/// A picture file as it is stored, but upright as its EXIF orientation says.
fn upright(file: &Path) -> Result<DynamicImage> {
    let mut decoder = open(file)?.into_decoder()?;
    // A header may promise more pixels than there is memory for.
    Limits::default().reserve(decoder.total_bytes())?;
    let orientation = orientation(&mut decoder);
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// The pixels of a picture file, upright and laid over white.
fn decode(file: &Path) -> Result<RgbImage> {
    Ok(over_white(&upright(file)?))
}

/// A mask for a picture of some width and height.
fn mask(file: &Path, picture: (u32, u32)) -> Result<GrayImage> {
    let mask = upright(file)?;
    same_size((mask.width(), mask.height()), picture)?;
    let pixels = mask.to_rgba8();
    let is_grey = |pixel: &image::Rgba<u8>| {
        let [red, green, blue, alpha] = pixel.0;
        red == green && green == blue && alpha == u8::MAX
    };
    anyhow::ensure!(pixels.pixels().all(is_grey), "a mask is grey and opaque, and this has colours or alpha");
    Ok(GrayImage::from_fn(pixels.width(), pixels.height(), |x, y| image::Luma([pixels.get_pixel(x, y).0[0]])))
}

fn same_size(mask: (u32, u32), picture: (u32, u32)) -> Result<()> {
    let words = |(width, height): (u32, u32)| format!("{width} x {height} pixels");
    anyhow::ensure!(mask == picture, "the mask is {}, but its picture {}", words(mask), words(picture));
    Ok(())
}

fn over_white(picture: &DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.to_rgb8();
    }
    let picture = picture.to_rgba8();
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue, alpha] = picture.get_pixel(x, y).0.map(u32::from);
        let blend = |value: u32| ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        image::Rgb([blend(red), blend(green), blend(blue)])
    })
}

/// The caption beside a picture, without white space around it.
fn caption(picture: &Path) -> Result<Option<String>> {
    let Some(file) = caption_file(picture) else { return Ok(None) };
    let text = fs::read_to_string(file)?;
    Ok(Some(text.trim_start_matches('\u{feff}').trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::find::find;
    use super::*;
    use image::{Luma, LumaA, Rgb, Rgba};

    fn loaded(picture: impl Into<DynamicImage>, name: &str) -> RgbImage {
        let folder = tempfile::tempdir().unwrap();
        picture.into().save(folder.path().join(name)).unwrap();
        let project = Project::at(folder.path());
        let files = find(name, &project).unwrap();
        check(&files, &project).unwrap();
        load(&files, &project, |_| Ok(())).unwrap().remove(0).pixels
    }

    #[test]
    fn grey_and_16_bit_pictures_become_rgb() {
        let grey = image::GrayImage::from_pixel(3, 2, Luma([77]));
        assert_eq!(loaded(grey, "a.png"), RgbImage::from_pixel(3, 2, Rgb([77; 3])));
        let deep = image::ImageBuffer::from_pixel(3, 2, Rgb([0xffff_u16, 0x8080, 0]));
        assert_eq!(loaded(deep, "a.png"), RgbImage::from_pixel(3, 2, Rgb([255, 128, 0])));
    }

    #[test]
    fn what_is_transparent_becomes_white() {
        let half = image::RgbaImage::from_pixel(2, 2, Rgba([255, 0, 100, 128]));
        assert_eq!(loaded(half, "a.png"), RgbImage::from_pixel(2, 2, Rgb([255, 127, 177])));
        let clear = image::GrayAlphaImage::from_pixel(2, 2, LumaA([0, 0]));
        assert_eq!(loaded(clear, "a.png"), RgbImage::from_pixel(2, 2, Rgb([255; 3])));
    }

    #[test]
    fn jpeg_and_webp_are_read_too_and_the_first_bytes_decide() {
        let red = RgbImage::from_pixel(16, 16, Rgb([254, 0, 0]));
        assert_eq!(loaded(red.clone(), "a.jpg")[(8, 8)], Rgb([254, 0, 0]));
        assert_eq!(loaded(red.clone(), "a.webp"), red);
        let folder = tempfile::tempdir().unwrap();
        red.save(folder.path().join("a.png")).unwrap();
        fs::rename(folder.path().join("a.png"), folder.path().join("a.jpg")).unwrap();
        assert_eq!(decode(&folder.path().join("a.jpg")).unwrap(), red);
    }

    #[test]
    fn a_jpeg_is_turned_as_its_exif_says() {
        let mut jpeg = Vec::new();
        let wide = RgbImage::from_pixel(16, 8, Rgb([0, 0, 254]));
        wide.write_to(&mut std::io::Cursor::new(&mut jpeg), image::ImageFormat::Jpeg).unwrap();
        // APP1 with one entry in a little-endian TIFF header: orientation (0x112) is 6, a quarter turn.
        let exif =
            b"\xff\xe1\x00\x22Exif\0\0II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        jpeg.splice(2..2, exif.iter().copied());
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.jpg"), jpeg).unwrap();
        assert_eq!(decode(&folder.path().join("a.jpg")).unwrap().dimensions(), (8, 16));
        assert_eq!(size(&folder.path().join("a.jpg")).unwrap(), (8, 16));
    }

    #[test]
    fn a_mask_is_grey_in_whatever_form_it_is_stored() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.mask.png");
        let saved = |mask: DynamicImage| {
            mask.save(&file).unwrap();
            mask_of(&file)
        };
        let grey = GrayImage::from_fn(3, 2, |x, _| Luma([x as u8 * 100]));
        assert_eq!(saved(grey.clone().into()).unwrap(), grey);
        assert_eq!(saved(DynamicImage::from(grey.clone()).to_rgb8().into()).unwrap(), grey);
        assert_eq!(saved(DynamicImage::from(grey.clone()).to_luma16().into()).unwrap(), grey);
        for wrong in [
            DynamicImage::from(RgbImage::from_pixel(3, 2, Rgb([1, 2, 3]))),
            image::RgbaImage::from_pixel(3, 2, Rgba([1, 1, 1, 0])).into(),
        ] {
            let said = saved(wrong).unwrap_err().to_string();
            assert_eq!(said, "a mask is grey and opaque, and this has colours or alpha");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_refused_instead_of_waited_for() {
        use super::super::testing::{at_once, pipe};
        let folder = tempfile::tempdir().unwrap();
        let at = pipe(folder.path(), "a.png");
        let root = folder.path().to_owned();
        let said = at_once(move || {
            let project = Project::at(&root);
            let found = ["a.png", ".", "*.png"].map(|path| find(path, &project).unwrap_err().to_string());
            let read = check(std::slice::from_ref(&at), &project).unwrap_err().to_string();
            let loaded = load(&[at], &project, |_| Ok(())).unwrap_err().to_string();
            [found.to_vec(), vec![read, loaded]].concat()
        });
        for said in said {
            assert!(
                said.contains("a.png") && said.contains("a pipe, a socket or a device, not a file"),
                "{said}"
            );
        }
    }

    fn mask_of(file: &Path) -> Result<GrayImage> {
        mask(file, (3, 2))
    }
}
