//! Tools of the kind `judge`: a language model that scores replies by a rubric.
//!
//! The prompt encloses the conversation and the reply in marks that contain a hash of the text between them, so that no
//! reply can give the judge instructions. The judge must answer with one JSON object, at the end of what it writes; anything else is
//! a failure of the tool, never a score.

use std::sync::Arc;

use rlar_data::{Completion, Example};
use rlar_net::llm::{ChatMessage, ChatRequest, Llm, LlmError, chat_all};
use rlar_sandbox::ShouldStop;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::agents::parse::{last_object, without_reasoning};
use crate::agents::prompt::{DATA_INSTRUCTION, Prompt};
use crate::tool::reason::Reason;
use crate::tool::score_record::ScoreRecord;
use crate::{Failure, Outcome};

/// The question about a reply that a judge answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JudgeMode {
    /// How good is the reply, as a grade on a scale?
    #[default]
    Pointwise,
    /// Is the reply better than the reference? The judge is asked twice, with the two texts in both orders.
    Pairwise,
    /// Which criteria does the reply meet? The score is the weighted share of the criteria that are met.
    Checklist,
}

/// A criterion of a judge of mode `checklist`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// A statement about the reply that is true or false.
    pub text: String,
    /// The weight of the criterion in the share of criteria that are met; above 0.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// The instructions that a judge gets, and how it must answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rubric {
    /// Description of what makes a reply good. It becomes a part of the judge's prompt, word for word.
    pub rubric: String,
    /// The question about a reply that the judge answers.
    #[serde(default)]
    pub mode: JudgeMode,
    /// For mode `pointwise`: the lowest and the highest grade that the judge may give.
    #[serde(default = "scale")]
    pub scale: [f64; 2],
    /// For mode `checklist`: the criteria that a reply is checked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub criteria: Vec<Criterion>,
    /// Largest number of tokens in an answer of the judge.
    #[serde(default = "max_tokens")]
    pub max_tokens: u32,
}

fn scale() -> [f64; 2] {
    [1.0, 10.0]
}

fn max_tokens() -> u32 {
    1024
}

impl Rubric {
    /// What is wrong with the rubric; `None` when nothing is wrong.
    pub fn problem(&self) -> Option<String> {
        let [low, high] = self.scale;
        if !(low.is_finite() && high.is_finite() && low < high) {
            return Some("`judge.scale` must be two finite numbers, the lower first".into());
        }
        let total: f64 = self.criteria.iter().map(|c| c.weight).sum();
        let has_weights = self.criteria.iter().all(|c| c.weight > 0.0) && total.is_finite();
        let is_usable = !self.criteria.is_empty() && has_weights;
        (self.mode == JudgeMode::Checklist && !is_usable)
            .then(|| "a checklist needs `judge.criteria` with weights above 0".into())
    }
}

/// The version of the prompts that this file writes. A recorded exchange with a language model is not used as the
/// answer to a prompt of another version.
const TEMPLATE: &str = "judge-2";

/// The position of the reply in a question of mode `pairwise`, which shows two texts; the reference has the other
/// position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReplyPosition {
    First,
    Second,
}

/// The grade that an answer of a judge gives.
struct JudgeGrade {
    /// The grade, scaled to the range from 0 (worst) to 1 (best).
    share: f64,
    /// The judge's reason; empty if it gave none.
    words: String,
}

/// What a judge is told to answer, and the JSON schema of its answer.
struct AnswerForm {
    instruction: String,
    schema: Value,
}

/// A judge (a language model with a rubric) that is ready to score.
#[derive(Debug)]
pub struct Judge {
    name: String,
    llm: Arc<dyn Llm>,
    rubric: Rubric,
    /// The range of the tool's scores.
    range: [f64; 2],
}

impl Judge {
    /// A judge that lets the language model `llm` score replies by a rubric. `name` is the tool's name, and `range` is
    /// the range of its scores.
    pub fn new(name: &str, llm: Arc<dyn Llm>, rubric: Rubric, range: [f64; 2]) -> Self {
        Self { name: name.to_owned(), llm, rubric, range }
    }

    /// The name of the language model that the judge asks.
    pub fn llm_name(&self) -> String {
        self.llm.name()
    }

    /// The name of the language model and the version of the prompts. The judge's scores depend on them, so they are a
    /// part of cache keys.
    pub fn cache_identity(&self) -> String {
        format!("{} {TEMPLATE}", self.llm.name())
    }

