//! The page that people answer: one file, which needs no network and knows no method's name.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

const SCRIPT: &str = include_str!("survey.js");
const STYLE: &str = include_str!("survey.css");
/// What made a page, as its head has it.
const GENERATOR: &str = "flow survey";
/// Within how many bytes a page says what made it.
const HEAD_BYTES: u64 = 512;

/// What people see.
pub struct Survey {
    /// Its id.
    pub id: String,
    /// What people are asked.
    pub question: String,
    /// PNG files to stand above all choices.
    pub references: Vec<Vec<u8>>,
    /// The questions in their order.
    pub questions: Vec<Question>,
}

/// Pictures to choose from.
pub struct Question {
    /// Its id.
    pub id: String,
    /// What all pictures shall show, in words.
    pub prompt: Option<String>,
    /// The choices in their order.
    pub choices: Vec<Choice>,
}

/// A picture to choose.
pub struct Choice {
    /// Its id.
    pub id: String,
    /// The bytes of a PNG file that says nothing of how it was made.
    pub png: Vec<u8>,
}

/// The page as HTML.
pub fn page(survey: &Survey) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="generator" content=(GENERATOR);
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { "Survey" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                noscript { p { "This survey needs JavaScript, which is switched off in this browser." } }
                main #survey data-survey=(survey.id) hidden {
                    (header(survey))
                    @for (index, question) in survey.questions.iter().enumerate() {
                        (asked(question, index, survey))
                    }
                    (end())
                    nav aria-label="Questions" {
                        button #back type="button" { "Back" }
                        button #next type="button" { "Next" }
                    }
                    p .keys {
                        "Keys: " kbd { "1" } " to " kbd { "9" } " choose a picture, " kbd { "0" } " none of them, "
                        kbd { "←" } " and " kbd { "→" } " go to another question."
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// Whether a file is a page of this module.
pub fn is_page(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    let mark = format!("<meta name=\"generator\" content=\"{GENERATOR}\">");
    read.is_ok() && String::from_utf8_lossy(&head).contains(&mark)
}

/// Nothing from anywhere but this page's own script, style and pictures.
fn policy() -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    format!(
        "default-src 'none'; img-src data:; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT),
    )
}

fn header(survey: &Survey) -> Markup {
    html! {
        header {
            p #progress role="status" {}
            progress #bar max=(survey.questions.len()) value="0" aria-label="Answered questions" {}
            p #warning role="alert" hidden {
                "This browser forgets the answers when the page is closed. Save them on the last page before you leave."
            }
            p #welcome hidden { "This browser remembers these answers. Are they not yours? " (again()) }
        }
        @if !survey.references.is_empty() {
            section #references aria-label="Reference pictures" {
                @for (index, png) in survey.references.iter().enumerate() {
                    img src=(data_uri(png)) alt={ "Reference picture " (index + 1) };
                }
            }
        }
    }
}

fn asked(question: &Question, index: usize, survey: &Survey) -> Markup {
    let none = if question.choices.len() == 2 { "Neither" } else { "None of them" };
    html! {
        fieldset data-question=(question.id) tabindex="-1" hidden {
            legend {
                span .number { "Question " (index + 1) " of " (survey.questions.len()) }
                " " (survey.question)
            }
            @if let Some(prompt) = &question.prompt {
                p .prompt { "Prompt: " q { (prompt) } }
            }
            div .choices {
                @for (index, choice) in question.choices.iter().enumerate() {
                    label .choice {
                        img src=(data_uri(&choice.png)) alt={ "Picture " (index + 1) };
                        span .name {
                            (radio(&question.id, &choice.id))
                            // The picture's `alt` says it. The script numbers both as they stand for a participant.
                            span .place aria-hidden="true" { (index + 1) }
                        }
                    }
                }
            }
            label .none { span .name { (radio(&question.id, "neither")) (none) } }
        }
    }
}

fn radio(question: &str, choice: &str) -> Markup {
    html! { input type="radio" name=(question) value=(choice) autocomplete="off"; " " }
}

fn end() -> Markup {
    html! {
        section #end tabindex="-1" aria-labelledby="thanks" hidden {
            h1 #thanks { "Your answers" }
            p #left {}
            p { a #download href="#" { "Save the answers" } }
            p { "Send the saved file to the person who asked you. Nothing leaves this browser by itself." }
            p { label for="copy" { "If the browser saves no file, copy this text and send it instead:" } }
            textarea #copy readonly rows="8" spellcheck="false" autocomplete="off" {}
            p { (again()) }
        }
    }
}

fn again() -> Markup {
    html! { button .again type="button" { "Begin again as another person" } }
}

fn data_uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(choices: usize, question: &str) -> Survey {
        let choice = |index: usize| Choice { id: format!("c{index}"), png: vec![index as u8] };
        let choices = (0..choices).map(choice).collect();
        Survey {
            id: "s".into(),
            question: question.into(),
            references: vec![b"r".to_vec()],
            questions: vec![Question { id: "q".into(), prompt: Some("<b>".into()), choices }],
        }
    }

    #[test]
    fn what_people_write_stays_text() {
        let page = page(&survey(2, "</legend><script>alert(1)</script>"));
        assert!(page.contains("&lt;/legend&gt;&lt;script&gt;alert") && page.contains("<q>&lt;b&gt;</q>"));
        assert_eq!(page.matches("<script").count(), 1);
        assert!(!SCRIPT.contains("</") && !STYLE.contains("</"));
    }

    #[test]
    fn none_is_a_choice_and_has_its_word() {
        let (two, three) = (page(&survey(2, "?")), page(&survey(3, "?")));
        assert!(two.contains("Neither") && !two.contains("None of them"));
        assert!(three.contains("None of them") && !three.contains("Neither"));
        assert_eq!((two.matches("type=\"radio\"").count(), three.matches("type=\"radio\"").count()), (3, 4));
    }

    #[test]
    fn nothing_is_fetched_and_nothing_else_runs() {
        let page = page(&survey(2, "?"));
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("unsafe-inline"));
        assert!(page.contains("default-src 'none'") && page.contains("script-src 'sha256-"));
        // The policy allows no style in an attribute.
        assert!(!page.contains(" style=") && !page.contains(" onclick="));
    }

    #[test]
    fn the_script_finds_what_it_looks_for() {
        let page = page(&survey(2, "?"));
        let ids: Vec<_> = SCRIPT.split("find(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(ids.contains(&"copy") && ids.contains(&"welcome"));
        for id in ids {
            assert!(page.contains(&format!(" id=\"{id}\"")), "{id}");
        }
    }

    #[test]
    fn a_page_is_known_by_its_head_and_nothing_else_is_taken_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            let file = folder.path().join("file.html");
            std::fs::write(&file, text).unwrap();
            file
        };
        let page = page(&survey(2, "?"));
        assert!(is_page(&file(&page)));
        let quoted = format!("<p>{}</p>{page}", "-".repeat(512));
        for other in ["", "<!DOCTYPE html><title>Survey</title>", &page.replace(GENERATOR, "me"), &quoted] {
            assert!(!is_page(&file(other)), "{other}");
        }
        assert!(!is_page(folder.path()) && !is_page(&folder.path().join("gone")));
    }
}
