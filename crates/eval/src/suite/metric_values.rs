//! Computes the values of a suite's metrics from graded replies.

use rlar_metrics::ifeval;
use rlar_metrics::overlap::{bleu, chrf, ter};
use serde_json::Value;

use super::grade::GradedReply;
use super::metric::{SuiteMetric, pass_at};
use super::prompts::SuitePrompt;
use super::spec::Suite;
use crate::EvalError;
use crate::bootstrap::{Bootstrap, Interval};

/// A value of a metric over all prompts. Most metrics have one value, `ifeval` has four.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricValue {
    /// The metric that the value belongs to.
    pub metric: SuiteMetric,
    /// Name of the value: that of the metric, or a longer one where the metric has several values, such as `ifeval
    /// prompt strict`.
    pub name: String,
    /// The value: a share from 0 to 1 where [`SuiteMetric::is_share`], else a number in the metric's own unit. Replies
    /// without a score count as wrong; `score` leaves them out, and overlap metrics count missing replies as empty.
    /// `None` where no prompt has a value.
    pub value: Option<f64>,
    /// The value over the replies that have a score (`maj@K`: over the prompts whose replies all have one; `ifeval`:
    /// over the prompts without missing replies). `None` where there are none, or where the metric does not count
    /// replies without a score as wrong.
    pub scored_only: Option<f64>,
    /// Whether the metric counts replies that are missing or without a score as wrong. If there are such replies, the
    /// value is then a lower bound.
    pub is_lower_bound: bool,
    /// 95 % bootstrap interval of the value, from resampled prompts; `None` without bootstrap or without a value.
    pub interval: Option<Interval>,
}

/// Two sums over the replies to one prompt. The metric's value is the quotient of their totals over all prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Ratio {
    numerator: f64,
    denominator: f64,
}

/// What each prompt contributes to a metric's value, in a form that can be added up over resampled prompts.
enum PromptStatistics {
    /// One number per prompt. The metric's value is their mean; prompts with `None` are left out.
    Mean(Vec<Option<f64>>),
    /// Two sums per prompt. The metric's value is the total of the numerators divided by the total of the denominators.
    Ratio(Vec<Ratio>),
    /// For each prompt, the number of edits and the length of the references. TER is the quotient of their totals.
    Ter(Vec<Ratio>),
    /// For each prompt, the n-gram counts from which BLEU is computed.
    Bleu(Vec<bleu::BleuStatistics>),
    /// For each prompt, the counts of character and word n-grams from which chrF is computed.
    Chrf(Vec<chrf::ChrfStatistics>),
}

impl PromptStatistics {
    /// The metric's value over the prompts with these indices, which may repeat; `None` where none of the prompts has a
    /// value.
    fn value(&self, mut prompts: impl Iterator<Item = usize>) -> Option<f64> {
        let total = |ratios: &[Ratio], prompts: &mut dyn Iterator<Item = usize>| {
            prompts.map(|i| ratios[i]).fold(Ratio::default(), |sum, r| Ratio {
                numerator: sum.numerator + r.numerator,
                denominator: sum.denominator + r.denominator,
            })
        };
        Some(match self {
            Self::Mean(values) => return mean(prompts.filter_map(|i| values[i])),
            Self::Ratio(ratios) => {
                let Ratio { numerator, denominator } = total(ratios, &mut prompts);
                return (denominator > 0.0).then(|| numerator / denominator);
            }
            Self::Ter(ratios) => {
                let Ratio { numerator, denominator } = total(ratios, &mut prompts);
                ter::rate((numerator, denominator))
            }
            Self::Bleu(counts) => {
                let sum = prompts.fold(bleu::BleuStatistics::default(), |mut sum, i| {
                    sum += counts[i];
                    sum
                });
                sum.bleu(false)
            }
            Self::Chrf(counts) => {
                let sum = prompts.fold(chrf::ChrfStatistics::default(), |mut sum, i| {
                    sum += &counts[i];
                    sum
                });
                sum.score()
            }
        })
    }
}

/// The mean of the values; `None` where there are no values.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), x| (sum + x, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

