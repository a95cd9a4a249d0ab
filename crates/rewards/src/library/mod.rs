//! Libraries: folders of reward tools that a person can read, compare and commit.

pub mod diff;
pub mod evidence;
pub mod folder;
pub mod new_tool;
pub mod task_labels;
