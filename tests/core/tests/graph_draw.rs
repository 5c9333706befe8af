//! Drawings of graphs.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use katena_core::{CompiledGraph, END, Graph, NodeContext};

async fn same(n: u32, _ctx: NodeContext) -> katena_core::Result<u32> {
    Ok(n)
}

fn sample() -> CompiledGraph<u32> {
    let inner = Graph::<u32>::new("inner")
        .node("one", same)
        .node("two", same)
        .edge("one", "two")
        .entry("one")
        .finish("two")
        .build()
        .unwrap();
    Graph::<u32>::new("sample \"x\"")
        .node("draft", same)
        .node("check", same)
        .node("publish", same)
        .fan_out("split", ["check", "part"])
        .subgraph("part", inner, |n: &u32| *n, |_, n| n)
        .join("merge", |_, states: Vec<u32>| Ok(states[0]))
        .edge("draft", "split")
        .edge("check", "merge")
        .edge("part", "merge")
        .branch("merge", |n| if *n > 1 { "publish" } else { "draft" }, ["publish", "draft", END])
        .entry("draft")
        .finish("publish")
        .interrupt_before("publish")
        .build()
        .unwrap()
}

#[test]
fn mermaid() {
    let wanted = r#"flowchart TD
    start((" "))
    n0["draft"]
    n1["check"]
    n2{{"publish"}}
    n3[/"split"\]
    subgraph n4["part"]
        n4_start((" "))
        n4_n0["one"]
        n4_n1["two"]
        n4_end(((" ")))
        n4_start --> n4_n0
        n4_n0 --> n4_n1
        n4_n1 --> n4_end
    end
    n5[\"merge"/]
    end_(((" ")))
    start --> n0
    n0 --> n3
    n1 --> n5
    n2 --> end_
    n3 --> n1
    n3 --> n4_start
    n4_end --> n5
    n5 -.-> n2
    n5 -.-> n0
    n5 -.-> end_
"#;
    assert_eq!(sample().to_mermaid(), wanted);
}

#[test]
fn dot() {
    let wanted = r#"digraph "sample \"x\"" {
    start [label="", shape=circle];
    n0 [label="draft", shape=box];
    n1 [label="check", shape=box];
    n2 [label="publish", shape=hexagon];
    n3 [label="split", shape=trapezium];
    subgraph cluster_n4 { label="part";
        n4_start [label="", shape=circle];
        n4_n0 [label="one", shape=box];
        n4_n1 [label="two", shape=box];
        n4_end [label="", shape=doublecircle];
        n4_start -> n4_n0;
        n4_n0 -> n4_n1;
        n4_n1 -> n4_end;
    }
    n5 [label="merge", shape=invtrapezium];
    end_ [label="", shape=doublecircle];
    start -> n0;
    n0 -> n3;
    n1 -> n5;
    n2 -> end_;
    n3 -> n1;
    n3 -> n4_start;
    n4_end -> n5;
    n5 -> n2 [style=dashed];
    n5 -> n0 [style=dashed];
    n5 -> end_ [style=dashed];
}
"#;
    assert_eq!(sample().to_dot(), wanted);
}

#[test]
fn names_are_only_labels() {
    let hostile = [
        "a\"]; end; click n0 href \"javascript:alert(1)\"",
        "<img src=x onerror=alert(1)>",
        "x\ny\r\n}",
        "`**bold**`",
        "#quot;",
        "back\\slash\\\"",
        "end",
        "ünï ☕ 漢字",
        "%% comment",
        "]]>",
    ];
    for name in hostile {
        let graph = Graph::<u32>::new(name).node(name, same).entry(name).finish(name).build().unwrap();
        let (mermaid, dot) = (graph.to_mermaid(), graph.to_dot());
        let lines: Vec<_> = mermaid.lines().collect();
        assert_eq!(lines.len(), 6, "{mermaid}");
        let label = lines[2].strip_prefix("    n0[\"").unwrap().strip_suffix("\"]").unwrap();
        assert!(!label.contains(['"', '<', '>', '`', '\\', '[', ']', '{', '}', '%']), "{label}");
        assert_eq!(dot.lines().count(), 7, "{dot}");
        let line = dot.lines().nth(2).unwrap();
        let label = line.strip_prefix("    n0 [label=\"").unwrap().strip_suffix("\", shape=box];").unwrap();
        let bare = label.replace("\\\\", "").replace("\\\"", "");
        assert!(!bare.contains('"') && !bare.ends_with('\\'), "{label}");
    }
}
