//! Makes examples from rows: prompts with references, demonstrations and domains.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::columns::{CompiledColumns, columns_of, messages, recognise, text_of};
use crate::error::DataError;
use crate::example::{Example, Message, Role};
use crate::example_list::ExampleList;
use crate::files::FoundFiles;
use crate::final_answer::{AnswerRule, ForEachBlock, answer_rule};
use crate::parallel::on_all_cores;
use crate::rows::{DataRow, UnparsedRow, json_type_name, read_rows};
use crate::unique_ids::UniqueIds;

/// Maximum number of examples of a data set that keep the worked solution from which their reference was taken.
const KEPT_SOLUTIONS: usize = 1000;
/// Maximum number of domains of a data set for which a note shows a final answer that was found.
const SHOWN_DOMAINS: usize = 12;
/// Maximum number of characters of a worked solution that a note shows before its final answer, and behind it.
const SHOWN_BEFORE: usize = 60;
const SHOWN_BEHIND: usize = 20;

/// The columns that a job requires of every row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Every row must have a prompt; all else is optional.
    Prompt,
    /// Every row must have a prompt and the correct answer.
    Reference,
    /// Every row must have a prompt and a reply to imitate, or a conversation that ends with such a reply.
    Demonstration,
}

/// The examples of a data set, and what a user should know of how they were read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExampleSet {
    /// The examples, in the order of the rows.
    pub examples: Vec<Example>,
    /// Notes for the user on how the columns were read, such as "`question` is the prompt".
    pub notes: Vec<String>,
    /// Why the references cannot be compared with replies, if they look like worked solutions whose final answer was
    /// not found; `None` for references that can be used.
    pub unclear_references: Option<String>,
}

/// Reads the examples in the contents of a data file. The file at `path` is not opened: the extension of the path tells
/// CSV and TSV from other formats, and errors name the path.
pub fn read_examples(path: &Path, bytes: &[u8], needs: Needs) -> Result<Vec<Example>, DataError> {
    Ok(examples(read_rows(path, bytes)?, None, needs)?.examples)
}

/// Makes one example from each row.
///
/// A row has `prompt` (text, or a list of messages, as in TRL) or `messages`, and `reference` (or `answer`) and
/// `demonstration` as far as `needs` requires them. Other tools' names for these are recognised, and `columns` maps any
/// others. In references that hold a worked solution, the final answer is found and becomes the reference. The id of a
/// row without `id` is its line; ids must be unique.
pub fn examples(rows: Vec<DataRow>, columns: Option<&CompiledColumns>, needs: Needs) -> Result<ExampleSet, DataError> {
    let files = rows.iter().map(|row| &row.path).collect::<BTreeSet<_>>().len();
    let mut reading = Reading::new(RowReader { columns, needs, files });
    let mut rows = rows.into_iter().peekable();
    while let Some(path) = rows.peek().map(|row| row.path.clone()) {
        let of_file = std::iter::from_fn(|| rows.next_if(|row| row.path == path));
        reading.add(&path, of_file.map(UnparsedRow::from).collect())?;
    }
    let ListedExamples { examples, notes, unclear_references } = reading.end()?;
    Ok(ExampleSet { examples: examples.iter().collect::<Result<_, _>>()?, notes, unclear_references })
}

/// Makes one example from each row of some files, as [`examples`] does, on all processor cores and with few rows in
/// memory at a time.
pub fn list_examples(
    files: FoundFiles,
    columns: Option<&CompiledColumns>,
    needs: Needs,
) -> Result<ListedExamples, DataError> {
    let mut reading = Reading::new(RowReader { columns, needs, files: files.count() });
    files.for_each_block(|path, rows| reading.add(path, rows))?;
    reading.end()
}

/// The examples of a data set that may be large, with the same notes as in [`ExampleSet`].
#[derive(Debug, Default)]
pub struct ListedExamples {
    /// The examples, in the order of the rows.
    pub examples: ExampleList,
    /// As in [`ExampleSet`].
    pub notes: Vec<String>,
    /// As in [`ExampleSet`].
    pub unclear_references: Option<String>,
}

/// How the rows of a data set are read.
struct RowReader<'c> {
    columns: Option<&'c CompiledColumns<'c>>,
    needs: Needs,
    /// Number of files that the rows are from.
    files: usize,
}

/// The example of a row, with the notes on its columns.
struct ReadRow {
    line: usize,
    example: Example,
    recognised: Vec<String>,
}

impl RowReader<'_> {
    fn read(&self, row: DataRow) -> Result<ReadRow, DataError> {
        let DataRow { path, line, columns } = row;
        let wrong = |message: String| DataError::Row { path: path.to_path_buf(), line, message };
        let default_id = default_id(&path, line, self.files);
        // The column of the reference, which is no further column of the example, may hold what is to be imitated.
        let reply = (self.needs == Needs::Demonstration).then(|| reply_column(&columns)).flatten();
        let (example, recognised) = example(columns, self.columns, default_id).map_err(wrong)?;
        let missing = match self.needs {
            Needs::Reference if example.reference.is_none() => Some("`reference` (or `answer`)"),
            Needs::Demonstration if example.demonstration.is_none() && !ends_with_reply(&example) => {
                Some("`demonstration` (or a last message of the role `assistant`)")
            }
            _ => None,
        };
        if let Some(missing) = missing {
            return Err(wrong(format!(
                "the row has no {missing}, which this job needs; {}",
                how_to_map(missing, &example.columns, reply)
            )));
        }
        Ok(ReadRow { line, example, recognised })
    }
}

