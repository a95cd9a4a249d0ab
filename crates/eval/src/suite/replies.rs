//! Gets the replies to a suite's prompts: generates them, with a cache on disk, or reads them from a file.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use rlar_policy::with_prefill;
use rlar_run::sha256;
use serde_json::{Value, json};

use super::generator::{ReplyDraw, ReplyGenerator, ReplyRequest, ReplyResult, SuiteReply};
use super::prompts::SuitePrompt;
use super::spec::Suite;
use crate::EvalError;
use crate::rows::{Row, rows, text};

/// Minimum number of prompts in a call of the generator for which a call without a single reply ends the generation
/// with an error, because the generator must be down. While no reply is known to any prompt, a call with fewer prompts
/// that yields no reply ends it too.
const MAX_FAILED_PROMPTS: usize = 8;

/// Settings of [`generate_replies`] that are not part of the suite.
pub struct GenerationOptions<'a> {
    /// Seed of the sampling, from which each reply's own seed is derived. Not used at temperature 0.
    pub seed: u64,
    /// JSONL file to which finished replies are appended. Replies that are already in it are not generated again.
    /// `None` caches no replies.
    pub cache: Option<&'a Path>,
    /// Returns true when generation should stop.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// The key under which a reply is cached, and the seed with which it is sampled.
struct ReplyKey {
    /// Hash of everything that the reply depends on, in hexadecimal.
    key: String,
    seed: u64,
}

impl ReplyKey {
    /// Hashes the prompt, the sampling settings, the run's seed and the index of the reply. This hash gives the reply's
    /// seed; together with the generator's name it gives the key. All models thus use the same random numbers. At
    /// temperature 0 the run's seed is taken to be 0, so that key and seed do not depend on it.
    fn new(suite: &Suite, prompt: &SuitePrompt, generator: &str, seed: u64, sample: usize) -> Self {
        let s = &suite.sampling;
        let seed = if s.temperature > 0.0 { seed } else { 0 };
        let mut sampling = json!([s.temperature, s.top_p, s.top_k, s.min_p, s.max_tokens, s.stop]);
        if let (true, Value::Array(settings)) = (s.include_stop, &mut sampling) {
            settings.push("include_stop".into());
        }
        let request = json!([prompt.example.id, prompt.example.messages, suite.format, sampling, seed, sample]);
        let request = sha256(request.to_string().as_bytes());
        // 16 hexadecimal digits always parse as `u64`.
        let seed = u64::from_str_radix(&request[..16], 16).unwrap_or(0);
        Self { key: sha256(json!([request, generator]).to_string().as_bytes())[..32].to_owned(), seed }
    }
}

/// Generates `sampling.samples` replies to each prompt; `None` if cancelled. `on_progress` gets the number of finished
/// prompts. Fails where the generator cannot serve the suite, where its budget is spent, or where it seems to be down
/// because a whole batch of prompts gets no reply. Finished replies stay in the cache even then.
pub fn generate_replies(
    suite: &Suite,
    prompts: &[SuitePrompt],
    generator: &dyn ReplyGenerator,
    options: &GenerationOptions,
    on_progress: &mut dyn FnMut(usize),
) -> Result<Option<Vec<Vec<ReplyResult>>>, EvalError> {
    suite
        .check_samples_differ()
        .and_then(|()| generator.check_suite(suite))
        .map_err(|reason| EvalError::Mismatch(format!("suite `{}`: {reason}", suite.name)))?;
    let name = generator.name();
    let mut replies = options.cache.map_or(Ok(HashMap::new()), read_cache)?;
    let keys: Vec<Vec<ReplyKey>> = prompts
        .iter()
        .map(|prompt| {
            let key = |sample| ReplyKey::new(suite, prompt, &name, options.seed, sample);
            (0..suite.sampling.samples).map(key).collect()
        })
        .collect();
    let is_complete = |prompt: &usize| keys[*prompt].iter().all(|k| replies.contains_key(&k.key));
    let pending: Vec<usize> = (0..prompts.len()).filter(|prompt| !is_complete(prompt)).collect();
    let mut finished = prompts.len() - pending.len();
    on_progress(finished);
    let mut failures: HashMap<&str, String> = HashMap::new();
    let prompts_per_call = (generator.replies_per_call() / suite.sampling.samples).max(1);
    for batch in pending.chunks(prompts_per_call) {
        let requests: Vec<ReplyRequest> =
            batch.iter().map(|prompt| request(&prompts[*prompt], &keys[*prompt], &replies)).collect();
        let generated = generator.generate(suite, &requests, options.cancelled)?;
        let mut new_lines = String::new();
        let mut first_failure = None;
        for ((prompt, request), results) in batch.iter().zip(&requests).zip(generated.replies) {
            for (draw, result) in request.draws.iter().zip(results) {
                let key = &keys[*prompt][draw.sample].key;
                match result {
                    Ok(reply) => {
                        new_lines += &cache_line(request, draw, &reply, key);
                        replies.insert(key.clone(), reply);
                    }
                    // Failed replies are not cached, because the next attempt may succeed.
                    Err(reason) => {
                        first_failure.get_or_insert_with(|| reason.clone());
                        failures.insert(key, reason);
                    }
                }
            }
        }
        if let Some(path) = options.cache.filter(|_| !new_lines.is_empty()) {
            append_to_cache(path, &new_lines)?;
        }
        if (options.cancelled)() {
            return Ok(None);
        }
        let is_down = new_lines.is_empty() && (replies.is_empty() || batch.len() >= MAX_FAILED_PROMPTS);
        if let Some(reason) = generated.exhausted.or(first_failure.filter(|_| is_down)) {
            let message = format!("suite `{}`: {} prompts in a row got no reply: {reason}", suite.name, batch.len());
            return Err(EvalError::Mismatch(message));
        }
        finished += batch.len();
        on_progress(finished);
    }
    let result = |k: &ReplyKey, prefill: &str| {
        let reason = || failures.get(k.key.as_str()).cloned().unwrap_or_else(|| "it was not generated".into());
        let reply = replies.get(&k.key).cloned().ok_or_else(reason)?;
        Ok(SuiteReply { text: with_prefill(prefill, reply.text), ..reply })
    };
    let of_prompt = |(prompt, keys): (&SuitePrompt, &Vec<ReplyKey>)| {
        let prefill = generator.prefill(suite, &prompt.example)?;
        Ok(keys.iter().map(|k| result(k, &prefill)).collect())
    };
    Ok(Some(prompts.iter().zip(&keys).map(of_prompt).collect::<Result<_, EvalError>>()?))
}

