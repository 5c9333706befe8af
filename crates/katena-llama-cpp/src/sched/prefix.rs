//! A radix tree of the tokens whose state is kept in main memory. What lists begin with in common is kept once.

use std::collections::BTreeMap;

use super::CacheOp;

const ROOT: usize = 0;

#[derive(Debug, Default)]
struct Node {
    /// Tokens on the way from the parent; their state is kept under the node's number.
    label: Vec<i32>,
    parent: usize,
    /// By the first token of the child's label.
    children: BTreeMap<i32, usize>,
    /// When it was last of use, never before its children.
    used: u64,
}

/// A new node, and how many tokens of its list were there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct New {
    pub(crate) node: usize,
    pub(crate) start: usize,
}

/// Lists of tokens. Changes of the tree are told as operations on what is kept.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    free: Vec<usize>,
    tokens: usize,
    clock: u64,
}

/// How many tokens two lists begin with in common.
pub(super) fn common(a: &[i32], b: &[i32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

impl Tree {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new(), tokens: 0, clock: 0 }
    }

    /// Tokens of all nodes.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    fn add(&mut self, node: Node) -> usize {
        if let Some(at) = self.free.pop() {
            self.nodes[at] = node;
            at
        } else {
            self.nodes.push(node);
            self.nodes.len() - 1
        }
    }

    /// The nodes that `tokens` lead through, and how many tokens they have in common with them: all but the last of the
    /// last node's, perhaps.
    fn walk(&self, tokens: &[i32], mut visit: impl FnMut(usize)) -> usize {
        let (mut at, mut depth) = (ROOT, 0);
        loop {
            let next = tokens.get(depth).and_then(|t| self.nodes[at].children.get(t));
            let Some(&child) = next else { return depth };
            visit(child);
            let label = &self.nodes[child].label;
            let same = common(label, &tokens[depth..]);
            depth += same;
            if same < label.len() {
                return depth;
            }
            at = child;
        }
    }

    /// The length of the longest beginning of `tokens` that is kept.
    pub(super) fn longest(&self, tokens: &[i32]) -> usize {
        self.walk(tokens, |_| ())
    }

    fn nodes(&self, tokens: &[i32]) -> Vec<usize> {
        let mut nodes = Vec::new();
        self.walk(tokens, |node| nodes.push(node));
        nodes
    }

    fn touch(&mut self, nodes: &[usize]) {
        self.clock += 1;
        for node in nodes {
            self.nodes[*node].used = self.clock;
        }
    }

    /// The nodes that hold `tokens`, all of which are kept; the last may hold more. They are of use.
    pub(super) fn path(&mut self, tokens: &[i32]) -> Vec<usize> {
        let nodes = self.nodes(tokens);
        self.touch(&nodes);
        nodes
    }

    /// Adds a list; the node of what was not there, if anything was not. The list is of use.
    pub(super) fn insert(&mut self, tokens: &[i32], ops: &mut Vec<CacheOp>) -> Option<New> {
        let start = self.longest(tokens);
        if start == tokens.len() {
            self.path(tokens);
            return None;
        }
        let mut path = self.nodes(&tokens[..start]);
        let parent = path.last().copied().unwrap_or(ROOT);
        let held: usize = path.iter().map(|node| self.nodes[*node].label.len()).sum();
        if held > start {
            self.cut(parent, self.nodes[parent].label.len() - (held - start), ops);
        }
        let label = tokens[start..].to_vec();
        self.tokens += label.len();
        let node = self.add(Node { label, parent, ..Node::default() });
        self.nodes[parent].children.insert(tokens[start], node);
        path.push(node);
        self.touch(&path);
        Some(New { node, start })
    }

    /// Cuts a node in two: it keeps the first `length` tokens, a new one under it has the rest.
    fn cut(&mut self, at: usize, length: usize, ops: &mut Vec<CacheOp>) {
        let label = self.nodes[at].label.split_off(length);
        let (first, used) = (label[0], self.nodes[at].used);
        let children = std::mem::take(&mut self.nodes[at].children);
        let tail = self.add(Node { label, parent: at, children, used });
        let below: Vec<usize> = self.nodes[tail].children.values().copied().collect();
        for child in below {
            self.nodes[child].parent = tail;
        }
        self.nodes[at].children.insert(first, tail);
        ops.push(CacheOp::Split { node: at, length, tail });
    }

    /// Drops ends of lists, least recently used first, until no more than `most` tokens are left; what was of use last stays.
    pub(super) fn shrink(&mut self, most: usize, ops: &mut Vec<CacheOp>) {
        while self.tokens > most {
            let leaves = self.nodes.iter().enumerate().skip(1);
            let leaves = leaves.filter(|(_, n)| n.children.is_empty() && !n.label.is_empty());
            let Some((at, _)) = leaves.filter(|(_, n)| n.used < self.clock).min_by_key(|(_, n)| n.used)
            else {
                return;
            };
            let node = std::mem::take(&mut self.nodes[at]);
            self.tokens -= node.label.len();
            self.nodes[node.parent].children.remove(&node.label[0]);
            self.free.push(at);
            ops.push(CacheOp::Forget { node: at });
        }
    }

    /// Each node's tokens.
    #[cfg(test)]
    pub(super) fn labels(&self) -> BTreeMap<usize, Vec<i32>> {
        let all = self.nodes.iter().enumerate().filter(|(_, n)| !n.label.is_empty());
        all.map(|(at, n)| (at, n.label.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept, as operations say.
    fn apply(kept: &mut BTreeMap<usize, Vec<i32>>, ops: &mut Vec<CacheOp>) {
        for op in ops.drain(..) {
            match op {
                CacheOp::Split { node, length, tail } => {
                    let rest = kept.get_mut(&node).unwrap().split_off(length);
                    assert!(kept.insert(tail, rest).is_none());
                }
                CacheOp::Forget { node } => assert!(kept.remove(&node).is_some()),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn finds_what_a_search_through_all_finds() {
        let mut state = 7u64;
        let mut random = |most: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % most
        };
        let mut tree = Tree::new();
        let mut kept = BTreeMap::new();
        let mut ops = Vec::new();
        for _ in 0..20_000 {
            let list: Vec<i32> = (0..=random(8)).map(|_| random(3) as i32).collect();
            let before = tree.longest(&list);
            match random(4) {
                0 => {
                    let new = tree.insert(&list, &mut ops);
                    apply(&mut kept, &mut ops);
                    assert_eq!(new.map_or(list.len(), |n| n.start), before);
                    if let Some(new) = new {
                        assert!(kept.insert(new.node, list[new.start..].to_vec()).is_none());
                    }
                    tree.shrink(20, &mut ops);
                    apply(&mut kept, &mut ops);
                    assert_eq!(tree.longest(&list), list.len(), "the last one stays");
                    assert!(tree.tokens() <= 20);
                }
                _ => {
                    let path = tree.path(&list[..before]);
                    let held: Vec<i32> = path.iter().flat_map(|n| kept[n].clone()).collect();
                    assert!(held.starts_with(&list[..before]));
                    let without = path.split_last().map_or(0, |(_, p)| p.iter().map(|n| kept[n].len()).sum());
                    assert!(path.is_empty() || without < before, "no node too many");
                }
            }
            assert_eq!(tree.labels(), kept);
            assert_eq!(tree.tokens(), kept.values().map(Vec::len).sum::<usize>());
        }
    }

    #[test]
    fn the_least_recently_used_end_goes_first() {
        let (mut tree, mut ops) = (Tree::new(), Vec::new());
        for list in [[1, 2, 3, 4], [1, 2, 5, 6], [7, 8, 9, 9]] {
            tree.insert(&list, &mut ops);
        }
        assert_eq!(tree.tokens(), 10);
        tree.path(&[1, 2, 3, 4]);
        tree.insert(&[7, 8], &mut ops);
        tree.shrink(8, &mut ops);
        assert_eq!([tree.longest(&[1, 2, 3, 4]), tree.longest(&[1, 2, 5, 6])], [4, 2]);
        tree.shrink(0, &mut ops);
        assert_eq!([tree.longest(&[1]), tree.longest(&[7, 8, 9, 9])], [0, 4], "of use last");
    }
}