/// A data set that is being read.
struct Reading<'c> {
    reader: RowReader<'c>,
    examples: ExampleList,
    /// How many rows each note is about.
    notes: BTreeMap<String, usize>,
    ids: UniqueIds,
}

impl<'c> Reading<'c> {
    fn new(reader: RowReader<'c>) -> Self {
        Self { reader, examples: ExampleList::default(), notes: BTreeMap::new(), ids: UniqueIds::default() }
    }

    /// Adds the next rows, which are from the file at `path`.
    fn add(&mut self, path: &Arc<Path>, rows: Vec<UnparsedRow>) -> Result<(), DataError> {
        let read = |row: UnparsedRow| self.reader.read(row.parse(path)?);
        let shares = on_all_cores(rows, |share| share.into_iter().map(read).collect::<Vec<_>>());
        let mut examples = Vec::new();
        for row in shares.into_iter().flatten() {
            let ReadRow { line, example, recognised } = row?;
            for note in recognised {
                *self.notes.entry(note).or_default() += 1;
            }
            self.ids.push(path, line, &example.id);
            examples.push(example);
        }
        self.examples.push_all(examples)
    }

    fn end(self) -> Result<ListedExamples, DataError> {
        let Self { reader, examples, notes, ids } = self;
        ids.check(&examples)?;
        let count = examples.len();
        let notes = notes.into_iter().map(|(note, n)| if n == count { note } else { format!("{note} ({n} rows)") });
        let listed = ListedExamples { examples, notes: notes.collect(), unclear_references: None };
        if reader.columns.is_some_and(|columns| columns.has("reference")) {
            return Ok(listed);
        }
        listed.with_final_answers()
    }
}

impl ListedExamples {
    /// Replaces references that hold a worked solution by their final answers; notes show one of each domain. If the
    /// answers are not found, the reason is stored in `unclear_references`.
    fn with_final_answers(mut self) -> Result<Self, DataError> {
        let references = |each: &mut ForEachBlock| -> Result<(), DataError> {
            for block in self.examples.blocks() {
                each(block?.into_iter().filter_map(|example| example.reference).collect());
            }
            Ok(())
        };
        let (finder, how, found, references) = match answer_rule(&references)? {
            AnswerRule::AsTheyAre => return Ok(self),
            AnswerRule::Unclear(why) => {
                self.unclear_references = Some(why);
                return Ok(self);
            }
            AnswerRule::Found { finder, how, found, references } => (finder, how, found, references),
        };
        self.notes.push(format!("the reference is what {how} ({found} of {references} rows)"));
        let (mut answered, mut shown, mut n) = (ExampleList::default(), BTreeSet::new(), 0_usize);
        for block in self.examples.blocks() {
            let answer =
                |example: Example| (example.reference.as_deref().and_then(|text| finder.answer(text)), example);
            let shares = on_all_cores(block?, |share| share.into_iter().map(answer).collect::<Vec<_>>());
            let mut examples = Vec::new();
            for (answer, mut example) in shares.into_iter().flatten() {
                if let Some(answer) = answer {
                    if shown.len() < SHOWN_DOMAINS && shown.insert(example.domain.clone()) {
                        self.notes.push(found_answer(&example, &answer));
                    }
                    let is_kept = n.is_multiple_of(found.div_ceil(KEPT_SOLUTIONS));
                    example.worked_solution = example.reference.replace(answer).filter(|_| is_kept);
                    n += 1;
                }
                examples.push(example);
            }
            answered.push_all(examples)?;
        }
        self.examples = answered;
        Ok(self)
    }
}

/// A note that shows the final answer of an example, and the place in its reference, a worked solution, from which the
/// answer was taken.
fn found_answer(example: &Example, answer: &str) -> String {
    let solution = example.reference.as_deref().unwrap_or_default();
    let domain = example.domain.as_ref().map_or(String::new(), |domain| format!(" of `{domain}`"));
    let (id, place) = (&example.id, around(solution, answer));
    format!("row `{id}`{domain}: the reference `{}` was taken from \"{place}\"", one_line(answer))
}

/// The last place in `text` at which `part` stands, on one line; `…` marks a cut.
fn around(text: &str, part: &str) -> String {
    let at = text.rfind(part).unwrap_or(text.len());
    let start = text[..at].char_indices().rev().nth(SHOWN_BEFORE - 1).map_or(0, |(i, _)| i);
    let behind = (at + part.len()).min(text.len());
    let end = text[behind..].char_indices().nth(SHOWN_BEHIND).map_or(text.len(), |(i, _)| behind + i);
    let [before, after] = [start > 0, end < text.len()].map(|is_cut| if is_cut { "…" } else { "" });
    format!("{before}{}{after}", one_line(&text[start..end]))
}

