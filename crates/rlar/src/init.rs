//! `rlar init`: writes a commented config for a data set and a model.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use rlar_data::{DataRow, Needs, columns_of, examples, read_rows};

use crate::cli::InitArguments;
use crate::error::{BadRequestExt, bad_request};
use crate::find::data_files;
use crate::model;
use crate::output::{print, print_note};

pub fn run(arguments: &InitArguments) -> Result<()> {
    let data = arguments.data.to_string_lossy();
    let mut rows = Vec::new();
    for file in data_files(Path::new(""), &data).context("--data").bad_request()? {
        rows.extend(read_rows(&file.path, &file.bytes).bad_request()?);
    }
    let Some(first) = rows.first().cloned() else {
        return Err(bad_request(format!("--data {data}: there are no rows")));
    };
    model::check(&arguments.model, None).bad_request()?;
    let output = &arguments.output;
    let text = config(output, &data, &arguments.model.to_string_lossy(), &Understood::of(rows, &first));
    if output.exists() {
        return Err(bad_request(format!("--output {} exists; name another file", output.display())));
    }
    std::fs::write(output, text).with_context(|| output.display().to_string())?;
    let path = output.display();
    print_note(format!("Read it, then: rlar check --config {path}; rlar train --config {path}\n"))?;
    print(format!("{path}\n"))
}

/// What the rows of the data show about the config to write.
struct Understood {
    /// Comments about the data for the config, such as the number of prompts.
    comments: Vec<String>,
    /// The value of `data.columns`, as lines of YAML; empty if the rows need none.
    columns: Vec<String>,
}

impl Understood {
    fn of(rows: Vec<DataRow>, first: &DataRow) -> Self {
        match examples(rows, None, Needs::Prompt) {
            Ok(set) => {
                let with_reference = set.examples.iter().filter(|e| e.reference.is_some()).count();
                let mut comments = vec![format!("{} prompts, {with_reference} with a reference", set.examples.len())];
                comments.extend(set.notes);
                let columns = set.unclear_references.map_or(Vec::new(), |why| {
                    comments.push(format!("{why}; `reference` below must give the answer alone"));
                    vec![r#"reference: "{{ answer.split('####')[-1] | trim }}""#.to_owned()]
                });
                Self { comments, columns }
            }
            Err(error) => {
                let name = first.columns.iter().find(|(_, v)| v.is_string()).map_or("COLUMN", |(name, _)| name);
                let comments = vec![error.to_string(), columns_of(&first.columns)];
                Self {
                    comments,
                    columns: vec![format!("prompt: \"{{{{ {name} }}}}\""), "# reference: \"{{ … }}\"".into()],
                }
            }
        }
    }
}

/// The YAML text of the config at the path `output`, for a data file and a model, given as the paths to write into it. The
/// run's folder has the name of the config, so that two configs of a folder do not share one.
fn config(output: &Path, data: &str, model: &str, understood: &Understood) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut out = String::from(
        "# A job of GRPO. Every key: docs/reference/config.md, or `rlar config schema --markdown`.\nversion: 1\nseed: 0\n",
    );
    let run = format!("runs/{}", output.file_stem().unwrap_or_default().to_string_lossy());
    let _ = write!(
        out,
        "run:\n  # Checkpoints, metrics, rollouts and the final model.\n  folder: {}\nmodel:\n  path: {}\n  \
         # Trains an adapter instead of all weights. Without this key all weights are trained.\n  lora:\n    rank: 16\n",
        quoted(&run),
        quoted(model)
    );
    let _ = writeln!(out, "data:");
    for comment in understood.comments.iter().flat_map(|comment| comment.lines()) {
        let _ = writeln!(out, "  # {comment}");
    }
    let _ = writeln!(out, "  train: {}", quoted(data));
    let _ = writeln!(out, "  # heldout: FILE          # prompts to measure on, before and after");
    if !understood.columns.is_empty() {
        let _ = writeln!(out, "  columns:");
        for line in &understood.columns {
            let _ = writeln!(out, "    {line}");
        }
    }
    out + "# The builtin agent chooses a reward tool for every prompt. To use a Python function of your own (TRL's, verl's\n# or \
           rlar's form, docs/reference/python-functions.md):\n# rewards:\n#   python: reward.py:accuracy\n# To choose tools \
           yourself, by domain:\n# rewards:\n#   assign:\n#     math: [{ tool: math_equivalence }]\nsampling:\n  max_tokens: 256          # replies are cut off here\n  \
           temperature: 1.0\ntrain:\n  steps: 100\n  prompts: 8               # prompts per step\n  group_size: 8            \
           # replies per prompt\noptimizer:\n  learning_rate: 2.0e-5    # for an adapter; about 1.0e-6 for all weights\n"
}
