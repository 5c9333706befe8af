//! A radix tree: which sequence holds the longest beginning of a list of tokens.

use std::collections::BTreeMap;

const ROOT: usize = 0;

#[derive(Debug, Default)]
struct Node {
    /// Tokens on the way from the parent.
    label: Vec<i32>,
    parent: usize,
    /// By the first token of the child's label.
    children: BTreeMap<i32, usize>,
    /// Sequences that end here.
    ends: Vec<usize>,
}

/// Token lists of sequences. Every leaf is the end of one.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    free: Vec<usize>,
}

/// How many tokens two lists begin with in common.
pub(super) fn common(a: &[i32], b: &[i32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

impl Tree {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new() }
    }

    fn node(&mut self, label: Vec<i32>, parent: usize) -> usize {
        let node = Node { label, parent, ..Node::default() };
        if let Some(at) = self.free.pop() {
            self.nodes[at] = node;
            at
        } else {
            self.nodes.push(node);
            self.nodes.len() - 1
        }
    }

    /// Adds a sequence.
    pub(super) fn insert(&mut self, sequence: usize, tokens: &[i32]) {
        let (mut at, mut rest) = (ROOT, tokens);
        while let Some(first) = rest.first() {
            let Some(&child) = self.nodes[at].children.get(first) else {
                let leaf = self.node(rest.to_vec(), at);
                self.nodes[at].children.insert(*first, leaf);
                at = leaf;
                break;
            };
            let same = common(&self.nodes[child].label, rest);
            if same < self.nodes[child].label.len() {
                // The child is cut in two.
                let tail = self.nodes[child].label.split_off(same);
                let head = std::mem::take(&mut self.nodes[child].label);
                let middle = self.node(head, at);
                self.nodes[at].children.insert(*first, middle);
                self.nodes[middle].children.insert(tail[0], child);
                self.nodes[child].label = tail;
                self.nodes[child].parent = middle;
                at = middle;
            } else {
                at = child;
            }
            rest = &rest[same..];
        }
        self.nodes[at].ends.push(sequence);
    }

    /// Walks as far as `tokens` go: the last node reached, and how far into it the tokens match.
    fn walk(&self, tokens: &[i32], mut visit: impl FnMut(usize)) -> (usize, usize) {
        let (mut at, mut depth) = (ROOT, 0);
        loop {
            visit(at);
            let next = tokens.get(depth).and_then(|t| self.nodes[at].children.get(t));
            let Some(&child) = next else { return (at, depth) };
            let label = &self.nodes[child].label;
            let same = common(label, &tokens[depth..]);
            depth += same;
            if same < label.len() {
                return (child, depth);
            }
            at = child;
        }
    }

    /// The length of the longest beginning of `tokens` that a sequence holds, and that sequence.
    pub(super) fn longest(&self, tokens: &[i32]) -> Option<(usize, usize)> {
        let (mut at, depth) = self.walk(tokens, |_| ());
        if depth == 0 {
            return None;
        }
        loop {
            let node = &self.nodes[at];
            if let Some(sequence) = node.ends.first() {
                return Some((depth, *sequence));
            }
            at = *node.children.values().next()?;
        }
    }

    /// The sequences that hold a beginning of `tokens` and nothing else.
    pub(super) fn beginnings(&self, tokens: &[i32]) -> Vec<usize> {
        let mut found = Vec::new();
        self.walk(tokens, |at| found.extend(&self.nodes[at].ends));
        found
    }

    /// Forgets a sequence that was added with these tokens.
    pub(super) fn remove(&mut self, sequence: usize, tokens: &[i32]) {
        let (mut at, _) = self.walk(tokens, |_| ());
        self.nodes[at].ends.retain(|s| *s != sequence);
        // Leaves without an end go, and what they leave behind.
        while at != ROOT && self.nodes[at].ends.is_empty() && self.nodes[at].children.is_empty() {
            let parent = self.nodes[at].parent;
            let first = self.nodes[at].label[0];
            self.nodes[parent].children.remove(&first);
            self.nodes[at] = Node::default();
            self.free.push(at);
            at = parent;
        }
        // A way without a fork is one node.
        if at != ROOT && self.nodes[at].ends.is_empty() && self.nodes[at].children.len() == 1 {
            let Some(&child) = self.nodes[at].children.values().next() else { return };
            let mut node = std::mem::take(&mut self.nodes[at]);
            node.label.append(&mut self.nodes[child].label);
            self.nodes[node.parent].children.insert(node.label[0], child);
            self.nodes[child].label = node.label;
            self.nodes[child].parent = node.parent;
            self.free.push(at);
        }
    }

    #[cfg(test)]
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_search_through_all_finds() {
        let mut state = 7u64;
        let mut random = |most: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % most
        };
        let mut tree = Tree::new();
        let mut held: Vec<(usize, Vec<i32>)> = Vec::new();
        for round in 0..20_000 {
            let list: Vec<i32> = (0..=random(8)).map(|_| random(3) as i32).collect();
            if held.len() < 12 && random(2) == 0 {
                tree.insert(round, &list);
                held.push((round, list.clone()));
            } else if !held.is_empty() && random(3) == 0 {
                let (sequence, tokens) = held.swap_remove(random(held.len() as u64) as usize);
                tree.remove(sequence, &tokens);
            }
            let best = held.iter().map(|(_, t)| common(t, &list)).max().unwrap_or(0);
            match tree.longest(&list) {
                None => assert_eq!(best, 0),
                Some((length, sequence)) => {
                    assert_eq!(length, best);
                    let tokens = &held.iter().find(|(s, _)| *s == sequence).unwrap().1;
                    assert!(common(tokens, &list) >= length);
                }
            }
            let mut found = tree.beginnings(&list);
            found.sort_unstable();
            let mut all: Vec<usize> =
                held.iter().filter(|(_, t)| list.starts_with(t)).map(|(s, _)| *s).collect();
            all.sort_unstable();
            assert_eq!(found, all);
            assert!(tree.nodes() <= 2 * held.len() + 1, "no dead nodes");
        }
        for (sequence, tokens) in held {
            tree.remove(sequence, &tokens);
        }
        assert_eq!(tree.nodes(), 1);
    }
}
