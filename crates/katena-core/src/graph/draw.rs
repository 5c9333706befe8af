//! Drawings of graphs. Names are only ever labels, escaped; ids are numbers.

use std::fmt::Write as _;

/// A graph as it is drawn.
pub(super) struct Sketch {
    pub(super) name: String,
    /// Name, kind, whether it asks before it begins.
    pub(super) nodes: Vec<(String, SketchKind, bool)>,
    /// From, to (`None` is the end), whether it is one of several choices.
    pub(super) edges: Vec<(usize, Option<usize>, bool)>,
    pub(super) entry: usize,
}

pub(super) enum SketchKind {
    Task,
    FanOut,
    Join,
    Graph(Sketch),
}

/// One of the two languages.
trait Pen {
    fn node(&self, id: &str, label: &str, kind: &SketchKind, asks: bool) -> String;
    fn begin(&self, id: &str) -> String;
    fn end(&self, id: &str) -> String;
    fn edge(&self, from: &str, to: &str, choice: bool) -> String;
    fn open(&self, id: &str, label: &str) -> String;
    fn close(&self) -> &'static str;
}

impl Sketch {
    pub(super) fn mermaid(&self) -> String {
        let mut out = "flowchart TD\n".to_owned();
        self.draw(&Mermaid, "", 1, &mut out);
        out
    }

    pub(super) fn dot(&self) -> String {
        let mut out = format!("digraph \"{}\" {{\n", dot_label(&self.name));
        self.draw(&Dot, "", 1, &mut out);
        out.push_str("}\n");
        out
    }

    fn draw(&self, pen: &dyn Pen, prefix: &str, depth: usize, out: &mut String) {
        let id = |node: usize| format!("{prefix}n{node}");
        // `end` alone is a word of Mermaid.
        let last = if prefix.is_empty() { "end_" } else { "end" };
        let (start, end) = (format!("{prefix}start"), format!("{prefix}{last}"));
        line(out, depth, &pen.begin(&start));
        for (number, (name, kind, asks)) in self.nodes.iter().enumerate() {
            if let SketchKind::Graph(inner) = kind {
                line(out, depth, &pen.open(&id(number), name));
                inner.draw(pen, &format!("{}_", id(number)), depth + 1, out);
                line(out, depth, pen.close());
            } else {
                line(out, depth, &pen.node(&id(number), name, kind, *asks));
            }
        }
        line(out, depth, &pen.end(&end));
        // An edge to a graph goes to its start, one from it begins at its end.
        let port = |node: usize, name: &str| match self.nodes[node].1 {
            SketchKind::Graph(_) => format!("{}_{name}", id(node)),
            _ => id(node),
        };
        line(out, depth, &pen.edge(&start, &port(self.entry, "start"), false));
        for (from, to, choice) in &self.edges {
            let to = to.map_or_else(|| end.clone(), |to| port(to, "start"));
            line(out, depth, &pen.edge(&port(*from, "end"), &to, *choice));
        }
    }
}

fn line(out: &mut String, depth: usize, text: &str) {
    // Writing to a string can't fail.
    let _ = writeln!(out, "{:1$}{text}", "", depth * 4);
}

struct Mermaid;

impl Pen for Mermaid {
    fn node(&self, id: &str, label: &str, kind: &SketchKind, asks: bool) -> String {
        let (left, right) = match kind {
            SketchKind::Task if asks => ("{{", "}}"),
            SketchKind::Task | SketchKind::Graph(_) => ("[", "]"),
            SketchKind::FanOut => ("[/", "\\]"),
            SketchKind::Join => ("[\\", "/]"),
        };
        format!("{id}{left}\"{}\"{right}", mermaid_label(label))
    }
    fn begin(&self, id: &str) -> String {
        format!("{id}((\" \"))")
    }
    fn end(&self, id: &str) -> String {
        format!("{id}(((\" \")))")
    }
    fn edge(&self, from: &str, to: &str, choice: bool) -> String {
        format!("{from} {} {to}", if choice { "-.->" } else { "-->" })
    }
    fn open(&self, id: &str, label: &str) -> String {
        format!("subgraph {id}[\"{}\"]", mermaid_label(label))
    }
    fn close(&self) -> &'static str {
        "end"
    }
}

struct Dot;

impl Pen for Dot {
    fn node(&self, id: &str, label: &str, kind: &SketchKind, asks: bool) -> String {
        let shape = match kind {
            SketchKind::Task if asks => "hexagon",
            SketchKind::Task | SketchKind::Graph(_) => "box",
            SketchKind::FanOut => "trapezium",
            SketchKind::Join => "invtrapezium",
        };
        format!("{id} [label=\"{}\", shape={shape}];", dot_label(label))
    }
    fn begin(&self, id: &str) -> String {
        format!("{id} [label=\"\", shape=circle];")
    }
    fn end(&self, id: &str) -> String {
        format!("{id} [label=\"\", shape=doublecircle];")
    }
    fn edge(&self, from: &str, to: &str, choice: bool) -> String {
        format!("{from} -> {to}{};", if choice { " [style=dashed]" } else { "" })
    }
    fn open(&self, id: &str, label: &str) -> String {
        format!("subgraph cluster_{id} {{ label=\"{}\";", dot_label(label))
    }
    fn close(&self) -> &'static str {
        "}"
    }
}

/// Mermaid has entity codes (`#35;`) and reads Markdown and HTML in labels: all but letters, digits, spaces and harmless
/// marks become codes.
fn mermaid_label(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric() || " .,:!?'_/+=()-".contains(c) {
            out.push(c);
        } else if c.is_control() {
            out.push(' ');
        } else {
            let _ = write!(out, "#{};", u32::from(c));
        }
    }
    out
}

fn dot_label(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
