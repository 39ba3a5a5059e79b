//! PNG files that say how they were made.
//!
//! Three text chunks stand before the pixels: `parameters` for other tools (see
//! [`Generation`](super::Generation)), `flow` with the whole graph as RON, and `flow_key` with the
//! content key of the node that saved the picture. Equal pictures give equal bytes.

use std::io::Write;

use ::png::text_metadata::{ITXtChunk, TEXtChunk};
use ::png::{BitDepth, ColorType, Compression, Decoder, Encoder, Filter, Writer};
use anyhow::Context as _;
use flow_engine::Result;
use image::{ImageBuffer, Luma, Pixel, Rgb, RgbImage};

/// A keyword and its text, in the order in which they stand in the file.
pub type TextChunk = (&'static str, String);

/// The name of the chunk that other tools read.
pub const PARAMETERS: &str = "parameters";
/// The name of the chunk with the graph.
pub const GRAPH: &str = "flow";
/// The name of the chunk with the content key.
pub const KEY: &str = "flow_key";

/// A picture and its text chunks as the bytes of a PNG file.
pub fn encode(pixels: &RgbImage, texts: &[TextChunk]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, pixels.width(), pixels.height());
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Balanced);
    encoder.set_filter(Filter::Adaptive);
    let mut writer = encoder.write_header().context("cannot encode the picture")?;
    for (keyword, text) in texts {
        write_text(&mut writer, keyword, text).with_context(|| format!("cannot embed `{keyword}`"))?;
    }
    writer.write_image_data(pixels.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

/// Pixels that a PNG file holds as they are.
pub(super) trait Plain: Pixel<Subpixel = u8> + 'static {
    /// What PNG calls them.
    const COLOR: ColorType;
}

impl Plain for Rgb<u8> {
    const COLOR: ColorType = ColorType::Rgb;
}

impl Plain for Luma<u8> {
    const COLOR: ColorType = ColorType::Grayscale;
}

/// A picture as the bytes of a PNG file that says nothing of it, quickly.
///
/// # Errors
/// A picture without pixels.
pub(super) fn encode_plain<P: Plain>(pixels: &ImageBuffer<P, Vec<u8>>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, pixels.width(), pixels.height());
    encoder.set_color(P::COLOR);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    let mut writer = encoder.write_header().context("cannot encode the picture")?;
    writer.write_image_data(pixels.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

/// How many times its size a file can become at most: deflate has no more than 258 bytes for two bits.
const MOST_PACKED: usize = 1032;

/// The pixels that [`encode_plain`] wrote.
///
/// # Errors
/// Bytes that are no PNG file, or one of another kind of pixels; one that promises more than it can hold.
pub(super) fn decode_plain<P: Plain>(bytes: &[u8]) -> Result<ImageBuffer<P, Vec<u8>>> {
    let mut reader = Decoder::new(std::io::Cursor::new(bytes)).read_info()?;
    let info = reader.info();
    let kind = (info.color_type, info.bit_depth, info.interlaced, info.palette.is_some());
    anyhow::ensure!(kind == (P::COLOR, BitDepth::Eight, false, false), "pixels of another kind");
    anyhow::ensure!(info.trns.is_none() && info.animation_control.is_none(), "more than plain pixels");
    let (width, height) = (info.width, info.height);
    let size = reader.output_buffer_size().filter(|size| size / MOST_PACKED <= bytes.len());
    let mut raw = vec![0; size.context("a header that promises more pixels than there are")?];
    reader.next_frame(&mut raw)?;
    reader.finish()?;
    ImageBuffer::from_raw(width, height, raw).context("another number of pixels than there should be")
}

/// Latin-1 text goes into `tEXt` and everything else into `iTXt`: what other tools expect,
/// because PIL does so.
fn write_text<W: Write>(writer: &mut Writer<W>, keyword: &str, text: &str) -> Result<()> {
    if text.chars().all(|char| u32::from(char) < 0x100) {
        writer.write_text_chunk(&TEXtChunk::new(keyword, text))?;
    } else {
        writer.write_text_chunk(&ITXtChunk::new(keyword, text))?;
    }
    Ok(())
}

/// The text chunks of a PNG file: first the `tEXt`, then the `iTXt`.
pub fn texts(bytes: &[u8]) -> Result<Vec<(String, String)>> {
    let mut reader = Decoder::new(std::io::Cursor::new(bytes)).read_info()?;
    reader.finish()?;
    let info = reader.info();
    let latin = info.uncompressed_latin1_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.text.clone()));
    let mut texts: Vec<_> = latin.collect();
    for chunk in &info.utf8_text {
        texts.push((chunk.keyword.clone(), chunk.get_text()?));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels() -> RgbImage {
        RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8 * 40, y as u8 * 80, 200]))
    }

    /// The kinds of the chunks of a PNG file, in their order, with the keyword of text.
    fn chunks(mut bytes: &[u8]) -> Vec<String> {
        let mut kinds = Vec::new();
        bytes = &bytes[8..];
        while !bytes.is_empty() {
            let size = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
            let kind = String::from_utf8(bytes[4..8].to_vec()).unwrap();
            let keyword = bytes[8..8 + size].split(|&byte| byte == 0).next().unwrap();
            let is_text = kind.ends_with("Xt");
            let keyword = if is_text { String::from_utf8_lossy(keyword).into_owned() } else { String::new() };
            kinds.push(format!("{kind} {keyword}").trim().to_owned());
            bytes = &bytes[size + 12..];
        }
        kinds
    }

    #[test]
    fn pixels_and_texts_read_back() {
        let written = [(PARAMETERS, "a bear\nSteps: 3".to_owned()), (KEY, "00ff".to_owned())];
        let bytes = encode(&pixels(), &written).unwrap();
        assert_eq!(image::load_from_memory(&bytes).unwrap().to_rgb8(), pixels());
        let expected = written.map(|(keyword, text)| (keyword.to_owned(), text));
        assert_eq!(texts(&bytes).unwrap(), expected);
        assert_eq!(
            encode(&pixels(), &[(PARAMETERS, "a bear\nSteps: 3".into()), (KEY, "00ff".into())]).unwrap(),
            bytes
        );
    }

    #[test]
    fn umlauts_are_latin_and_emoji_are_not_and_both_read_back_in_their_order() {
        for (text, kind) in [("ein Bär, schön", "tEXt"), ("a 🧸 on the moon, Łódź", "iTXt")] {
            let written = [(PARAMETERS, text.into()), (GRAPH, "Graph()".into()), (KEY, "00".into())];
            let bytes = encode(&pixels(), &written).unwrap();
            let expected =
                ["IHDR", &format!("{kind} parameters"), "tEXt flow", "tEXt flow_key", "IDAT", "IEND"];
            assert_eq!(chunks(&bytes), expected);
            assert!(texts(&bytes).unwrap().contains(&(PARAMETERS.to_owned(), text.to_owned())));
        }
    }
}
