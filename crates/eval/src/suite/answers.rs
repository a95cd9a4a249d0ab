//! Replies to a suite's prompts: asked for, kept as they come, or recorded elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use rlar_run::sha256;
use serde_json::{Value, json};

use super::engine::{Answer, Asked, Engine, Reply};
use super::spec::Suite;
use super::tasks::{Task, unpacked};
use crate::EvalError;
use crate::rows::{Row, rows, text};

/// Prompts without a reply after which nobody seems to be there, where there were replies before.
const SILENT: usize = 8;

/// What asking for answers depends on.
pub struct Asking<'a> {
    /// The seed of the draws.
    pub seed: u64,
    /// The file that answers are kept in as they come; what stands there already is not asked for again.
    pub kept: Option<&'a Path>,
    /// Whether to stop.
    pub over: &'a (dyn Fn() -> bool + Sync),
}

/// The replies to each prompt, `sampling.samples` of them; nothing if it was interrupted. `done` hears of every prompt. Where
/// prompts in a row get no reply, nobody seems to be there: that is an error, and what was answered before is kept.
pub fn answers(
    suite: &Suite,
    tasks: &[Task],
    engine: &dyn Engine,
    asking: &Asking,
    done: &mut dyn FnMut(usize),
) -> Result<Option<Vec<Vec<Reply>>>, EvalError> {
    suite
        .is_drawn()
        .and_then(|()| engine.suits(suite))
        .map_err(|why| EvalError::Mismatch(format!("suite `{}`: {why}", suite.name)))?;
    let name = engine.name();
    let mut known = asking.kept.map_or(Ok(HashMap::new()), read_kept)?;
    let keys: Vec<Vec<String>> = tasks
        .iter()
        .map(|task| (0..suite.sampling.samples).map(|draw| key(suite, task, &name, asking.seed, draw).0).collect())
        .collect();
    let is_open = |place: usize, known: &HashMap<String, Answer>| keys[place].iter().any(|k| !known.contains_key(k));
    let open: Vec<usize> = (0..tasks.len()).filter(|place| is_open(*place, &known)).collect();
    let mut ready = tasks.len() - open.len();
    done(ready);
    let mut failed: HashMap<String, String> = HashMap::new();
    let at_once = (engine.at_once() / suite.sampling.samples).max(1);
    for some in open.chunks(at_once) {
        let asked: Vec<Asked> = some
            .iter()
            .map(|place| {
                let missing = keys[*place].iter().enumerate().filter(|(_, k)| !known.contains_key(*k));
                let task = &tasks[*place];
                let draws = missing.map(|(draw, _)| (draw, key(suite, task, &name, asking.seed, draw).1)).collect();
                Asked { example: &task.example, draws }
            })
            .collect();
        let told = engine.answer(suite, &asked, asking.over)?;
        let mut lines = String::new();
        let mut why = None;
        for ((place, one), replies) in some.iter().zip(&asked).zip(told.replies) {
            for ((draw, _), reply) in one.draws.iter().zip(replies) {
                let key = &keys[*place][*draw];
                match reply {
                    Ok(answer) => {
                        let (id, Answer { text, cut }) = (&one.example.id, &answer);
                        let line = json!({ "id": id, "sample": draw, "reply": text, "cut": cut, "key": key });
                        lines = lines + &line.to_string() + "\n";
                        known.insert(key.clone(), answer);
                    }
                    // It may not fail the next time: it is not kept.
                    Err(e) => {
                        why.get_or_insert_with(|| e.clone());
                        failed.insert(key.clone(), e);
                    }
                }
            }
        }
        if let Some(path) = asking.kept.filter(|_| !lines.is_empty()) {
            keep(path, &lines)?;
        }
        if (asking.over)() {
            return Ok(None);
        }
        let silent = lines.is_empty() && (known.is_empty() || some.len() >= SILENT);
        if let Some(why) = told.ended.or(why.filter(|_| silent)) {
            let message = format!("suite `{}`: {} prompts in a row got no reply: {why}", suite.name, some.len());
            return Err(EvalError::Mismatch(message));
        }
        ready += some.len();
        done(ready);
    }
    let reply = |key: &String| {
        let why = || failed.get(key).cloned().unwrap_or_else(|| "it was not asked for".into());
        known.get(key).cloned().ok_or_else(why)
    };
    Ok(Some(keys.iter().map(|keys| keys.iter().map(reply).collect()).collect()))
}

/// What a reply depends on: the prompt, how it is put and drawn, which of several replies it is, and who answers; and its stream
/// of random numbers, which does not depend on who answers. Replies of a greedy draw do not depend on the seed.
fn key(suite: &Suite, task: &Task, engine: &str, seed: u64, draw: usize) -> (String, u64) {
    let s = &suite.sampling;
    let seed = if s.temperature > 0.0 { seed } else { 0 };
    let drawn = json!([s.temperature, s.top_p, s.top_k, s.min_p, s.max_tokens, s.stop]);
    let asked = json!([task.example.id, task.example.messages, suite.format, drawn, seed, draw]);
    let asked = sha256(asked.to_string().as_bytes());
    // Sixteen hexadecimal digits are such a number.
    let stream = u64::from_str_radix(&asked[..16], 16).unwrap_or(0);
    (sha256(json!([asked, engine]).to_string().as_bytes())[..32].to_owned(), stream)
}

