//! Sequences of rows one after the other, some of which continue a common beginning.

use std::sync::Arc;

/// Rows that belong together: a trunk, and the branches that each continue it, unseen by one another. A plain sequence
/// is a trunk alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Rows of the trunk.
    pub trunk: usize,
    /// Rows of each branch.
    pub branches: Vec<usize>,
}

/// A run of rows of a tree whose positions follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreePart {
    /// Its first row in the tree.
    pub start: usize,
    /// Its rows.
    pub rows: usize,
    /// Rows of the trunk that it continues; also the position of its first row.
    pub seen: usize,
}

impl Tree {
    /// Rows of trunk and branches.
    pub fn rows(&self) -> usize {
        self.trunk + self.branches.iter().sum::<usize>()
    }

    /// The trunk, then the branches that are not empty.
    pub fn parts(&self) -> impl Iterator<Item = TreePart> + '_ {
        let branches = self.branches.iter().scan(self.trunk, |start, rows| {
            let part = TreePart { start: *start, rows: *rows, seen: self.trunk };
            *start += rows;
            Some(part)
        });
        std::iter::once(TreePart { start: 0, rows: self.trunk, seen: 0 }).chain(branches).filter(|p| p.rows > 0)
    }
}

/// Packed rows: tree after tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing(Arc<[Tree]>);

impl Packing {
    /// Trees one after the other.
    pub fn new(trees: Vec<Tree>) -> Self {
        Self(trees.into())
    }

    /// Plain sequences of these lengths.
    pub fn sequences(lens: &[usize]) -> Self {
        Self(lens.iter().map(|n| Tree { trunk: *n, branches: Vec::new() }).collect())
    }

    /// The trees.
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
