//! Packing: sequences one after the other as rows, where sequences with a common prefix may share its rows.

use std::sync::Arc;

/// Sequences with a common prefix: a trunk, and branches that each continue it and do not attend to one another. A
/// single sequence is a trunk without branches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Rows of the trunk.
    pub trunk: usize,
    /// Rows of each branch.
    pub branches: Vec<usize>,
}

/// A trunk or a branch: consecutive rows of a tree with consecutive positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreePart {
    /// First row within the tree.
    pub start: usize,
    /// Number of rows.
    pub rows: usize,
    /// Rows of the trunk before it, which is also the position of its first row.
    pub seen: usize,
}

impl Tree {
    /// Rows of trunk and branches.
    pub fn rows(&self) -> usize {
        self.trunk + self.branches.iter().sum::<usize>()
    }

    /// The trunk and the branches, without empty ones.
    pub fn parts(&self) -> impl Iterator<Item = TreePart> + '_ {
        let branches = self.branches.iter().scan(self.trunk, |start, rows| {
            let part = TreePart { start: *start, rows: *rows, seen: self.trunk };
            *start += rows;
            Some(part)
        });
        std::iter::once(TreePart { start: 0, rows: self.trunk, seen: 0 }).chain(branches).filter(|p| p.rows > 0)
    }
}

/// Trees one after the other. Clones share the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing(Arc<[Tree]>);

impl Packing {
    /// A packing of these trees.
    pub fn new(trees: Vec<Tree>) -> Self {
        Self(trees.into())
    }

    /// A packing of sequences of these lengths, without branches.
    pub fn sequences(lens: &[usize]) -> Self {
        Self(lens.iter().map(|n| Tree { trunk: *n, branches: Vec::new() }).collect())
    }

    /// The trees, in the order of their rows.
    pub fn trees(&self) -> &[Tree] {
        &self.0
    }

    /// Rows of each tree.
    pub fn lens(&self) -> Vec<usize> {
        self.0.iter().map(Tree::rows).collect()
    }

    /// The position of every row in its sequence.
    pub fn positions(&self) -> Vec<usize> {
        self.0.iter().flat_map(Tree::parts).flat_map(|p| p.seen..p.seen + p.rows).collect()
    }
}
