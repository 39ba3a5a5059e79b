use super::*;

const HOSTILE: &str = "</style><b>&\"'";

fn cell(text: &str, is_best: bool) -> Cell {
    Cell { text: text.into(), exact: Some(format!("{text}00001")), is_best }
}

fn table(name: &str, rows: usize) -> Table {
    let columns = vec![
        Column { name: name.into(), ..Column::default() },
        Column { name: "DINO".into(), is_number: true, better: Some(Better::Higher) },
        Column { name: "seconds".into(), is_number: true, better: Some(Better::Lower) },
    ];
    let row = |row: usize| vec![cell(name, false), cell("0.7", row == 0), cell("12", false)];
    Table { columns, rows: (0..rows).map(row).collect(), origin: Some(name.into()) }
}

/// A page that says `text` wherever something can be said.
fn page(text: &str) -> Page {
    let drawing = format!("<svg xmlns=\"http://www.w3.org/2000/svg\"><desc>{text}</desc></svg>");
    let section = Section {
        title: text.into(),
        notes: vec![text.into()],
        blocks: vec![
            Block::Table(table(text, 2)),
            Block::Picture { name: text.into(), png: vec![0xFB, 0xFF, 0], size: (64, 48) },
            Block::Picture { name: text.into(), png: vec![1], size: (2048, 1024) },
            Block::Drawing { name: text.into(), svg: drawing },
        ],
    };
    let sections = vec![section.clone(), section.clone(), section];
    Page { title: text.into(), lead: vec![text.into()], sections, origin: vec![text.into()] }
}

/// What stands behind each `before`, up to the next quotation mark.
fn all<'a>(html: &'a str, before: &str) -> Vec<&'a str> {
    html.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn nothing_is_fetched_and_nothing_runs() {
    let html = page("Subjects").to_html();
    for foreign in ["http://", "https://", "<script", "<link", "url(", "@import", "javascript:"] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    assert!(all(&html, "src=\"").iter().all(|source| source.starts_with("data:image/")));
    assert!(html.contains("content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:;"));
}

#[test]
fn hostile_text_is_text_everywhere() {
    let html = page(HOSTILE).to_html();
    assert!(!html.contains("<b>") && !html.contains("&\""), "{html}");
    assert_eq!(html.matches("</style>").count(), 1);
    let escaped = "&lt;/style&gt;&lt;b&gt;&amp;&quot;'";
    let said = ["<title>", "<h1>", "id=\"style-b\">", "<p>", "<figcaption>", "<code>", "scope=\"col\">"];
    for before in said.into_iter().chain(["scope=\"row\" title=\"", "scope=\"row\">"]) {
        assert!(html.contains(&format!("{before}{escaped}")), "{before}");
    }
}

#[test]
fn a_thing_has_its_name_once_and_the_rest_refers_to_it() {
    let mut page = page("Page");
    page.sections.truncate(1);
    let section = &mut page.sections[0];
    section.title = "Heading".into();
    section.blocks.truncate(2);
    let Block::Picture { name, .. } = &mut section.blocks[1] else { panic!("the picture comes second") };
    *name = "Caption".into();
    let html = page.to_html();
    for (name, place) in [("Heading", "<h2 id=\"heading\">Heading</h2>"), ("Caption", "<figcaption>Caption<")]
    {
        assert!(html.contains(place) && html.matches(name).count() == 1, "{html}");
    }
    assert!(html.contains("role=\"group\" aria-labelledby=\"heading\""), "{html}");
}

#[test]
fn every_digit_is_there_for_those_who_cannot_point() {
    let mut table = table("subject", 1);
    table.rows[0][2].exact = None;
    let html = table.to_markup("").into_string();
    let (_, exact) = html.split_once("<details class=\"exact\">").unwrap();
    assert!(exact.starts_with("<summary>With every digit</summary>"), "{html}");
    let cells =
        "<th scope=\"row\">subject00001</th><td class=\"number\">0.700001</td><td class=\"number\">12</td>";
    assert!(exact.contains(cells) && !exact.contains("<strong>"), "{html}");
    table.rows[0].iter_mut().for_each(|cell| cell.exact = None);
    assert!(!table.to_markup("").into_string().contains("<details"));
}

#[test]
fn names_between_backticks_are_code_and_a_lonely_backtick_is_itself() {
    assert_eq!(prose("of `a <b>`, `c`").into_string(), "of <code>a &lt;b&gt;</code>, <code>c</code>");
    assert_eq!(prose("a ` alone").into_string(), "a ` alone");
}

#[test]
fn sections_of_one_title_have_ids_of_their_own_and_are_found() {
    let mut page = page("Größe & Zeit");
    page.sections[1].title = "größe zeit 2".into();
    page.sections.push(Section { title: "¡…!".into(), ..Section::default() });
    let html = page.to_html();
    let ids = all(&html, " id=\"");
    assert_eq!(ids, ["größe-zeit", "größe-zeit-2", "größe-zeit-3", "section"]);
    assert_eq!(all(&html, "href=\"#"), ids);
}

#[test]
fn two_sections_need_no_contents() {
    let mut page = page("Subjects");
    page.sections.truncate(2);
    assert!(!page.to_html().contains("<nav"));
}

#[test]
fn the_best_is_strong_and_heads_say_what_is_better() {
    let html = table("subject", 2).to_markup("").into_string();
    assert_eq!(html.matches("<strong>").count(), 1, "{html}");
    assert!(html.contains("<td class=\"number\" title=\"0.700001\"><strong>0.7</strong></td>"), "{html}");
    assert!(html.contains("title=\"higher is better\" aria-label=\"higher is better\">↑</span>"), "{html}");
    assert!(html.contains("title=\"lower is better\" aria-label=\"lower is better\">↓</span>"), "{html}");
    assert!(html.contains("2 rows, measured by <code>subject</code></caption>"), "{html}");
}

#[test]
fn a_short_row_is_filled_up_and_a_long_table_is_folded() {
    let mut short = table("subject", 1);
    short.rows[0].truncate(1);
    let html = short.to_markup("").into_string();
    assert!(html.contains("<td class=\"number\"></td><td class=\"number\"></td></tr>"), "{html}");
    assert!(!table("subject", OPEN_ROWS).to_markup("").into_string().contains("<details>"));
    let long = table("subject", OPEN_ROWS + 1).to_markup("").into_string();
    assert!(long.starts_with("<details><summary>Table of 31 rows</summary>"), "{long}");
}

#[test]
fn pictures_keep_their_size_and_small_ones_their_pixels() {
    let html = page("Subjects").to_html();
    let small = "class=\"small\" alt=\"64 × 48 pixels\" width=\"64\" height=\"48\" src=\"data:image/png;base64,+/8A\"";
    assert!(html.contains(small), "{html}");
    assert!(html.contains("<img alt=\"2048 × 1024 pixels\" width=\"2048\" height=\"1024\""), "{html}");
    assert!(html.contains("<img alt=\"Drawing\" src=\"data:image/svg+xml;"), "{html}");
    assert!(html.contains("<div class=\"scroll card\""), "{html}");
}

#[test]
fn the_same_page_is_the_same_bytes() {
    assert_eq!(page("Subjects").to_html(), page("Subjects").to_html());
    assert_ne!(page("Subjects").to_html(), page("Objects").to_html());
}
