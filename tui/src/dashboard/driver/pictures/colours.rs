//! How many colours a terminal has, and which of them is nearest.

use image::Rgb;
use ratatui::style::Color;

/// How many colours there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every one.
    Full,
    /// The 256 of xterm.
    Indexed,
    /// The sixteen that every terminal has, as xterm has them.
    Sixteen,
}

/// The sides of xterm's cube of colours.
const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
/// The sixteen as xterm shows them.
const SIXTEEN: [[u8; 3]; 16] = [
    [0, 0, 0],
    [205, 0, 0],
    [0, 205, 0],
    [205, 205, 0],
    [0, 0, 238],
    [205, 0, 205],
    [0, 205, 205],
    [229, 229, 229],
    [127, 127, 127],
    [255, 0, 0],
    [0, 255, 0],
    [255, 255, 0],
    [92, 92, 255],
    [255, 0, 255],
    [0, 255, 255],
    [255, 255, 255],
];

impl Depth {
    /// The depth of a terminal by what it says of itself: `COLORTERM` and `TERM`.
    pub fn named(colorterm: &str, term: &str) -> Self {
        let full = ["direct", "kitty", "ghostty", "alacritty", "wezterm", "foot", "iterm"];
        match () {
            () if matches!(colorterm, "truecolor" | "24bit") => Self::Full,
            () if full.iter().any(|name| term.contains(name)) => Self::Full,
            // tmux finds the nearest of what the terminal around it has.
            () if term.contains("256color") || term.starts_with("tmux") => Self::Indexed,
            () => Self::Sixteen,
        }
    }

    /// The nearest colour that there is.
    pub fn of(self, colour: Rgb<u8>) -> Color {
        let [red, green, blue] = colour.0;
        match self {
            Self::Full => Color::Rgb(red, green, blue),
            Self::Indexed => Color::Indexed(nearest_of_256(colour.0)),
            Self::Sixteen => Color::Indexed(nearest_of_16(colour.0)),
        }
    }
}

/// In the cube, or among the greys behind it.
fn nearest_of_256(colour: [u8; 3]) -> u8 {
    let step = |side: u8| (0..STEPS.len()).min_by_key(|&step| STEPS[step].abs_diff(side)).unwrap_or(0);
    let [red, green, blue] = colour.map(step);
    let in_cube = (16 + 36 * red + 6 * green + blue) as u8;
    let mean = colour.iter().map(|&side| u32::from(side)).sum::<u32>() / 3;
    let grey = (mean.saturating_sub(3) / 10).min(23) as u8;
    let grey_side = 8 + 10 * grey;
    let is_grey_nearer =
        distance(colour, [grey_side; 3]) < distance(colour, [STEPS[red], STEPS[green], STEPS[blue]]);
    if is_grey_nearer { 232 + grey } else { in_cube }
}

fn nearest_of_16(colour: [u8; 3]) -> u8 {
    (0..16).min_by_key(|&index| distance(colour, SIXTEEN[usize::from(index)])).unwrap_or(0)
}

fn distance(a: [u8; 3], b: [u8; 3]) -> u32 {
    a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_that_the_terminal_has_is_itself() {
        for index in 16..=231_u8 {
            let at = usize::from(index - 16);
            let colour = [STEPS[at / 36], STEPS[at / 6 % 6], STEPS[at % 6]];
            assert_eq!(nearest_of_256(colour), index, "{colour:?}");
        }
        for grey in 0..24_u8 {
            assert_eq!(nearest_of_256([8 + 10 * grey; 3]), 232 + grey);
        }
        for index in 0..16_u8 {
            assert_eq!(nearest_of_16(SIXTEEN[usize::from(index)]), index);
        }
    }

    #[test]
    fn a_terminal_has_the_colours_that_it_says() {
        assert_eq!(Depth::named("truecolor", "xterm"), Depth::Full);
        assert_eq!(Depth::named("", "xterm-kitty"), Depth::Full);
        assert_eq!(Depth::named("", "screen-256color"), Depth::Indexed);
        assert_eq!(Depth::named("", "linux"), Depth::Sixteen);
    }
}