/// A text with single spaces instead of white space and control characters.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The id of a row without `id`: its line; with several files also the file's name.
fn default_id(path: &Path, line: usize, files: usize) -> String {
    match path.file_name() {
        Some(name) if files > 1 => format!("{}:{line}", name.to_string_lossy()),
        _ => line.to_string(),
    }
}

/// Whether the conversation ends with a reply to an earlier message.
fn ends_with_reply(example: &Example) -> bool {
    example.messages.len() > 1 && example.messages.last().is_some_and(|m| m.role == Role::Assistant)
}

/// The column of a row that is most likely a good reply; `None` if no column has a usual name of one.
fn reply_column(row: &Map<String, Value>) -> Option<&'static str> {
    ["answer", "solution", "response", "completion", "output", "reference"]
        .into_iter()
        .find(|name| row.contains_key(*name))
}

/// Advice for an error about a missing column: the names of the row's columns, and a line of YAML that reads one of
/// them instead. `missing` names the missing column in backticks; `likely` is the column to propose, if one is known.
fn how_to_map(missing: &str, row: &Map<String, Value>, likely: Option<&str>) -> String {
    let key = missing.split('`').nth(1).unwrap_or("reference");
    let text_column = || row.iter().find(|(_, value)| value.is_string()).map(|(name, _)| name.as_str());
    let candidate = likely.or_else(text_column).unwrap_or("COLUMN");
    format!(
        "{}; name the right one, for example `data.columns: {{ {key}: \"{{{{ {candidate} }}}}\" }}`",
        columns_of(row)
    )
}

/// Makes an example from a row. Its id is `default_id` if the row has no `id`. Also returns notes on columns that were
/// recognised under other names, such as "`question` is the prompt".
pub(crate) fn example(
    mut row: Map<String, Value>,
    columns: Option<&CompiledColumns>,
    default_id: String,
) -> Result<(Example, Vec<String>), String> {
    if let Some(columns) = columns {
        columns.apply(&mut row)?;
    }
    let mut recognised = recognise(&mut row);
    // `remove` may change the order of the other columns. Resuming a run compares its data with this order.
    let Some(prompt) = row.remove("prompt").or_else(|| row.remove("messages")) else {
        return Err(format!("the row has no `prompt` (or `messages`); {}", how_to_map("`prompt`", &row, None)));
    };
    let conversational = prompt.is_array();
    let mut messages = match prompt {
        Value::String(content) => vec![Message::new(Role::User, content)],
        Value::Array(list) => messages(&list).map_err(|e| format!("`prompt`: {e}"))?,
        other => return Err(format!("`prompt` must be text or a list of messages, not {}", json_type_name(&other))),
    };
    if messages.last().is_none_or(|m| m.content.trim().is_empty() && m.tool_calls.is_empty()) {
        return Err("the prompt is empty".into());
    }
    if let Some(system) = row.get("system").and_then(Value::as_str).filter(|s| !s.trim().is_empty())
        && messages.first().is_some_and(|m| m.role != Role::System)
    {
        messages.insert(0, Message::new(Role::System, system));
        recognised.push("`system` is the system message".into());
    }
    let id = text_of("id", row.remove("id").as_ref())?.unwrap_or(default_id);
    let mut references = accepted_answers("reference", row.remove("reference").as_ref())?;
    if references.is_empty() {
        references = accepted_answers("answer", row.remove("answer").as_ref())?;
    }
    let domain = text_of("domain", row.remove("domain").as_ref())?;
    let demonstration = demonstration(row.remove("demonstration"))?;
    let mut references = references.into_iter();
    let reference = references.next();
    let further_references = references.collect();
    let example = Example {
        id,
        messages,
        reference,
        further_references,
        conversational,
        worked_solution: None,
        domain,
        demonstration,
        columns: row,
    };
    Ok((example, recognised))
}

/// The accepted answers of a column: one text, or a list of texts. Blank ones count as missing: otherwise an empty reply
/// would be correct.
fn accepted_answers(key: &str, value: Option<&Value>) -> Result<Vec<String>, String> {
    let texts = match value {
        Some(Value::Array(list)) => {
            list.iter().map(|v| text_of(key, Some(v))).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect()
        }
        one => Vec::from_iter(text_of(key, one)?),
    };
    Ok(texts.into_iter().filter(|text| !text.trim().is_empty()).collect())
}

/// Reads the column of the reply to imitate: a text, or a list of messages of which the last is the reply. `None` if
/// the row has no such column.
fn demonstration(value: Option<Value>) -> Result<Option<String>, String> {
    match value {
        Some(Value::Array(list)) => {
            let last = messages(&list).map_err(|e| format!("`demonstration`: {e}"))?.pop();
            let last = last.filter(|m| m.role == Role::Assistant);
            let last = last.ok_or("`demonstration` must end with a message of the role `assistant`")?;
            Ok(Some(last.content))
        }
        other => text_of("demonstration", other.as_ref()),
    }
}