    /// Scores replies, each with its example; the records are in the order of `items`. Their `seconds` are 0: the
    /// caller sets them.
    pub fn score(&self, items: &[(&Example, &Completion)], should_stop: ShouldStop) -> Vec<ScoreRecord> {
        let positions: &[ReplyPosition] = match self.rubric.mode {
            JudgeMode::Pairwise => &[ReplyPosition::First, ReplyPosition::Second],
            JudgeMode::Pointwise | JudgeMode::Checklist => &[ReplyPosition::First],
        };
        let requests: Vec<ChatRequest> =
            items.iter().flat_map(|(e, c)| positions.iter().map(|position| self.request(e, c, *position))).collect();
        let answers = chat_all(&*self.llm, &requests, should_stop);
        let records = answers.chunks(positions.len()).zip(items).map(|(answers, (_, completion))| {
            let tokens = answers.iter().flatten().map(|a| a.prompt_tokens + a.completion_tokens).sum();
            let grades = answers.iter().zip(positions).map(|(answer, position)| match answer {
                Ok(answer) => self.grade(&answer.text, completion.scored_text(), *position).map_err(Failure::Reply),
                Err(LlmError::Cancelled) => Err(Failure::Late),
                Err(e) => Err(Failure::Unanswered(e.to_string())),
            });
            match grades.collect::<Result<Vec<JudgeGrade>, Failure>>() {
                Ok(grades) => {
                    let [low, high] = self.range;
                    let sum: f64 = grades.iter().map(|grade| grade.share).sum();
                    let outcome = Outcome::Scored(low + (high - low) * sum / positions.len() as f64);
                    let said = grades.iter().zip(positions).filter(|(grade, _)| !grade.words.trim().is_empty());
                    let said = said.map(|(grade, position)| match (self.rubric.mode, position) {
                        (JudgeMode::Pairwise, ReplyPosition::First) => format!("with the reply as A: {}", grade.words),
                        (JudgeMode::Pairwise, ReplyPosition::Second) => format!("with the reply as B: {}", grade.words),
                        _ => grade.words.clone(),
                    });
                    let reason = Reason::new(&said.collect::<Vec<_>>().join("\n"));
                    ScoreRecord { reason, tokens, ..ScoreRecord::free(outcome) }
                }
                Err(failure) => ScoreRecord { tokens, ..ScoreRecord::free(Outcome::Failed(failure)) },
            }
        });
        records.collect()
    }

    /// The request that asks the language model about one reply. `position` says whether a question of mode `pairwise`
    /// shows the reply before or after the reference.
    fn request(&self, example: &Example, completion: &Completion, position: ReplyPosition) -> ChatRequest {
        let reply = completion.scored_text();
        let messages: Vec<String> =
            example.messages.iter().map(|m| format!("{}: {}", m.role.as_str(), m.content)).collect();
        let conversation = messages.join("\n\n");
        let question = Prompt::default().data("conversation", conversation);
        let question = match (self.rubric.mode, example.reference.as_deref()) {
            (JudgeMode::Pairwise, reference) => {
                let reference = reference.unwrap_or_default();
                let (a, b) = match position {
                    ReplyPosition::First => (reply, reference),
                    ReplyPosition::Second => (reference, reply),
                };
                question.data("reply-a", a).data("reply-b", b)
            }
            (_, Some(reference)) => question.data("reference", reference).data("reply", reply),
            (_, None) => question.data("reply", reply),
        };
        let form = self.answer_form();
        let system = format!(
            "You judge replies to a conversation. {DATA_INSTRUCTION}\n\n{}\n\n{}",
            self.rubric.rubric.trim(),
            form.instruction
        );
        let message = |role: &str, content: String| ChatMessage { role: role.to_owned(), content };
        ChatRequest {
            role: "judge".into(),
            template: TEMPLATE.into(),
            task: self.name.clone(),
            attempt: 0,
            messages: vec![message("system", system), message("user", question.render(usize::MAX))],
            max_tokens: self.rubric.max_tokens,
            temperature: 0.0,
            schema: Some(form.schema),
            tools: Vec::new(),
        }
    }

