//! Words on a picture: measuring, wrapping, and drawing them anti-aliased.

use ab_glyph::{Font as _, FontRef, GlyphId, ScaleFont as _, point};
use epaint_default_fonts::{HACK_REGULAR, NOTO_EMOJI_REGULAR};
use flow_engine::Result;
use image::{Rgb, RgbImage};

/// Stands for what did not fit.
const ELLIPSIS: char = '…';

/// Letters of one size.
pub struct Letters {
    /// A character is taken from the first font that has it.
    fonts: [FontRef<'static>; 2],
    /// Height from the lowest descender to the highest ascender, in pixels.
    size: f32,
}

/// A glyph and its place to the right of the start of its line, in pixels.
struct Placed {
    font: usize,
    id: GlyphId,
    x: f32,
}

impl Letters {
    /// Letters of a height in pixels.
    pub fn new(size: f32) -> Result<Self> {
        let font = FontRef::try_from_slice;
        Ok(Self { fonts: [font(HACK_REGULAR)?, font(NOTO_EMOJI_REGULAR)?], size })
    }

    fn line_height(&self) -> u32 {
        (self.size * 1.15).ceil() as u32
    }

    fn width(&self, line: &str) -> u32 {
        self.place(line).1.ceil() as u32
    }

    /// Text in lines of at most `width` pixels; of more than `most` lines the last ends in `…`.
    pub fn wrap(&self, text: &str, width: u32, most: usize) -> Vec<String> {
        wrap(text, most, |line| self.width(line) <= width)
    }

    /// Height of some lines, in pixels.
    pub fn height(&self, lines: &[String]) -> u32 {
        lines.len() as u32 * self.line_height()
    }

    /// Width of the widest of some lines, in pixels.
    pub fn widest(&self, lines: &[String]) -> u32 {
        lines.iter().map(|line| self.width(line)).max().unwrap_or(0)
    }

    /// Draws lines with their upper left corner at `x`, `y`; what lies outside is cut off.
    pub fn draw(&self, canvas: &mut RgbImage, lines: &[String], (x, y): (u32, u32), ink: Rgb<u8>) {
        let tops = (y..).step_by(self.line_height() as usize);
        for (line, top) in lines.iter().zip(tops) {
            self.draw_line(canvas, line, x, top, ink);
        }
    }

    fn draw_line(&self, canvas: &mut RgbImage, line: &str, x: u32, y: u32, ink: Rgb<u8>) {
        let baseline = y as f32 + self.fonts[0].as_scaled(self.size).ascent().round();
        for Placed { font, id, x: offset } in self.place(line).0 {
            let glyph = id.with_scale_and_position(self.size, point(x as f32 + offset, baseline));
            let Some(outline) = self.fonts[font].outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|dx, dy, coverage| {
                let (x, y) = (corner.x + dx as f32, corner.y + dy as f32);
                if x >= 0.0 && y >= 0.0 && (x as u32) < canvas.width() && (y as u32) < canvas.height() {
                    lay_over(canvas.get_pixel_mut(x as u32, y as u32), ink, coverage);
                }
            });
        }
    }

    /// The glyphs of a line, and its width.
    fn place(&self, line: &str) -> (Vec<Placed>, f32) {
        let mut placed: Vec<Placed> = Vec::with_capacity(line.len());
        let mut x = 0.0;
        for char in line.chars().filter(|&char| is_visible(char)) {
            // A character that no font has is drawn as the first font's sign for that.
            let font = self.fonts.iter().position(|font| font.glyph_id(char).0 != 0).unwrap_or(0);
            let scaled = self.fonts[font].as_scaled(self.size);
            let id = scaled.glyph_id(char);
            if let Some(before) = placed.last().filter(|before| before.font == font) {
                x += scaled.kern(before.id, id);
            }
            placed.push(Placed { font, id, x });
            x += scaled.h_advance(id);
        }
        (placed, x)
    }
}

/// Whether a character takes room: joiners, direction marks and variation selectors do not.
fn is_visible(char: char) -> bool {
    !char.is_control()
        && !matches!(char, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        && !matches!(char, '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{1f3fb}'..='\u{1f3ff}')
}

fn lay_over(pixel: &mut Rgb<u8>, ink: Rgb<u8>, coverage: f32) {
    let coverage = coverage.clamp(0.0, 1.0);
    for (below, above) in pixel.0.iter_mut().zip(ink.0) {
        *below = (f32::from(*below) + (f32::from(above) - f32::from(*below)) * coverage).round() as u8;
    }
}

/// Breaks text into at most `most` lines that fit: at white space, and inside words only where
/// a word has no line to itself.
fn wrap(text: &str, most: usize, fits: impl Fn(&str) -> bool) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.trim().lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
            if fits(&longer) {
                line = longer;
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            let mut rest = word;
            while !fits(rest) && lines.len() <= most {
                let (head, tail) = rest.split_at(break_in(rest, &fits));
                lines.push(head.to_owned());
                rest = tail;
            }
            line = rest.to_owned();
        }
        lines.push(line);
        if lines.len() > most {
            break;
        }
    }
    shorten(lines, most, fits)
}

