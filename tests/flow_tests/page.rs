//! Pages of results in a browser, where there is one.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// A phone and a wide screen, in CSS pixels.
const WIDTHS: [u32; 2] = [360, 1600];
const PATIENCE: Duration = Duration::from_secs(120);
/// What the probe writes around what it measured.
const MARKS: [&str; 2] = ["[measured ", " measured]"];

/// How wide a page came out in a window.
#[derive(Debug, PartialEq)]
struct Fit {
    window: u32,
    page: u32,
}

/// Holds that the page never scrolls sideways, on a phone or on a wide screen, with everything in it unfolded.
/// Where there is no browser, it says so and holds nothing.
pub fn fits_every_width(html: &Path) {
    let Some(fits) = measure(html) else { return };
    for Fit { window, page } in fits {
        assert!(page <= window, "{} is {page} px wide in a window of {window} px", html.display());
    }
}

/// Opens the page at every width. A window of a browser has a least width, so a frame stands for it; and the page's
/// policy forbids scripts, so the page around the frames looks into them.
fn measure(html: &Path) -> Option<Vec<Fit>> {
    let Some(browser) = browser() else {
        // Not by `eprintln!`, which is kept from those who run tests that succeed.
        let _ = writeln!(std::io::stderr(), "SKIPPED: no chromium here: {} is not opened", html.display());
        return None;
    };
    let page = std::fs::read_to_string(html).expect("a page").replace('&', "&amp;").replace('"', "&quot;");
    let frames: String = WIDTHS
        .iter()
        .map(|width| {
            format!("<iframe style=\"width:{width}px;height:800px;border:0\" srcdoc=\"{page}\"></iframe>")
        })
        .collect();
    let [before, after] = MARKS;
    let probe = format!(
        "<!DOCTYPE html><meta charset=\"utf-8\"><body>{frames}<script>
        onload = () => {{
            const fits = [...document.querySelectorAll('iframe')].map(({{ contentWindow: frame }}) => {{
                frame.document.querySelectorAll('details').forEach(details => details.open = true);
                return frame.innerWidth + ' ' + frame.document.documentElement.scrollWidth;
            }});
            document.documentElement.textContent = '{before}' + fits.join(',') + '{after}';
        }};
        </script>"
    );
    // Browsers from snaps see no other temporary folders.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let dom = open(&browser, &probe, folder.path());
    let measured = dom.split_once(before).and_then(|(_, rest)| rest.split_once(after));
    let (measured, _) = measured.unwrap_or_else(|| panic!("{} measured nothing: {dom}", browser.display()));
    let number = |text: &str| text.parse().expect("a width");
    let fits = measured.split(',').map(|fit| fit.split_once(' ').expect("two widths"));
    let fits: Vec<_> =
        fits.map(|(window, page)| Fit { window: number(window), page: number(page) }).collect();
    let windows: Vec<_> = fits.iter().map(|fit| fit.window).collect();
    assert_eq!(windows, WIDTHS, "the frames are windows of these widths");
    Some(fits)
}

/// The document that the browser makes of the page.
fn open(browser: &Path, html: &str, folder: &Path) -> String {
    let (page, dom, log) = (folder.join("probe.html"), folder.join("dom"), folder.join("log"));
    std::fs::write(&page, html).expect("the probe");
    let mut browser = Command::new(browser)
        // Its sandbox wants rights that tests in containers do not have, and the page is our own.
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"])
        .args(["--no-first-run", "--disable-extensions", "--window-size=1700,1000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(&page)
        .stdin(Stdio::null())
        .stdout(File::create(&dom).expect("a file for the document"))
        .stderr(File::create(&log).expect("a file for what it says"))
        .spawn()
        .expect("the browser starts");
    let end = Instant::now() + PATIENCE;
    let read = |file: &Path| String::from_utf8_lossy(&std::fs::read(file).expect("its output")).into_owned();
    loop {
        if let Some(status) = browser.try_wait().expect("the browser's state") {
            assert!(status.success(), "the browser ends with {status}: {}", read(&log));
            return read(&dom);
        }
        if Instant::now() > end {
            browser.kill().and_then(|()| browser.wait()).expect("the browser ends");
            panic!("the browser takes longer than {PATIENCE:?}: {}", read(&log));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    BROWSERS
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
}

#[test]
fn a_page_that_is_too_wide_is_found_out_and_its_policy_is_no_hiding_place() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let page = |width: &str| {
        let file = folder.path().join(format!("{width}.html"));
        let text = format!(
            "<!DOCTYPE html><html><head><meta charset=\"utf-8\">
            <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">
            </head><body style=\"margin:0\"><details><div style=\"width:{width}\">&amp;</div></details></body></html>"
        );
        std::fs::write(&file, text).expect("a page");
        file
    };
    fits_every_width(&page("100%"));
    let Some(fits) = measure(&page("900px")) else { return };
    assert_eq!(fits, [Fit { window: 360, page: 900 }, Fit { window: 1600, page: 1600 }]);
}
