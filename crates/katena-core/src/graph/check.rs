//! What is wrong with a graph, said before it runs.

use std::collections::{HashMap, HashSet};

use super::END;

/// The part that a node plays.
#[derive(Debug, Clone)]
pub(super) enum Role<'a> {
    Step,
    FanOut(Vec<&'a str>),
    Join,
}

/// A graph without its functions.
#[derive(Debug, Default)]
pub(super) struct Outline<'a> {
    pub(super) nodes: Vec<(&'a str, Role<'a>)>,
    /// Each edge or branch: where from, and all targets.
    pub(super) edges: Vec<(&'a str, Vec<&'a str>)>,
    pub(super) entries: Vec<&'a str>,
    pub(super) ask_first: Vec<&'a str>,
}

/// What building needs to know beside the outline.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) entry: usize,
    /// The join of each fan-out.
    pub(super) joins: HashMap<usize, usize>,
}

const MAX_NAME: usize = 200;

/// Where a node lies: outside of all fan-outs, or in a branch of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Top,
    Branch(usize, usize),
}

struct Walk<'a> {
    outline: &'a Outline<'a>,
    index: HashMap<&'a str, usize>,
    outs: Vec<Vec<&'a str>>,
    lanes: Vec<Option<Lane>>,
    joins: HashMap<usize, usize>,
    problems: Vec<String>,
}

/// The plan, or everything that is wrong; the second round of checks needs a graph that passes the first.
pub(super) fn check(outline: &Outline<'_>) -> Result<Plan, Vec<String>> {
    let mut problems = names(outline);
    problems.extend(edges(outline));
    let entry = entry(outline, &mut problems);
    let (Some(entry), true) = (entry, problems.is_empty()) else { return Err(problems) };
    let index: HashMap<&str, usize> =
        outline.nodes.iter().enumerate().map(|(i, (name, _))| (*name, i)).collect();
    let outs = outline.nodes.iter().map(|(name, role)| match role {
        Role::FanOut(targets) => targets.clone(),
        _ => outline.edges.iter().filter(|(from, _)| from == name).flat_map(|(_, to)| to.clone()).collect(),
    });
    let mut walk = Walk {
        outs: outs.collect(),
        lanes: vec![None; outline.nodes.len()],
        joins: HashMap::new(),
        problems,
        outline,
        index,
    };
    if matches!(outline.nodes[entry].1, Role::Join) {
        return Err(vec![format!(
            "the entry {} is a join without a fan-out before it",
            quoted(outline.nodes[entry].0)
        )]);
    }
    walk.lane("the entry", entry, Lane::Top);
    walk.unreachable(entry);
    walk.endless();
    if walk.problems.is_empty() { Ok(Plan { entry, joins: walk.joins }) } else { Err(walk.problems) }
}

fn quoted(name: &str) -> String {
    if name == END { "the end".to_owned() } else { format!("`{name}`") }
}

fn arrow(from: &str, to: &str) -> String {
    format!("edge {} → {}", quoted(from), quoted(to))
}

fn names(outline: &Outline<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    for (name, _) in &outline.nodes {
        if name.is_empty() || name.len() > MAX_NAME {
            problems.push(format!("a node's name has 1 to {MAX_NAME} bytes"));
        } else if *name == END {
            problems.push(format!("no node may be named `{END}`"));
        } else if !seen.insert(*name) {
            problems.push(format!("there are two nodes named {}", quoted(name)));
        }
    }
    for name in &outline.ask_first {
        match outline.nodes.iter().find(|(n, _)| n == name) {
            None => problems.push(format!("interrupt before {}: there is no such node", quoted(name))),
            Some((_, Role::Join)) => {
                problems.push(format!("interrupt before {}: a join can't wait", quoted(name)));
            }
            Some(_) => {}
        }
    }
    problems
}

fn edges(outline: &Outline<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    let known = |name: &str| outline.nodes.iter().any(|(n, _)| *n == name);
    for (from, targets) in &outline.edges {
        if !known(from) {
            let to = targets.first().copied().unwrap_or_default();
            problems.push(format!("{}: there is no node {}", arrow(from, to), quoted(from)));
        }
        if targets.is_empty() {
            problems.push(format!("the branch after {} names no targets", quoted(from)));
        }
        for to in targets.iter().filter(|to| **to != END && !known(to)) {
            problems.push(format!("{}: there is no node {}", arrow(from, to), quoted(to)));
        }
    }
    for (name, role) in &outline.nodes {
        let ways: Vec<_> = outline.edges.iter().filter(|(from, _)| from == name).collect();
        match role {
            Role::FanOut(targets) => {
                if let Some((_, to)) = ways.first() {
                    let to = to.first().copied().unwrap_or_default();
                    problems.push(format!("{}: a fan-out goes on to its branches alone", arrow(name, to)));
                }
                if targets.len() < 2 {
                    problems.push(format!("the fan-out {} has fewer than two branches", quoted(name)));
                }
                let mut seen = HashSet::new();
                for to in targets {
                    if !known(to) {
                        problems.push(format!("{}: there is no such node for a branch", arrow(name, to)));
                    } else if !seen.insert(to) {
                        problems.push(format!("{} is there twice", arrow(name, to)));
                    }
                }
            }
            _ if ways.is_empty() => {
                problems.push(format!("node {} is a dead end: no edge leads on from it", quoted(name)));
            }
            _ if ways.len() > 1 => {
                let all: Vec<_> = ways.iter().flat_map(|(_, to)| to).map(|to| quoted(to)).collect();
                problems.push(format!(
                    "node {} has several ways on ({}): a branch chooses one of them, a fan-out takes all",
                    quoted(name),
                    all.join(", ")
                ));
            }
            _ => {}
        }
    }
    problems
}

