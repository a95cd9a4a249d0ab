//! The paths in a config. In every one of them, `~` stands for the home folder. The program `rlar` decides in which
//! folders relative paths are looked for, by one rule for all keys (`docs/reference/config.md`, Paths).

use rlar_data::{DataFiles, KeyProblem, expand_home};

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
        all("sampling.vllm.path", self.sampling.vllm.as_mut().and_then(|vllm| vllm.path.as_mut()));
        let data = &mut self.data;
        let mut sets = vec![
            ("data.train".to_owned(), &mut data.train),
            ("data.heldout".to_owned(), &mut data.heldout),
            ("data.demonstrations".to_owned(), &mut data.demonstrations),
            ("data.preferences".to_owned(), &mut data.preferences),
        ];
        for (i, domain) in data.mixture.iter_mut().enumerate() {
            sets.push((format!("data.mixture[{i}].train"), &mut domain.train));
            sets.push((format!("data.mixture[{i}].heldout"), &mut domain.heldout));
            sets.push((format!("data.mixture[{i}].demonstrations"), &mut domain.demonstrations));
        }
        for (key, files) in sets {
            files.iter_mut().flat_map(DataFiles::names_mut).for_each(|name| all(&key, Some(name)));
        }
        for (i, suite) in self.eval.suites.iter_mut().enumerate() {
            all(&format!("eval.suites[{i}].suite"), Some(&mut suite.suite));
            let names = suite.data.iter_mut().flat_map(DataFiles::names_mut);
            names.for_each(|name| all(&format!("eval.suites[{i}].data"), Some(name)));
        }
        let rewards = &mut self.rewards;
        all("rewards.library", rewards.library.as_mut());
        all("rewards.store", rewards.store.as_mut());
        for (i, entry) in rewards.python.iter_mut().enumerate() {
            all(&format!("rewards.python[{i}]"), Some(&mut entry.function));
        }
        if let Some(llm) = &mut rewards.llm {
            all("rewards.llm.local", llm.local.as_mut());
            all("rewards.llm.replay", llm.replay.as_mut());
            all("rewards.llm.record", llm.record.as_mut());
        }
    }
}