/// A metric's value before the prompts are averaged.
struct MetricStatistics {
    name: String,
    statistics: PromptStatistics,
    /// What each prompt contributes if only replies with a score count; `None` where the metric does not count replies
    /// without a score as wrong.
    scored_only: Option<PromptStatistics>,
}

/// Computes the values of all metrics of a suite. `answer_groups` says which replies to a prompt give the same answer,
/// as [`agreement`](super::agreement::agreement) returns it; only `maj@K` needs it.
pub fn metric_values(
    suite: &Suite,
    prompts: &[SuitePrompt],
    replies: &[Vec<GradedReply>],
    answer_groups: &[Vec<usize>],
    bootstrap: Option<Bootstrap>,
) -> Vec<MetricValue> {
    let graded = Graded { suite, prompts, replies, answer_groups };
    let unaveraged: Vec<(SuiteMetric, MetricStatistics)> =
        suite.metrics.iter().flat_map(|metric| graded.metric(*metric).into_iter().map(|u| (*metric, u))).collect();
    let all_prompts = || 0..prompts.len();
    let values: Vec<Option<f64>> = unaveraged.iter().map(|(_, u)| u.statistics.value(all_prompts())).collect();
    let intervals = bootstrap.map_or(Vec::new(), |b| {
        b.intervals(&[prompts.len()], |draws| {
            // Where no prompt of a resample has a value, the resample gets the value of all prompts.
            let resampled = |(value, (_, u)): (&Option<f64>, &(SuiteMetric, MetricStatistics))| {
                u.statistics.value(draws[0].iter().copied()).or(*value).unwrap_or_default()
            };
            values.iter().zip(&unaveraged).map(resampled).collect()
        })
    });
    let metric_value = |(i, (metric, u)): (usize, (SuiteMetric, MetricStatistics))| MetricValue {
        metric,
        name: u.name,
        value: values[i],
        scored_only: u.scored_only.as_ref().and_then(|statistics| statistics.value(all_prompts())),
        is_lower_bound: u.scored_only.is_some(),
        interval: intervals.get(i).copied().flatten().filter(|_| values[i].is_some()),
    };
    unaveraged.into_iter().enumerate().map(metric_value).collect()
}

/// The graded replies of a suite, from which metrics are computed.
struct Graded<'a> {
    suite: &'a Suite,
    prompts: &'a [SuitePrompt],
    replies: &'a [Vec<GradedReply>],
    answer_groups: &'a [Vec<usize>],
}

