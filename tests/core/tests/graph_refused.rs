//! Graphs that are refused, with a message that names the node or the edge.
#![allow(missing_docs, clippy::unwrap_used, clippy::unnecessary_wraps, reason = "tests")]

use katena_core::{END, ErrorKind, Graph, NodeContext};

type Made = Graph<u32>;

fn nodes(graph: Made, names: &[&str]) -> Made {
    names.iter().fold(graph, |graph, name| graph.node(*name, async |n: u32, _ctx: NodeContext| Ok(n)))
}

fn graph(names: &[&str]) -> Made {
    nodes(Graph::new("g"), names)
}

#[track_caller]
fn refused(graph: Made, wanted: &str) {
    let error = graph.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let message = error.message().strip_prefix("the graph `g` can't be built: ").unwrap();
    assert_eq!(message, wanted);
}

fn fold(_: u32, states: Vec<u32>) -> katena_core::Result<u32> {
    Ok(states.into_iter().sum())
}

#[test]
fn names_and_entries() {
    refused(graph(&[]), "there is no entry");
    refused(graph(&["a"]).finish("a"), "there is no entry");
    refused(graph(&["a"]).finish("a").entry("b"), "the entry `b` is no node");
    refused(
        graph(&["a", "b"]).entry("a").entry("b").edge("a", "b").finish("b"),
        "there is more than one entry",
    );
    refused(graph(&["a", "a"]).entry("a").finish("a"), "there are two nodes named `a`");
    refused(graph(&["a", END]).entry("a").finish("a").finish(END), "no node may be named `__end__`");
    refused(graph(&["a", ""]).entry("a").edge("a", "").finish(""), "a node's name has 1 to 200 bytes");
    refused(
        graph(&["a"]).entry("a").finish("a").interrupt_before("x"),
        "interrupt before `x`: there is no such node",
    );
}

#[test]
fn edges_without_nodes() {
    refused(graph(&["a"]).entry("a").edge("a", "b"), "edge `a` → `b`: there is no node `b`");
    refused(graph(&["a"]).entry("a").finish("a").edge("b", "a"), "edge `b` → `a`: there is no node `b`");
    let branch = graph(&["a"]).entry("a").branch("a", |_| "b", ["a", "b", END]);
    refused(branch, "edge `a` → `b`: there is no node `b`");
    let none: [&str; 0] = [];
    refused(graph(&["a"]).entry("a").branch("a", |_| "b", none), "the branch after `a` names no targets");
    let split = graph(&["a"]).fan_out("s", ["a", "b"]).join("j", fold).edge("a", "j").entry("s").finish("j");
    refused(split, "edge `s` → `b`: there is no such node for a branch");
    // All that is wrong is said at once.
    let several = graph(&["a"]).edge("a", "b").edge("c", "a");
    refused(
        several,
        "edge `a` → `b`: there is no node `b`; edge `c` → `a`: there is no node `c`; there is no entry",
    );
}

#[test]
fn nodes_that_lead_nowhere_or_twice() {
    let dead = graph(&["a", "b"]).entry("a").branch("a", |_| "b", ["b", END]);
    refused(dead, "node `b` is a dead end: no edge leads on from it");
    let lost = graph(&["a", "b", "c"]).entry("a").finish("a").edge("b", "c").edge("c", "b");
    refused(
        lost,
        "node `b` is unreachable: no way leads to it from the entry `a`; node `c` is unreachable: no way leads to it from the entry `a`",
    );
    let endless =
        graph(&["a", "b", "c"]).entry("a").branch("a", |_| "b", ["b", END]).edge("b", "c").edge("c", "b");
    refused(
        endless,
        "node `b` is a dead end: no way leads from it to the end; node `c` is a dead end: no way leads from it to the end",
    );
    let twice = graph(&["a", "b"]).entry("a").edge("a", "b").finish("a").finish("b");
    refused(
        twice,
        "node `a` has several ways on (`b`, the end): a branch chooses one of them, a fan-out takes all",
    );
}

/// s fans out to a and b, which join in j.
fn split(names: &[&str]) -> Made {
    graph(names).fan_out("s", ["a", "b"]).join("j", fold).entry("s")
}

