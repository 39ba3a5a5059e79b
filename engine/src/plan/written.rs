//! How the nodes of a plan are written in their graph, for those who show it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Plan, PlannedNode};
use crate::diagnostic::Cursor;
use crate::{Document, Graph, GraphNode};

/// What is told of a node's text, in characters: a screen shows no more.
const LONGEST: usize = 4000;

/// How a node is written in its graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The file or override that it stands in.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Its kind and its fields, as they stand there; the beginning, if that is long.
    pub text: String,
}

impl Plan {
    /// The nodes with how they are written in the graph that the plan is of.
    pub(crate) fn told_of(&self, graph: &Graph<'_>) -> Vec<PlannedNode> {
        let nodes: Vec<_> = graph.nodes().collect();
        let written: Vec<&GraphNode<'_>> = self.steps.iter().map(|step| nodes[step.at]).collect();
        let mut told = self.nodes.clone();
        // In the order of the text, every line of it is counted once.
        let mut order: Vec<usize> = (0..told.len()).collect();
        order.sort_by_key(|&at| place_of(written[at]));
        let mut cursor: Option<Cursor<'_>> = None;
        for at in order {
            let place = &written[at].source.place;
            let is_same = |cursor: &Cursor<'_>| std::ptr::eq(cursor.document, &*place.document);
            let cursor = match &mut cursor {
                Some(cursor) if is_same(cursor) => cursor,
                other => other.insert(Cursor::new(&place.document)),
            };
            let (line, column) = cursor.line_column(place.span.start);
            let file = place.document.name.clone();
            let text = written[at].source.body.text().chars().take(LONGEST).collect();
            told[at].written = Some(Written { file, line, column, text });
        }
        told
    }
}

/// What puts the nodes of one document together, in the order of its text.
fn place_of(node: &GraphNode<'_>) -> (*const Document, usize) {
    (Arc::as_ptr(&node.source.place.document), node.source.place.span.start)
}

#[cfg(test)]
mod tests {
    use crate::kit::{ready, run, session};
    use crate::{
        Before, Document, Event, Events, Graph, Ready, ScriptFolders, Stop, Wanted, Written, read_script,
    };

    fn written(events: &[Event]) -> Vec<Written> {
        let Some(Event::Plan { nodes }) = events.iter().find(|event| matches!(event, Event::Plan { .. }))
        else {
            panic!("{events:?}")
        };
        nodes.iter().map(|node| node.written.clone().unwrap()).collect()
    }

    #[test]
    fn a_runs_plan_says_where_each_node_stands_and_what_is_written_there() {
        let nodes =
            "\"é\": Give(value: 1), \"s\": Say( // a ) b\n  number: \"é\",\n), \"g\":   Give(value: 2)  ";
        let (_, events) = run(nodes, 1);
        let told: Vec<_> = written(&events)
            .into_iter()
            .map(|Written { file, line, column, text }| (file, line, column, text))
            .collect();
        let expected = [
            (2, 6, "Give(value: 1)"),
            (2, 27, "Say( // a ) b\n  number: \"é\",\n)"),
            (4, 11, "Give(value: 2)"),
        ];
        let expected =
            expected.map(|(line, column, text)| ("test.ron".to_owned(), line, column, text.to_owned()));
        assert_eq!(told, expected);
    }

    #[test]
    fn a_long_text_is_cut_and_a_plan_that_is_only_asked_for_has_none() {
        let comment = "é".repeat(5000);
        let nodes = format!("\"a\": Give(/* {comment} */ value: 1)");
        let (_, events) = run(&nodes, 1);
        assert_eq!(written(&events)[0].text.chars().count(), super::LONGEST);
        let session = session();
        let ready = ready(&session, &nodes, Wanted::default());
        let plan = ready.plan(&session, &Before::nothing(), &Events::silent(), &Stop::default());
        assert_eq!(plan.nodes[0].written, None);
    }

    #[test]
    fn a_node_of_a_script_stands_where_its_kind_is_called() {
        let session = session();
        let text = "let a = Give(#{ value: 1 });\nfor n in 0..2 {\n    Say(#{ number: a /* ) */ }).named(`s${n}`);\n}";
        let folders = ScriptFolders { script: "".into(), project: "".into() };
        let source = read_script(Document::new("g.rhai", text), &folders, &[], &session.registry);
        let graph = Graph::new(source, &session.registry).unwrap_or_else(|problems| panic!("{problems:?}"));
        let ready = Ready::unchecked(graph, Wanted::default());
        let (events, receiver) = Events::channel();
        crate::Run { events, ..crate::Run::new(&ready, &session) }.execute();
        let events: Vec<_> = receiver.iter().map(|record| record.event).collect();
        let told: Vec<_> =
            written(&events).into_iter().map(|node| (node.line, node.column, node.text)).collect();
        let say = (3, 5, "Say(#{ number: a /* ) */ })".to_owned());
        assert_eq!(told, [(1, 9, "Give(#{ value: 1 })".to_owned()), say.clone(), say]);
    }
}