impl Graded<'_> {
    /// The values of one metric, before the prompts are averaged.
    fn metric(&self, metric: SuiteMetric) -> Vec<MetricStatistics> {
        let one =
            |statistics, scored_only| vec![MetricStatistics { name: metric.to_string(), statistics, scored_only }];
        let graded = |value: &dyn Fn(&[GradedReply]) -> Option<f64>| {
            let by_prompt = self.replies.iter().map(|replies| value(replies)).collect();
            one(PromptStatistics::Mean(by_prompt), Some(self.scored_only(value)))
        };
        match metric {
            SuiteMetric::Accuracy => graded(&|r| Some(correct(r) as f64 / r.len().max(1) as f64)),
            SuiteMetric::Score => {
                let by_prompt = self.replies.iter().map(|replies| mean(replies.iter().filter_map(|r| r.score)));
                one(PromptStatistics::Mean(by_prompt.collect()), None)
            }
            SuiteMetric::Pass(k) => graded(&|r| (r.len() >= k).then(|| pass_at(k, r.len(), correct(r)))),
            SuiteMetric::Majority(k) => {
                let votes = self.replies.iter().zip(self.answer_groups);
                let by_prompt = votes.clone().map(|(replies, groups)| Some(majority(replies, groups, k)));
                let scored_only = votes.map(|(replies, groups)| {
                    replies.iter().all(|r| r.score.is_some()).then(|| majority(replies, groups, k))
                });
                one(PromptStatistics::Mean(by_prompt.collect()), Some(PromptStatistics::Mean(scored_only.collect())))
            }
            SuiteMetric::Bleu => {
                let statistics = self.overlap(|reply, references, sum: &mut bleu::BleuStatistics| {
                    *sum += bleu::BleuStatistics::new(reply, references, self.suite.bleu_tokenizer);
                });
                one(PromptStatistics::Bleu(statistics), None)
            }
            SuiteMetric::Chrf | SuiteMetric::ChrfPlusPlus => {
                let words = if metric == SuiteMetric::Chrf { chrf::Words::None } else { chrf::Words::Pairs };
                let statistics = self.overlap(|reply, references, sum: &mut chrf::ChrfStatistics| {
                    *sum += &chrf::ChrfStatistics::new(reply, references, words);
                });
                one(PromptStatistics::Chrf(statistics), None)
            }
            SuiteMetric::Ter => {
                let statistics = self.overlap(|reply, references, sum: &mut Ratio| {
                    let (edits, length) = ter::statistics(reply, references);
                    sum.numerator += edits;
                    sum.denominator += length;
                });
                one(PromptStatistics::Ter(statistics), None)
            }
            SuiteMetric::IfEval => self.ifeval(metric),
        }
    }

    /// Applies `value` to those replies to each prompt that have a score. Prompts without such replies get `None`.
    fn scored_only(&self, value: &dyn Fn(&[GradedReply]) -> Option<f64>) -> PromptStatistics {
        let by_prompt = self.replies.iter().map(|replies| {
            let scored: Vec<GradedReply> = replies.iter().filter(|r| r.score.is_some()).cloned().collect();
            if scored.is_empty() { None } else { value(&scored) }
        });
        PromptStatistics::Mean(by_prompt.collect())
    }

    /// For each prompt, the sum over its replies of what `add` computes from a reply and the references. A missing
    /// reply counts as empty.
    fn overlap<S: Default>(&self, add: impl Fn(&str, &[&str], &mut S)) -> Vec<S> {
        let statistics = |(prompt, replies): (&SuitePrompt, &Vec<GradedReply>)| {
            let references: Vec<&str> = prompt.references.iter().map(String::as_str).collect();
            let mut sum = S::default();
            for reply in replies {
                add(reply.text.as_deref().unwrap_or(""), &references, &mut sum);
            }
            sum
        };
        self.prompts.iter().zip(self.replies).map(statistics).collect()
    }

    /// The four values of `IFEval`, in the order of [`SuiteMetric::value_names`]. A missing reply counts as one that
    /// follows no instruction.
    fn ifeval(&self, metric: SuiteMetric) -> Vec<MetricStatistics> {
        let mut values = Vec::new();
        for check in [follows_strictly as InstructionCheck, ifeval::follows_loosely] {
            let followed: Vec<Vec<Vec<bool>>> = self
                .prompts
                .iter()
                .zip(self.replies)
                .map(|(prompt, replies)| {
                    let instructions = instructions(prompt).unwrap_or_default();
                    replies.iter().map(|reply| follow(&instructions, reply, check)).collect()
                })
                .collect();
            let by_prompt: Vec<Option<f64>> = followed.iter().map(|f| Some(share_following_all(f))).collect();
            let by_instruction: Vec<Ratio> = followed.iter().map(|f| instructions_followed(f)).collect();
            let has_replies = || self.replies.iter().map(|replies| replies.iter().all(|r| r.text.is_some()));
            let answered_prompts = by_prompt.iter().zip(has_replies()).map(|(p, has)| p.filter(|_| has)).collect();
            let answered_instructions =
                by_instruction.iter().zip(has_replies()).map(|(i, has)| if has { *i } else { Ratio::default() });
            let answered_instructions = answered_instructions.collect();
            values.push((PromptStatistics::Mean(by_prompt), PromptStatistics::Mean(answered_prompts)));
            values.push((PromptStatistics::Ratio(by_instruction), PromptStatistics::Ratio(answered_instructions)));
        }
        let named = |(name, (statistics, answered))| MetricStatistics { name, statistics, scored_only: Some(answered) };
        metric.value_names().into_iter().zip(values).map(named).collect()
    }
}

fn correct(replies: &[GradedReply]) -> usize {
    replies.iter().filter(|r| r.is_correct()).count()
}