/// The request for the missing replies to a prompt. `keys` has one key for each reply to the prompt; those that
/// `replies`, a map by key, already holds are not requested.
fn request<'t>(prompt: &'t SuitePrompt, keys: &[ReplyKey], replies: &HashMap<String, SuiteReply>) -> ReplyRequest<'t> {
    let missing = keys.iter().enumerate().filter(|(_, k)| !replies.contains_key(&k.key));
    let draws = missing.map(|(sample, k)| ReplyDraw { sample, seed: k.seed }).collect();
    ReplyRequest { example: &prompt.example, draws }
}

fn cache_line(request: &ReplyRequest, draw: &ReplyDraw, reply: &SuiteReply, key: &str) -> String {
    let line = json!({
        "id": request.example.id, "sample": draw.sample, "reply": reply.text, "cut": reply.truncated, "key": key,
    });
    line.to_string() + "\n"
}

fn read_cache(path: &Path) -> Result<HashMap<String, SuiteReply>, EvalError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(e) => return Err(EvalError::File { path: path.to_owned(), message: e.to_string() }),
    };
    // A line that does not parse was cut short because the process was killed while writing.
    let lines = bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let entry = |line: Value| {
        let text = line["reply"].as_str()?.to_owned();
        Some((line["key"].as_str()?.to_owned(), SuiteReply { text, truncated: line["cut"] == true }))
    };
    Ok(lines.filter_map(entry).collect())
}

fn append_to_cache(path: &Path, lines: &str) -> Result<(), EvalError> {
    let failed = |e: std::io::Error| EvalError::File { path: path.to_owned(), message: e.to_string() };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(failed)?;
    // Where the file ends with a line that was cut short, the new lines must not continue that line.
    let mut last = [b'\n'];
    if file.metadata().map_err(failed)?.len() > 0 {
        file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).map_err(failed)?;
    }
    let lines = if last == [b'\n'] { lines.to_owned() } else { format!("\n{lines}") };
    file.write_all(lines.as_bytes()).and_then(|()| file.sync_data()).map_err(failed)
}

/// Names of columns that may hold the id of a prompt in a file of recorded replies.
const ID_COLUMNS: [&str; 5] = ["id", "task_id", "unique_id", "key", "question_id"];
/// Names of columns that may hold the reply in a file of recorded replies.
const REPLY_COLUMNS: [&str; 6] = ["reply", "response", "completion", "output", "solution", "generation"];

