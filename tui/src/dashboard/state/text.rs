//! Words for numbers, and texts that a terminal may be given.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A text on one line without what would steer a terminal or turn the direction of writing.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut harmless = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\t' => harmless.push(' '),
            letter if steers(letter) => harmless.extend(letter.escape_default()),
            letter => harmless.push(letter),
        }
    }
    Cow::Owned(harmless)
}

/// Whether a character does something other than stand there.
fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How many columns a text takes.
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// As much of a text as fits into some columns, with an ellipsis where something is left out.
pub fn fit(text: &str, columns: usize) -> Cow<'_, str> {
    if text.len() <= columns || width(text) <= columns {
        return Cow::Borrowed(text);
    }
    if columns == 0 {
        return Cow::Borrowed("");
    }
    let mut taken = 0;
    let end = text.char_indices().find_map(|(at, letter)| {
        taken += letter.width().unwrap_or(0);
        (taken > columns - 1).then_some(at)
    });
    Cow::Owned(format!("{}…", &text[..end.unwrap_or(text.len())]))
}

/// The end of a text, as much as fits into some columns: of a path, the name of the file matters most.
pub fn fit_end(text: &str, columns: usize) -> Cow<'_, str> {
    if text.len() <= columns || width(text) <= columns {
        return Cow::Borrowed(text);
    }
    if columns == 0 {
        return Cow::Borrowed("");
    }
    let mut taken = 0;
    let begin = text.char_indices().rev().find_map(|(at, letter)| {
        taken += letter.width().unwrap_or(0);
        (taken > columns - 1).then_some(at + letter.len_utf8())
    });
    Cow::Owned(format!("…{}", &text[begin.unwrap_or(0)..]))
}

/// A text in exactly so many columns.
pub fn pad(text: &str, columns: usize) -> String {
    let fitted = fit(text, columns);
    let rest = columns.saturating_sub(width(&fitted));
    format!("{fitted}{:rest$}", "")
}

/// A text at the right of so many columns.
pub fn pad_left(text: &str, columns: usize) -> String {
    let fitted = fit(text, columns);
    let rest = columns.saturating_sub(width(&fitted));
    format!("{:rest$}{fitted}", "")
}

/// A stretch of time as a clock shows it: `0:07`, `12:34`, `1:02:03`, `3d 04:05`.
pub fn clock(seconds: f64) -> String {
    let whole = if seconds.is_finite() { seconds.max(0.0) as u64 } else { 0 };
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}:{seconds:02}"),
        (0, hours) => format!("{hours}:{minutes:02}:{seconds:02}"),
        (days, hours) => format!("{days}d {hours:02}:{minutes:02}"),
    }
}

/// How long something took: with decimals below a minute, as a clock from then on.
pub fn took(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 0.001 => "<1 ms".to_owned(),
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        seconds if seconds < 10.0 => format!("{seconds:.2} s"),
        seconds if seconds < 60.0 => format!("{seconds:.1} s"),
        seconds => clock(seconds),
    }
}

/// How long something will take.
pub fn left(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1.0 => "about done".to_owned(),
        seconds => format!("{} left", clock(seconds)),
    }
}

/// A number of bytes.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    let decimals = if value < 9.95 { 1 } else { 0 };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A number in four digits or so.
pub fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => value.to_string(),
        0.0 => "0".to_owned(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        size if size < 1.0 => format!("{value:.4}"),
        size if size < 100.0 => format!("{value:.2}"),
        _ if value.fract() == 0.0 => format!("{value}"),
        _ => format!("{value:.1}"),
    }
}

/// A number with its unit.
pub fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "s" if value >= 0.0 => took(value),
        "" => number(value),
        unit => format!("{} {}", number(value), harmless(unit)),
    }
}

/// How many happen in a second, or how long one takes if that reads better.
pub fn pace(per_second: f64, unit: &str) -> String {
    match per_second {
        pace if pace >= 1.0 => format!("{} {unit}s/s", number(pace)),
        pace => format!("{} per {unit}", took(1.0 / pace)),
    }
}

/// A count with its noun: "1 node", "3 nodes".
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_read_well() {
        assert_eq!(
            [0.0, 7.9, 754.0, 3723.0, 273_900.0].map(clock),
            ["0:00", "0:07", "12:34", "1:02:03", "3d 04:05"]
        );
        assert_eq!(
            [0.0001, 0.25, 1.5, 17.14, 96.6].map(took),
            ["<1 ms", "250 ms", "1.50 s", "17.1 s", "1:36"]
        );
        assert_eq!([5, 1536, 13_163_024, 1_048_000_000].map(bytes), ["5 B", "1.5 KiB", "13 MiB", "999 MiB"]);
        assert_eq!(
            [0.0, 0.1302, 1.5, 120.0, 2e-4, 1234.56].map(number),
            ["0", "0.1302", "1.50", "120", "2.00e-4", "1234.6"]
        );
        assert_eq!([pace(5.25, "step"), pace(0.05, "step")], ["5.25 steps/s", "20.0 s per step"]);
    }

    #[test]
    fn what_does_not_fit_ends_in_an_ellipsis() {
        assert_eq!(fit("a photo of a panda", 8), "a photo…");
        assert_eq!(fit("パンダの写真", 6), "パン…");
        assert_eq!(fit_end("graphs/train/para.ron", 9), "…para.ron");
        assert_eq!(fit("ab", 0), "");
        assert_eq!(width(&pad("パンダの写真", 6)), 6);
    }

    #[test]
    fn a_name_steers_neither_the_terminal_nor_the_direction_of_writing() {
        assert_eq!(harmless("a\u{1b}[31m\tb\u{202e}é"), "a\\u{1b}[31m b\\u{202e}é");
    }
}