fn entry(outline: &Outline<'_>, problems: &mut Vec<String>) -> Option<usize> {
    let [entry] = outline.entries[..] else {
        let message =
            if outline.entries.is_empty() { "there is no entry" } else { "there is more than one entry" };
        problems.push(message.to_owned());
        return None;
    };
    let found = outline.nodes.iter().position(|(name, _)| *name == entry);
    if found.is_none() {
        problems.push(format!("the entry {} is no node", quoted(entry)));
    }
    found
}

impl<'a> Walk<'a> {
    fn name(&self, node: usize) -> &'a str {
        self.outline.nodes[node].0
    }

    fn lane_name(&self, lane: Lane) -> String {
        match lane {
            Lane::Top => "the graph's main line".to_owned(),
            Lane::Branch(fan, n) => {
                format!("the branch {} of the fan-out {}", quoted(self.outs[fan][n]), quoted(self.name(fan)))
            }
        }
    }

    /// Walks a lane from its first node; gives the join at its end, if the lane is a branch.
    fn lane(&mut self, from: &'a str, first: usize, lane: Lane) -> Option<usize> {
        let mut found = None;
        let mut todo = vec![(from, first)];
        while let Some((from, node)) = todo.pop() {
            let name = self.name(node);
            if matches!(self.outline.nodes[node].1, Role::Join) {
                self.arrive(from, node, lane, &mut found);
                continue;
            }
            match self.lanes[node] {
                Some(other) if other != lane => {
                    let (one, two) = (self.lane_name(other), self.lane_name(lane));
                    self.problems.push(format!("{} leads from {two} into {one}", arrow(from, name)));
                }
                Some(_) => {}
                None => {
                    self.lanes[node] = Some(lane);
                    match self.outline.nodes[node].1 {
                        Role::FanOut(_) => {
                            if let Some(join) = self.fan_out(node) {
                                self.lanes[join] = Some(lane);
                                self.onward(join, lane, &mut todo);
                            }
                        }
                        _ => self.onward(node, lane, &mut todo),
                    }
                }
            }
        }
        found
    }

    fn onward(&mut self, node: usize, lane: Lane, todo: &mut Vec<(&'a str, usize)>) {
        let name = self.name(node);
        for to in self.outs[node].clone() {
            match self.index.get(to) {
                Some(next) => todo.push((name, *next)),
                None if lane != Lane::Top => {
                    let lane = self.lane_name(lane);
                    self.problems.push(format!("{} leaves {lane} before its join", arrow(name, to)));
                }
                None => {}
            }
        }
    }

    /// An edge into a join.
    fn arrive(&mut self, from: &'a str, join: usize, lane: Lane, found: &mut Option<usize>) {
        let edge = arrow(from, self.name(join));
        match (lane, *found) {
            (Lane::Top, _) => self.problems.push(format!("{edge}: the join has no fan-out before it")),
            (_, None) => *found = Some(join),
            (_, Some(other)) if other == join => {}
            (_, Some(other)) => {
                let (other, lane) = (quoted(self.name(other)), self.lane_name(lane));
                self.problems.push(format!("{edge}: {lane} leads to the join {other} too"));
            }
        }
    }

    /// Walks the branches; gives their common join.
    fn fan_out(&mut self, fan: usize) -> Option<usize> {
        let name = self.name(fan);
        let mut common = None;
        for (n, to) in self.outs[fan].clone().into_iter().enumerate() {
            let lane = Lane::Branch(fan, n);
            let problems = self.problems.len();
            match (self.lane(name, self.index[to], lane), common) {
                (None, _) if self.problems.len() == problems => {
                    let lane = self.lane_name(lane);
                    self.problems.push(format!("{lane} never reaches a join"));
                }
                (None, _) => {}
                (Some(join), None) => common = Some(join),
                (Some(join), Some(other)) if join == other => {}
                (Some(join), Some(other)) => {
                    let (join, other) = (quoted(self.name(join)), quoted(self.name(other)));
                    let lane = self.lane_name(lane);
                    self.problems.push(format!("{lane} ends at the join {join}, another at {other}"));
                }
            }
        }
        let join = common?;
        if let Some((other, _)) = self.joins.iter().find(|(_, j)| **j == join) {
            let (join, one, two) = (self.name(join), self.name(*other), name);
            let message = format!("the join {} ends both {} and {}", quoted(join), quoted(one), quoted(two));
            self.problems.push(message);
            return None;
        }
        self.joins.insert(fan, join);
        Some(join)
    }

    fn unreachable(&mut self, entry: usize) {
        // What lies behind a fault is often unreachable only because of it.
        if !self.problems.is_empty() {
            return;
        }
        for (node, _) in self.lanes.iter().enumerate().filter(|(_, lane)| lane.is_none()) {
            let (name, entry) = (quoted(self.name(node)), quoted(self.name(entry)));
            let message = format!("node {name} is unreachable: no way leads to it from the entry {entry}");
            self.problems.push(message);
        }
    }

    /// Nodes from which no way leads to the end.
    fn endless(&mut self) {
        if !self.problems.is_empty() {
            return;
        }
        let mut ends = vec![false; self.outs.len()];
        loop {
            let before = ends.iter().filter(|e| **e).count();
            for node in 0..ends.len() {
                let way = |to: &&str| self.index.get(to).is_none_or(|next| ends[*next]);
                if !ends[node] && self.outs[node].iter().any(way) {
                    ends[node] = true;
                }
            }
            if ends.iter().filter(|e| **e).count() == before {
                break;
            }
        }
        for (node, _) in ends.iter().enumerate().filter(|(_, ends)| !**ends) {
            let name = quoted(self.name(node));
            self.problems.push(format!("node {name} is a dead end: no way leads from it to the end"));
        }
    }
}