/// The mean over disjoint groups of `k` replies to one prompt: 1 for a group whose most frequent answer is correct,
/// else 0.
fn majority(replies: &[GradedReply], answer_groups: &[usize], k: usize) -> f64 {
    let votes = replies.chunks_exact(k).zip(answer_groups.chunks_exact(k)).map(|(replies, groups)| {
        let count = |i: &usize| groups.iter().filter(|group| *group == &groups[*i]).count();
        // Of equally frequent answers, the one that came first wins. Missing replies do not vote.
        let voters = (0..k).filter(|i| replies[*i].text.is_some());
        let winner = voters.max_by_key(|i| (count(i), std::cmp::Reverse(*i)));
        f64::from(u8::from(winner.is_some_and(|i| replies[i].is_correct())))
    });
    votes.clone().sum::<f64>() / votes.count().max(1) as f64
}

/// A function from an instruction's id, its arguments and a reply to whether the reply follows the instruction; `None`
/// where the instruction is unknown.
type InstructionCheck = fn(&str, &Value, &str) -> Option<bool>;

/// An instruction of `IFEval`, such as a minimum number of words, with its arguments.
struct Instruction<'t> {
    id: &'t str,
    arguments: &'t Value,
}

/// The instructions of a prompt, from the columns `instruction_id_list` and `kwargs` of the published data; `None`
/// where these are malformed.
fn instructions(prompt: &SuitePrompt) -> Option<Vec<Instruction<'_>>> {
    let columns = &prompt.example.columns;
    let ids = columns.get("instruction_id_list")?.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?;
    let arguments = columns.get("kwargs")?.as_array()?;
    let instructions = ids.iter().zip(arguments).map(|(id, arguments)| Instruction { id, arguments }).collect();
    (ids.len() == arguments.len() && !ids.is_empty()).then_some(instructions)
}

/// Whether a reply follows an instruction exactly. An empty reply follows none, as in the reference implementation's
/// strict evaluation.
fn follows_strictly(id: &str, arguments: &Value, reply: &str) -> Option<bool> {
    Some(!reply.trim().is_empty() && ifeval::follows(id, arguments, reply)?)
}

/// For each instruction, whether the reply follows it according to `check`. A missing reply is checked as an empty
/// text.
fn follow(instructions: &[Instruction], reply: &GradedReply, check: InstructionCheck) -> Vec<bool> {
    let text = reply.text.as_deref().unwrap_or("");
    instructions.iter().map(|i| check(i.id, i.arguments, text) == Some(true)).collect()
}

/// The share of replies that follow every instruction. `followed` has one list per reply and one boolean per
/// instruction.
fn share_following_all(followed: &[Vec<bool>]) -> f64 {
    followed.iter().filter(|reply| reply.iter().all(|f| *f)).count() as f64 / followed.len().max(1) as f64
}

/// The number of instructions that replies follow, and the number of all instructions, both added up over the replies.
/// `followed` has one list per reply.
fn instructions_followed(followed: &[Vec<bool>]) -> Ratio {
    let all = || followed.iter().flatten();
    Ratio { numerator: all().filter(|f| **f).count() as f64, denominator: all().count() as f64 }
}

/// Checks the prompts of a suite that reports `ifeval`: fails if the instructions of a prompt are malformed or unknown.
pub fn check_instructions(suite: &Suite, prompts: &[SuitePrompt]) -> Result<(), EvalError> {
    if !suite.metrics.contains(&SuiteMetric::IfEval) {
        return Ok(());
    }
    for prompt in prompts {
        let wrong = |message: String| {
            EvalError::Mismatch(format!("suite `{}`, `{}`: {message}", suite.name, prompt.example.id))
        };
        let instructions = instructions(prompt).ok_or_else(|| {
            wrong("`ifeval` needs columns `instruction_id_list` and `kwargs`, lists of the same length".into())
        })?;
        if let Some(unknown) = instructions.iter().find(|i| ifeval::follows(i.id, i.arguments, "x").is_none()) {
            return Err(wrong(format!("the instruction `{}` is unknown, or lacks its arguments", unknown.id)));
        }
    }
    Ok(())
}