/// Where to break a word that does not fit: behind its last `/`, `_`, `-`, `.` or `,` that does,
/// or else behind its last character that does, but not before the first.
fn break_in(word: &str, fits: impl Fn(&str) -> bool) -> usize {
    let ends = word.char_indices().map(|(at, char)| (at + char.len_utf8(), char));
    let fitting: Vec<_> = ends.take_while(|&(end, _)| fits(&word[..end])).collect();
    let joint = fitting.iter().rev().find(|(_, char)| "/_-.,".contains(*char));
    let first = word.chars().next().map_or(0, char::len_utf8);
    joint.or(fitting.last()).map_or(first, |&(end, _)| end)
}

/// Drops the lines beyond the last, and marks that there were some.
fn shorten(mut lines: Vec<String>, most: usize, fits: impl Fn(&str) -> bool) -> Vec<String> {
    if lines.len() <= most {
        return lines;
    }
    lines.truncate(most);
    if let Some(last) = lines.last_mut() {
        last.push(ELLIPSIS);
        while !fits(last) && last.chars().count() > 1 {
            last.pop();
            last.pop();
            last.push(ELLIPSIS);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(text: &str, width: usize, most: usize) -> Vec<String> {
        wrap(text, most, |line| line.chars().count() <= width)
    }

    #[test]
    fn lines_break_between_words_and_at_line_ends() {
        assert_eq!(lines("a photo of\nsks  bear", 7, 9), ["a photo", "of", "sks", "bear"]);
        assert_eq!(lines("", 7, 9), Vec::<String>::new());
    }

    #[test]
    fn a_word_without_a_line_to_itself_breaks_at_a_joint_or_anywhere() {
        assert_eq!(lines("para_then_lora/0", 7, 9), ["para_", "then_", "lora/0"]);
        assert_eq!(lines("abcdefgh", 3, 9), ["abc", "def", "gh"]);
        assert_eq!(lines("äöü", 0, 9), ["ä", "ö", "ü", ""]);
    }

    #[test]
    fn what_does_not_fit_is_marked() {
        assert_eq!(lines("one two three four", 5, 2), ["one", "two…"]);
        assert_eq!(lines("one three four", 5, 2), ["one", "thre…"]);
    }

    #[test]
    fn characters_that_no_font_has_are_drawn_as_a_sign_for_that() {
        let letters = Letters::new(16.0).unwrap();
        let mut canvas = RgbImage::from_pixel(200, 20, Rgb([255; 3]));
        letters.draw_line(&mut canvas, "漢字 \u{10ffff}\u{0}\t🧸\u{fe0f}", 0, 0, Rgb([0; 3]));
        assert!(canvas.pixels().any(|pixel| pixel.0[0] < 64));
        assert_eq!(letters.width("a\u{200d}\u{fe0f}b\n"), letters.width("ab"));
    }

    #[test]
    fn drawing_outside_the_canvas_is_cut_off() {
        let letters = Letters::new(30.0).unwrap();
        letters.draw_line(&mut RgbImage::new(10, 10), "jumping over the edge", 5, 5, Rgb([255; 3]));
        letters.draw_line(&mut RgbImage::new(1, 1), "ÅÄ", 500, 500, Rgb([255; 3]));
    }

    proptest! {
        #[test]
        fn every_line_fits_and_no_character_is_lost(text in "[a-z/_ \u{e4}🧸-]{0,60}", width in 1_usize..20) {
            let wrapped = lines(&text, width, usize::MAX - 1);
            prop_assert!(wrapped.iter().all(|line| line.chars().count() <= width));
            let letters = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(letters(&wrapped.concat()), letters(&text));
        }

        #[test]
        fn any_text_is_wrapped_and_measured(text in any::<String>(), width in 0_u32..300, most in 1_usize..5) {
            let letters = Letters::new(14.0).unwrap();
            let wrapped = letters.wrap(&text, width, most);
            prop_assert!(wrapped.len() <= most);
        }
    }
}
