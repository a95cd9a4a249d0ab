//! Packing: several sequences as the rows of one matrix, one after the other. Sequences with a common prefix may share
//! the rows of the prefix.

use std::sync::Arc;

/// Sequences with a common prefix. The trunk is the prefix; each branch is the rest of one sequence, which attends to
/// the trunk and to itself but to no other branch. A single sequence is a trunk without branches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Number of rows (tokens) of the trunk, which is the common prefix.
    pub trunk: usize,
    /// Number of rows (tokens) of each branch: what follows the prefix in one sequence.
    pub branches: Vec<usize>,
}

/// The trunk or one branch of a tree: consecutive rows with consecutive positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreePart {
    /// Index of the part's first row within the tree.
    pub start: usize,
    /// Number of rows of the part.
    pub rows: usize,
    /// Number of trunk rows that the part's rows also attend to: 0 for the trunk itself, all of them for a branch. It
    /// is also the position of the part's first row.
    pub seen: usize,
}

impl Tree {
    /// Number of rows of the trunk and all branches together.
    pub fn rows(&self) -> usize {
        self.trunk + self.branches.iter().sum::<usize>()
    }

    /// The trunk and the branches, without those that have no rows.
    pub fn parts(&self) -> impl Iterator<Item = TreePart> + '_ {
        let branches = self.branches.iter().scan(self.trunk, |start, rows| {
            let part = TreePart { start: *start, rows: *rows, seen: self.trunk };
            *start += rows;
            Some(part)
        });
        std::iter::once(TreePart { start: 0, rows: self.trunk, seen: 0 }).chain(branches).filter(|p| p.rows > 0)
    }
}

/// The trees (sequences, of which some share a prefix) that are packed as rows one after the other. Clones share the
/// list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing(Arc<[Tree]>);

impl Packing {
    /// Packs these trees one after the other.
    pub fn new(trees: Vec<Tree>) -> Self {
        Self(trees.into())
    }

    /// Packs sequences with these numbers of tokens, which share nothing.
    pub fn sequences(lens: &[usize]) -> Self {
        Self(lens.iter().map(|n| Tree { trunk: *n, branches: Vec::new() }).collect())
    }

    /// The packed trees, in the order of their rows.
    pub fn trees(&self) -> &[Tree] {
        &self.0
    }

    /// Number of rows of each packed tree.
    pub fn lens(&self) -> Vec<usize> {
        self.0.iter().map(Tree::rows).collect()
    }

    /// Position of every row within its sequence, from 0.
    pub fn positions(&self) -> Vec<usize> {
        self.0.iter().flat_map(Tree::parts).flat_map(|p| p.seen..p.seen + p.rows).collect()
    }
}