#[test]
fn fan_outs_and_joins() {
    let leaves = split(&["a", "b", "c"]).edge("a", "j").edge("b", "c").finish("c").finish("j");
    refused(leaves, "edge `c` → the end leaves the branch `b` of the fan-out `s` before its join");
    let out = graph(&["x", "a", "b"])
        .fan_out("s", ["a", "b"])
        .join("j", fold)
        .entry("x")
        .edge("x", "s")
        .edge("a", "j")
        .branch("b", |_| "j", ["j", "x"])
        .finish("j");
    refused(out, "edge `b` → `x` leads from the branch `b` of the fan-out `s` into the graph's main line");
    let across = split(&["a", "b"]).edge("a", "b").edge("b", "j").finish("j");
    refused(
        across,
        "edge `s` → `b` leads from the branch `b` of the fan-out `s` into the branch `a` of the fan-out `s`",
    );
    let no_split = graph(&["a"]).join("j", fold).entry("a").edge("a", "j").finish("j");
    refused(no_split, "edge `a` → `j`: the join has no fan-out before it");
    let first = graph(&["a"]).join("j", fold).entry("j").edge("j", "a").finish("a");
    refused(first, "the entry `j` is a join without a fan-out before it");
    let one = graph(&["a"]).fan_out("s", ["a"]).join("j", fold).entry("s").edge("a", "j").finish("j");
    refused(one, "the fan-out `s` has fewer than two branches");
    let same = graph(&["a"]).fan_out("s", ["a", "a"]).join("j", fold).entry("s").edge("a", "j").finish("j");
    refused(same, "edge `s` → `a` is there twice");
    let edge = split(&["a", "b"]).edge("a", "j").edge("b", "j").finish("j").edge("s", "j");
    refused(edge, "edge `s` → `j`: a fan-out goes on to its branches alone");
    let two = split(&["a", "b"]).join("k", fold).edge("a", "j").edge("b", "k").finish("j").finish("k");
    refused(two, "the branch `b` of the fan-out `s` ends at the join `k`, another at `j`");
    let both = split(&["a", "b"])
        .join("k", fold)
        .branch("a", |_| "j", ["j", "k"])
        .edge("b", "j")
        .finish("j")
        .finish("k");
    refused(
        both,
        "edge `a` → `j`: the branch `a` of the fan-out `s` leads to the join `k` too; the branch `b` of the fan-out `s` ends at the join `j`, another at `k`",
    );
    let turns = split(&["a", "b"]).edge("a", "a").edge("b", "j").finish("j");
    refused(turns, "the branch `a` of the fan-out `s` never reaches a join");
    let shared = graph(&["a", "b", "c", "d"])
        .fan_out("s", ["a", "b"])
        .fan_out("t", ["c", "d"])
        .join("j", fold)
        .join("k", fold)
        .entry("s")
        .edge("a", "j")
        .edge("b", "j")
        .edge("j", "t")
        .edge("c", "j")
        .edge("d", "j")
        .edge("k", END);
    refused(shared, "the join `j` ends both `s` and `t`");
    let waits = split(&["a", "b"]).edge("a", "j").edge("b", "j").finish("j").interrupt_before("j");
    refused(waits, "interrupt before `j`: a join can't wait");
}

#[test]
fn good_ones_are_built() {
    // A branch with a loop, a nested fan-out, and a branch that goes straight to the join.
    let nested = graph(&["a", "b", "c", "d", "e"])
        .fan_out("s", ["a", "t", "j"])
        .fan_out("t", ["c", "d"])
        .join("k", fold)
        .join("j", fold)
        .entry("s")
        .branch("a", |n| if *n > 3 { "j" } else { "b" }, ["b", "j"])
        .edge("b", "a")
        .edge("c", "k")
        .edge("d", "k")
        .edge("k", "e")
        .edge("e", "j")
        .finish("j");
    nested.build().unwrap();
    // A fan-out in a loop.
    let looped = split(&["a", "b"]).edge("a", "j").edge("b", "j").branch("j", |_| END, ["s", END]);
    looped.build().unwrap();
}