    /// What the judge is told to answer, in words, and the JSON schema of the answer; both depend on the mode.
    fn answer_form(&self) -> AnswerForm {
        let with_reason = |field: &str, schema: Value| {
            let fields = json!({ "reason": { "type": "string" }, field: schema });
            json!({ "type": "object", "properties": fields, "required": ["reason", field], "additionalProperties": false })
        };
        let answer = "Answer with one JSON object and nothing else";
        match self.rubric.mode {
            JudgeMode::Pointwise => {
                let [low, high] = self.rubric.scale;
                let instruction = format!(
                    "Grade the reply from {low} to {high}, {high} being best. {answer}: \
                     {{\"reason\": \"…\", \"score\": NUMBER}}"
                );
                let schema = with_reason("score", json!({ "type": "number", "minimum": low, "maximum": high }));
                AnswerForm { instruction, schema }
            }
            JudgeMode::Pairwise => {
                let instruction = format!(
                    "Say which reply is better; their order means nothing. {answer}: \
                     {{\"reason\": \"…\", \"better\": \"A\"}}, or \"B\", or \"tie\""
                );
                AnswerForm { instruction, schema: with_reason("better", json!({ "enum": ["A", "B", "tie"] })) }
            }
            JudgeMode::Checklist => {
                let n = self.rubric.criteria.len();
                let list: Vec<String> =
                    self.rubric.criteria.iter().enumerate().map(|(i, c)| format!("{}. {}", i + 1, c.text)).collect();
                let instruction = format!(
                    "Say of each statement whether it is true of the reply:\n{}\n{answer}, with {n} verdicts in this \
                     order: {{\"reason\": \"…\", \"verdicts\": [\"yes\", \"no\", …]}}",
                    list.join("\n")
                );
                let verdicts =
                    json!({ "type": "array", "items": { "enum": ["yes", "no"] }, "minItems": n, "maxItems": n });
                AnswerForm { instruction, schema: with_reason("verdicts", verdicts) }
            }
        }
    }

    /// Reads the grade from `answer`, the text of the judge's answer about `reply`. In mode `pairwise`, `position` is
    /// the place that the reply had in the question. The error says why the answer gives no grade.
    fn grade(&self, answer: &str, reply: &str, position: ReplyPosition) -> Result<JudgeGrade, String> {
        let unclear = |why: &str| {
            let shown: String = answer.chars().take(80).collect();
            format!("the judge's answer {why}: {shown:?}")
        };
        let fields = answer_object(answer, reply).ok_or_else(|| unclear("is not one JSON object"))?;
        if let Some(other) = fields.keys().find(|k| !["reason", "score", "better", "verdicts"].contains(&k.as_str())) {
            return Err(unclear(&format!("has a field `{other}`")));
        }
        let words = fields.get("reason").and_then(Value::as_str).unwrap_or_default().to_owned();
        let share = match self.rubric.mode {
            JudgeMode::Pointwise => {
                let [low, high] = self.rubric.scale;
                let score =
                    fields.get("score").and_then(Value::as_f64).ok_or_else(|| unclear("has no number `score`"))?;
                if score < low || score > high {
                    return Err(unclear(&format!("has a score outside of {low} to {high}")));
                }
                (score - low) / (high - low)
            }
            JudgeMode::Pairwise => match (fields.get("better").and_then(Value::as_str), position) {
                (Some("A"), ReplyPosition::First) | (Some("B"), ReplyPosition::Second) => 1.0,
                (Some("B"), ReplyPosition::First) | (Some("A"), ReplyPosition::Second) => 0.0,
                (Some("tie"), _) => 0.5,
                _ => return Err(unclear("has no `better` that is A, B or tie")),
            },
            JudgeMode::Checklist => {
                let criteria = &self.rubric.criteria;
                let verdicts = fields.get("verdicts").and_then(Value::as_array).filter(|v| v.len() == criteria.len());
                let verdicts = verdicts.ok_or_else(|| unclear(&format!("has not {} `verdicts`", criteria.len())))?;
                let met = verdicts.iter().zip(criteria).map(|(verdict, criterion)| match verdict.as_str() {
                    Some("yes") => Ok(criterion.weight),
                    Some("no") => Ok(0.0),
                    _ => Err(unclear("has a verdict that is neither yes nor no")),
                });
                met.sum::<Result<f64, String>>()? / criteria.iter().map(|c| c.weight).sum::<f64>()
            }
        };
        Ok(JudgeGrade { share, words })
    }
}

/// The JSON object that is a judge's answer. It must be the only object in the text and end it; reasoning between
/// `<think>` and `</think>`, words before the object and a code fence around it are allowed. `None` if there is no such
/// object, or if words stand before it and the judged `reply` contains it, because the judge may then only quote the
/// reply.
fn answer_object(answer: &str, reply: &str) -> Option<Map<String, Value>> {
    let text = without_reasoning(answer).trim();
    let found = last_object(text)?;
    let is_bare = text.starts_with(['{', '`']);
    (is_bare || !reply.contains(found.source)).then_some(found.fields)
}
