//! Every graph and every script in `tests/suite/errors` is broken, and says in comments at its end what is said of it.
//! `FLOW_BLESS=1` writes these comments anew; read the difference before you keep it.

use super::{flow, root};

#[test]
fn every_broken_graph_is_told_its_mistakes_at_their_places() {
    let folder = root().join("tests/suite/errors");
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    assert!(files.len() >= 40);
    let mut wrong = Vec::new();
    for file in files {
        let name = format!("tests/suite/errors/{}", file.file_name().unwrap().to_string_lossy());
        let text = std::fs::read_to_string(&file).unwrap();
        let (graph, expected) = split(&text);
        let call = flow(root(), &["check", &name]);
        assert_eq!(call.code, Some(2), "{name}: {}", call.stderr);
        let told = call.stderr.trim().replace(&root().display().to_string(), "$ROOT");
        if std::env::var_os("FLOW_BLESS").is_some() {
            std::fs::write(&file, format!("{graph}\n{}\n", commented(&told))).unwrap();
        } else if told != expected {
            wrong.push(format!("{name} expects\n{expected}\nand is told\n{told}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The graph and the message in the comments behind it.
fn split(text: &str) -> (&str, String) {
    let graph = text.find("\n// error: ").map_or(text, |at| &text[..at]);
    let comments = text[graph.len()..].lines().filter_map(|line| line.strip_prefix("//"));
    let message: Vec<_> = comments.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    (graph, message.join("\n"))
}

fn commented(message: &str) -> String {
    message.lines().map(|line| format!("// {line}").trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
