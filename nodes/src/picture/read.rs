//! Pictures from files: a folder of them or a single one, with captions from text files beside.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use flow_engine::{Problem, Project, Result};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _, ImageReader, Limits, RgbImage};

use super::Picture;

/// The endings by which a picture is known in a folder, in lower case.
pub const ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// How many broken files an error names.
const NAMED: usize = 10;

/// The picture files at a path of a graph: the file itself, or all pictures of the folder in
/// natural order, `2.png` before `10.png`.
///
/// Folders inside the folder and hidden files are left out.
pub fn find(path: &str, project: &Project) -> Result<Vec<PathBuf>, Problem> {
    let full = project.path(path);
    let metadata = fs::metadata(&full).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Problem::new(format!("there is no `{path}`")).hint(project.describe())
        }
        _ => Problem::new(format!("cannot read `{path}`: {error}")).hint(project.describe()),
    })?;
    if !metadata.is_dir() {
        return Ok(vec![full]);
    }
    let files = pictures_in(&full).map_err(|error| Problem::new(format!("cannot list `{path}`: {error}")))?;
    if files.is_empty() {
        let endings = ENDINGS.map(|ending| format!(".{ending}")).join(", ");
        return Err(Problem::new(format!("there is no picture in `{path}`"))
            .hint(format!("read are files that end in {endings}; {}", project.describe())));
    }
    Ok(files)
}

fn pictures_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<std::io::Result<_>>()?;
    paths.retain(|path| is_picture(path));
    paths.sort_by(|a, b| natural_order(&file_name(a), &file_name(b)));
    Ok(paths)
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    // A dangling link is no folder and stays, so that it is reported.
    ENDINGS.contains(&ending.as_str()) && !file_name(path).starts_with('.') && !path.is_dir()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The order in which a person counts: runs of digits compare as numbers.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    while !rest_a.is_empty() && !rest_b.is_empty() {
        let (part_a, part_b) = (first_part(rest_a), first_part(rest_b));
        let (number_a, number_b) = (part_a.trim_start_matches('0'), part_b.trim_start_matches('0'));
        let order = match (is_number(part_a), is_number(part_b)) {
            (true, true) => number_a.len().cmp(&number_b.len()).then(number_a.cmp(number_b)),
            _ => part_a.cmp(part_b),
        };
        if order.is_ne() {
            return order;
        }
        (rest_a, rest_b) = (&rest_a[part_a.len()..], &rest_b[part_b.len()..]);
    }
    // `1` and `01` are the same number, and still have one order only.
    rest_a.len().cmp(&rest_b.len()).then(a.cmp(b))
}

/// The leading run of digits, or of anything else.
fn first_part(text: &str) -> &str {
    let digits = is_number(text);
    let end = text.find(|char: char| char.is_ascii_digit() != digits);
    &text[..end.unwrap_or(text.len())]
}

fn is_number(text: &str) -> bool {
    text.starts_with(|char: char| char.is_ascii_digit())
}

/// The text file beside a picture that holds its caption, if there is one.
pub fn caption_file(picture: &Path) -> Option<PathBuf> {
    Some(picture.with_extension("txt")).filter(|file| file != picture && file.is_file())
}

/// Looks at the headers of picture files and at their captions; reports every broken one.
pub fn check(files: &[PathBuf], project: &Project) -> Result<(), Problem> {
    let mut broken = Broken::default();
    for file in files {
        broken.note(file, open(file).and_then(|reader| Ok(reader.into_dimensions()?)));
        broken.note_caption(file, caption(file));
    }
    broken.report(project)
}

/// Loads picture files with their captions; reports every broken one. `step` is called after
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
        pictures.extend(pixels.map(|pixels| Picture { caption, ..Picture::new(name, pixels) }));
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
        let hint = "pictures are PNG, JPEG or WebP; captions are UTF-8 text";
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
    Ok(ImageReader::open(file)?.with_guessed_format()?)
}

/// The pixels of a picture file, upright as its EXIF orientation says and laid over white.
fn decode(file: &Path) -> Result<RgbImage> {
    let mut decoder = open(file)?.into_decoder()?;
    // A header may promise more pixels than there is memory for.
    Limits::default().reserve(decoder.total_bytes())?;
    // Broken EXIF is no reason to refuse a picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(over_white(&picture))
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
    fn names_are_in_the_order_in_which_a_person_counts() {
        let mut names = ["b", "10.png", "a10", "2.png", "a9b", "02.png", "a9", "99999999999999999999999", ""];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(
            names,
            ["", "02.png", "2.png", "10.png", "99999999999999999999999", "a9", "a9b", "a10", "b"]
        );
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
    }
}