/// Reads recorded replies from the contents of a file, which may be gzipped. The result has one list per prompt.
///
/// The rows of a JSONL, JSON list or Parquet file have a reply (`reply`, `response`, `completion`, `output`, `solution`
/// or `generation`) and name their prompt by its id (`id`, `task_id`, `unique_id`, `key` or `question_id`) or by its
/// text (`prompt`). Any other file is text with one reply per line, in the order of the prompts. A prompt with several
/// rows has several replies. All prompts that have replies must have the same number of them.
pub fn read_replies(path: &Path, bytes: &[u8], prompts: &[SuitePrompt]) -> Result<Vec<Vec<ReplyResult>>, EvalError> {
    let bytes = rlar_data::decompress(path, bytes)?;
    let name = path.to_string_lossy();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let reply = |text: &str| Ok(SuiteReply { text: text.to_owned(), truncated: false });
    if ![".jsonl", ".json", ".parquet"].iter().any(|end| name.ends_with(end)) {
        let lines: Vec<&str> = text(path, &bytes)?.lines().collect();
        if lines.len() != prompts.len() {
            let message =
                format!("{} lines for {} prompts; one line per prompt is expected", lines.len(), prompts.len());
            return Err(EvalError::File { path: path.to_owned(), message });
        }
        return Ok(lines.into_iter().map(|line| vec![reply(line)]).collect());
    }
    let mut index: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, prompt) in prompts.iter().enumerate() {
        index.insert(prompt.example.prompt().trim(), i);
    }
    // Ids come second, so that an id replaces the equal text of another prompt as a key.
    for (i, prompt) in prompts.iter().enumerate() {
        index.insert(&prompt.example.id, i);
    }
    let mut replies: Vec<Vec<ReplyResult>> = vec![Vec::new(); prompts.len()];
    let mut unknown_rows = 0;
    for row in rows(path, &bytes)? {
        let Some(prompt) = prompt_of_row(&row, &index)? else {
            unknown_rows += 1;
            continue;
        };
        let column = REPLY_COLUMNS.iter().find(|column| row.has(column));
        let column = column
            .ok_or_else(|| row.wrong(format!("no reply; its column may be called {}", REPLY_COLUMNS.join(", "))))?;
        let result = match row.value(column) {
            None => Err("it is null in the file".to_owned()),
            Some(_) => reply(&row.text(column)?),
        };
        replies[prompt].push(result);
    }
    check_coverage(path, prompts, &replies, unknown_rows)?;
    let samples = replies.iter().map(Vec::len).max().unwrap_or(0);
    for missing in replies.iter_mut().filter(|replies| replies.is_empty()) {
        missing.resize(samples, Err(format!("{} has none", path.display())));
    }
    Ok(replies)
}

/// Checks that the replies in a file belong to the suite's prompts. Fails where no prompt has a reply, where prompts
/// have different numbers of replies, or where more rows name unknown prompts than the suite has prompts. Warns where
/// some prompts have no reply or some rows are left out.
fn check_coverage(
    path: &Path,
    prompts: &[SuitePrompt],
    replies: &[Vec<ReplyResult>],
    unknown_rows: usize,
) -> Result<(), EvalError> {
    let wrong = |message: String| Err(EvalError::File { path: path.to_owned(), message });
    let counts = || prompts.iter().map(|p| p.example.id.as_str()).zip(replies.iter().map(Vec::len));
    let most = counts().map(|(_, n)| n).max().unwrap_or(0);
    let missing: Vec<&str> = counts().filter(|(_, n)| *n == 0).map(|(id, _)| id).collect();
    if missing.len() == prompts.len() {
        let first = missing.first().copied().unwrap_or_default();
        return wrong(format!("none of its rows names a prompt of the suite, such as `{first}`"));
    }
    if let Some((id, n)) = counts().find(|(_, n)| *n > 0 && *n < most) {
        return wrong(format!("`{id}` has {n} replies, but other prompts have {most}"));
    }
    if let Some(first) = missing.first() {
        let (n, all) = (missing.len(), prompts.len());
        tracing::warn!("{}: no reply to {n} of {all} prompts, such as `{first}`", path.display());
    }
    if unknown_rows > prompts.len() {
        return wrong(format!(
            "{unknown_rows} rows name no prompt of the suite, which has {}: they seem to be replies to another one",
            prompts.len()
        ));
    }
    if unknown_rows > 0 {
        tracing::warn!("{}: {unknown_rows} rows name no prompt of the suite and are left out", path.display());
    }
    Ok(())
}

/// The index of the prompt to which a row of recorded replies belongs. `index` maps ids and texts of the suite's
/// prompts to their indices. `None` where the suite has no such prompt. Fails where the row has no column that could
/// name a prompt.
fn prompt_of_row(row: &Row, index: &BTreeMap<&str, usize>) -> Result<Option<usize>, EvalError> {
    let columns: Vec<&str> = ID_COLUMNS.into_iter().filter(|column| row.has(column)).collect();
    for column in &columns {
        if let Some(prompt) = index.get(row.text(column)?.as_str()) {
            return Ok(Some(*prompt));
        }
    }
    match (row.has("prompt"), columns.is_empty()) {
        (true, _) => Ok(index.get(row.text("prompt")?.trim()).copied()),
        (false, false) => Ok(None),
        (false, true) => {
            let columns = ID_COLUMNS.join(", ");
            Err(row.wrong(format!("names no prompt: a column {columns} or `prompt` is needed")))
        }
    }
}