fn read_kept(path: &Path) -> Result<HashMap<String, Answer>, EvalError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(e) => return Err(EvalError::File { path: path.to_owned(), message: e.to_string() }),
    };
    // A kill may have cut a line.
    let lines = bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let answer = |line: Value| {
        let text = line["reply"].as_str()?.to_owned();
        Some((line["key"].as_str()?.to_owned(), Answer { text, cut: line["cut"] == true }))
    };
    Ok(lines.filter_map(answer).collect())
}

fn keep(path: &Path, lines: &str) -> Result<(), EvalError> {
    let wrong = |e: std::io::Error| EvalError::File { path: path.to_owned(), message: e.to_string() };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(wrong)?;
    }
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(wrong)?;
    // What a kill cut off would swallow the next line.
    let mut last = [b'\n'];
    if file.metadata().map_err(wrong)?.len() > 0 {
        file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).map_err(wrong)?;
    }
    let cut = last != [b'\n'];
    let lines = if cut { format!("\n{lines}") } else { lines.to_owned() };
    file.write_all(lines.as_bytes()).and_then(|()| file.sync_data()).map_err(wrong)
}

/// Columns that name a prompt, and those that hold a reply.
const IDS: [&str; 5] = ["id", "task_id", "unique_id", "key", "question_id"];
const REPLIES: [&str; 6] = ["reply", "response", "completion", "output", "solution", "generation"];

/// Replies that were recorded elsewhere: JSONL, a JSON list or Parquet whose rows have a reply (`reply`, `response`,
/// `completion`, `output`, `solution` or `generation`) and name their prompt by its id (`id`, `task_id`, `unique_id`, `key`,
/// `question_id`) or by itself (`prompt`); or a text with a line per prompt. Several rows of a prompt are several replies;
/// prompts have equally many, or none.
pub fn read_answers(path: &Path, bytes: Vec<u8>, tasks: &[Task]) -> Result<Vec<Vec<Reply>>, EvalError> {
    let bytes = unpacked(path, bytes)?;
    let name = path.to_string_lossy();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let wrong = |message: String| EvalError::File { path: path.to_owned(), message };
    let answer = |text: &str| Ok(Answer { text: text.to_owned(), cut: false });
    if ![".jsonl", ".json", ".parquet"].iter().any(|end| name.ends_with(end)) {
        let lines: Vec<&str> = text(path, &bytes)?.lines().collect();
        if lines.len() != tasks.len() {
            return Err(wrong(format!(
                "{} lines for {} prompts; a line per prompt is expected",
                lines.len(),
                tasks.len()
            )));
        }
        return Ok(lines.into_iter().map(|line| vec![answer(line)]).collect());
    }
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, task) in tasks.iter().enumerate() {
        places.insert(task.example.prompt().trim(), place);
    }
    // An id counts more than a prompt that happens to read like one.
    for (place, task) in tasks.iter().enumerate() {
        places.insert(&task.example.id, place);
    }
    let mut replies: Vec<Vec<Reply>> = vec![Vec::new(); tasks.len()];
    let mut strange = 0;
    for row in rows(path, &bytes)? {
        let Some(place) = place(&row, &places)? else {
            strange += 1;
            continue;
        };
        let key = REPLIES.iter().find(|key| row.has(key));
        let key = key.ok_or_else(|| row.wrong(format!("no reply; it may be called {}", REPLIES.join(", "))))?;
        let reply =
            if row.value(key).is_none() { Err("it is null in the file".to_owned()) } else { answer(&row.text(key)?) };
        replies[place].push(reply);
    }
    let most = replies.iter().map(Vec::len).max().unwrap_or(0);
    let absent: Vec<&str> =
        tasks.iter().zip(&replies).filter(|(_, r)| r.is_empty()).map(|(t, _)| t.example.id.as_str()).collect();
    if absent.len() == tasks.len() {
        return Err(wrong(format!("none of its rows names a prompt of the suite, such as `{}`", tasks[0].example.id)));
    }
    if let Some((task, n)) = tasks.iter().zip(&replies).map(|(t, r)| (t, r.len())).find(|(_, n)| *n > 0 && *n < most) {
        return Err(wrong(format!("`{}` has {n} replies and others have {most}", task.example.id)));
    }
    if let Some(first) = absent.first() {
        tracing::warn!(
            "{}: no reply to {} of {} prompts, such as `{first}`",
            path.display(),
            absent.len(),
            tasks.len()
        );
    }
    if strange > tasks.len() {
        return Err(wrong(format!(
            "{strange} rows name no prompt of the suite, which has {}: they seem to be replies to another one",
            tasks.len()
        )));
    }
    if strange > 0 {
        tracing::warn!("{}: {strange} rows name no prompt of the suite and are left out", path.display());
    }
    for own in replies.iter_mut().filter(|own| own.is_empty()) {
        own.resize(most, Err(format!("{} has none", path.display())));
    }
    Ok(replies)
}

fn place(row: &Row, places: &BTreeMap<&str, usize>) -> Result<Option<usize>, EvalError> {
    let ids: Vec<&str> = IDS.into_iter().filter(|key| row.has(key)).collect();
    for key in &ids {
        if let Some(place) = places.get(row.text(key)?.as_str()) {
            return Ok(Some(*place));
        }
    }
    match (row.has("prompt"), ids.is_empty()) {
        (true, _) => Ok(places.get(row.text("prompt")?.trim()).copied()),
        (false, false) => Ok(None),
        (false, true) => Err(row.wrong(format!("names no prompt: one of {} or `prompt` is needed", IDS.join(", ")))),
    }
}
