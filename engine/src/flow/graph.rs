//! The graph of a flow as data: for errors, for `graph`, for the page.

use std::fmt::Write;

use crate::sink::Delivery;
use crate::telemetry::StepKind;

/// A step's place in the [`Graph`].
pub type NodeId = usize;

/// One step of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The step id.
    pub id: String,
    /// What the step does.
    pub kind: StepKind,
    /// The step in words.
    pub label: String,
    /// The steps it takes records from.
    pub inputs: Vec<NodeId>,
    /// How a sink delivers.
    pub delivery: Option<Delivery>,
}

/// The steps of a flow and what flows where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    nodes: Vec<Node>,
}

impl Graph {
    /// The steps in the order of their declaration.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.nodes.iter().any(|node| node.id == id)
    }

    pub(crate) fn add(
        &mut self,
        id: &str,
        kind: StepKind,
        label: &str,
        inputs: &[NodeId],
    ) -> NodeId {
        let (id, label) = (id.to_owned(), label.to_owned());
        self.nodes.push(Node {
            id,
            kind,
            label,
            inputs: inputs.to_vec(),
            delivery: None,
        });
        self.nodes.len() - 1
    }

    pub(crate) fn set_delivery(&mut self, id: &str, delivery: Delivery) {
        let node = self.nodes.iter_mut().rfind(|node| node.id == id);
        node.expect("invariant: the step has been added").delivery = Some(delivery);
    }

    fn edges(&self) -> impl Iterator<Item = (NodeId, NodeId)> {
        let ends = self.nodes.iter().enumerate();
        ends.flat_map(|(to, node)| node.inputs.iter().map(move |from| (*from, to)))
    }

    /// The graph as a Mermaid flowchart.
    pub fn to_mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for (index, node) in self.nodes.iter().enumerate() {
            let (open, close) = match node.kind {
                StepKind::Source => ("([", "])"),
                StepKind::Sink => ("[(", ")]"),
                StepKind::Keyed => ("[[", "]]"),
                StepKind::Infer => ("{{", "}}"),
                _ => ("[", "]"),
            };
            let _ = writeln!(
                text,
                "    n{index}{open}\"{}\"{close}",
                caption(node, "<br/>")
            );
        }
        for (from, to) in self.edges() {
            let _ = writeln!(text, "    n{from} --> n{to}");
        }
        text
    }

    /// The graph in Graphviz' DOT language.
    pub fn to_dot(&self) -> String {
        let mut text = String::from("digraph flow {\n    rankdir=LR;\n    node [shape=box];\n");
        for (index, node) in self.nodes.iter().enumerate() {
            let shape = match node.kind {
                StepKind::Source => "ellipse",
                StepKind::Sink => "cylinder",
                StepKind::Keyed => "box3d",
                StepKind::Infer => "hexagon",
                _ => "box",
            };
            let caption = caption(node, "\\n");
            let _ = writeln!(text, "    n{index} [label=\"{caption}\", shape={shape}];");
        }
        for (from, to) in self.edges() {
            let _ = writeln!(text, "    n{from} -> n{to};");
        }
        text.push_str("}\n");
        text
    }
}

fn caption(node: &Node, line_break: &str) -> String {
    let clean = |text: &str| text.replace('"', "'");
    if node.label == node.id {
        return clean(&node.id);
    }
    format!("{}{line_break}{}", clean(&node.id), clean(&node.label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_every_step_and_edge() {
        let mut graph = Graph::default();
        let source = graph.add("payments", StepKind::Source, "file \"p.csv\"", &[]);
        graph.add("out", StepKind::Sink, "out", &[source]);
        assert_eq!(
            graph.to_mermaid(),
            "flowchart LR\n    n0([\"payments<br/>file 'p.csv'\"])\n    n1[(\"out\")]\n    n0 --> n1\n"
        );
        assert!(graph.to_dot().contains("n0 -> n1;"));
    }
}
