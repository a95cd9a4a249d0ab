//! The paths in a config: `~` stands for the home folder in every one of them.

use rlar_data::{KeyProblem, expand_home};

use crate::config::Config;

impl Config {
    /// Replaces `~` at the beginning of every path by the home folder. Returns the keys for which that is impossible.
    pub fn expand_paths(&mut self) -> Vec<KeyProblem> {
        let mut problems = Vec::new();
        self.each_path(&mut |key, path| match expand_home(path) {
            Ok(expanded) => *path = expanded,
            Err(why) => problems.push(KeyProblem::new(key, why)),
        });
        problems
    }

    /// Calls `visit` with the name and the value of every key that holds a path.
    fn each_path(&mut self, visit: &mut dyn FnMut(String, &mut String)) {
        let mut all = |key: &str, path: Option<&mut String>| {
            if let Some(path) = path {
                visit(key.to_owned(), path);
            }
        };
        all("run.folder", Some(&mut self.run.folder));
        all("model.path", self.model.path.as_mut());
        let data = &mut self.data;
        all("data.train", data.train.as_mut());
        all("data.heldout", data.heldout.as_mut());
        all("data.demonstrations", data.demonstrations.as_mut());
        all("data.preferences", data.preferences.as_mut());
        for (i, domain) in data.mixture.iter_mut().enumerate() {
            all(&format!("data.mixture[{i}].train"), domain.train.as_mut());
            all(&format!("data.mixture[{i}].heldout"), domain.heldout.as_mut());
            all(&format!("data.mixture[{i}].demonstrations"), domain.demonstrations.as_mut());
        }
        for (i, suite) in self.eval.suites.iter_mut().enumerate() {
            all(&format!("eval.suites[{i}].suite"), Some(&mut suite.suite));
            all(&format!("eval.suites[{i}].data"), suite.data.as_mut());
        }
        let rewards = &mut self.rewards;
        all("rewards.library", rewards.library.as_mut());
        all("rewards.store", rewards.store.as_mut());
        if let Some(llm) = &mut rewards.llm {
            all("rewards.llm.local", llm.local.as_mut());
            all("rewards.llm.replay", llm.replay.as_mut());
            all("rewards.llm.record", llm.record.as_mut());
        }
    }
}
