//! From verdicts to figures.

use rlar_metrics::ifeval;
use rlar_metrics::overlap::{bleu, chrf, ter};
use serde_json::Value;

use super::grade::Verdict;
use super::metric::{Metric, pass_at};
use super::spec::Suite;
use super::tasks::Task;
use crate::EvalError;
use crate::bootstrap::{Bootstrap, Interval};

/// A figure and how sure it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The metric, or the part of it, such as `ifeval prompt strict`.
    pub name: String,
    /// A share from 0 to 1, or, of BLEU, chrF and TER, what the metric says. Replies without a score count as wrong, which makes
    /// it a lower bound where there are any. Nothing where no reply has what it is a figure of.
    pub value: Option<f64>,
    /// Whether it is a share.
    pub share: bool,
    /// The same over the replies that have a score, if there are any and it depends on scores.
    pub scored_only: Option<f64>,
    /// Whether replies without a score make it a lower bound.
    pub is_bound: bool,
    /// 95 %, from resampled prompts.
    pub interval: Option<Interval>,
}

/// What each prompt adds to a figure.
enum Parts {
    /// The figure is their mean; a prompt may have none.
    Mean(Vec<Option<f64>>),
    /// The figure is the one sum by the other.
    Ratio(Vec<[f64; 2]>),
    /// Edits, and lengths of references.
    Ter(Vec<[f64; 2]>),
    Bleu(Vec<bleu::Statistics>),
    Chrf(Vec<chrf::Statistics>),
}

impl Parts {
    /// The figure of some prompts; nothing of none.
    fn of(&self, places: impl Iterator<Item = usize>) -> Option<f64> {
        Some(match self {
            Self::Mean(values) => {
                let (sum, n) = places.filter_map(|i| values[i]).fold((0.0, 0), |(s, n), x| (s + x, n + 1));
                return (n > 0).then(|| sum / f64::from(n));
            }
            Self::Ratio(pairs) => {
                let [own, of] = places.map(|i| pairs[i]).fold([0.0, 0.0], |[a, b], [x, y]| [a + x, b + y]);
                return (of > 0.0).then(|| own / of);
            }
            Self::Ter(pairs) => {
                let [edits, length] = places.map(|i| pairs[i]).fold([0.0, 0.0], |[a, b], [x, y]| [a + x, b + y]);
                ter::rate((edits, length))
            }
            Self::Bleu(all) => {
                let sum = places.fold(bleu::Statistics::default(), |mut sum, i| {
                    sum += all[i];
                    sum
                });
                sum.bleu(false)
            }
            Self::Chrf(all) => {
                let sum = places.fold(chrf::Statistics::default(), |mut sum, i| {
                    sum += &all[i];
                    sum
                });
                sum.score()
            }
        })
    }
}

/// The figures that a suite asks for. `agree` says which replies of a prompt have the same answer (see
/// [`agreement`](super::vote::agreement)); it is needed for `maj@K` alone.
pub fn figures(
    suite: &Suite,
    tasks: &[Task],
    verdicts: &[Vec<Verdict>],
    agree: &[Vec<usize>],
    bootstrap: Option<Bootstrap>,
) -> Vec<Figure> {
    let all = suite.metrics.iter().flat_map(|metric| named(*metric, suite, tasks, verdicts, agree));
    let all: Vec<(String, bool, Parts, Option<Parts>)> = all.collect();
    let everywhere = || 0..tasks.len();
    let values: Vec<Option<f64>> = all.iter().map(|(_, _, parts, _)| parts.of(everywhere())).collect();
    let intervals = bootstrap.map_or(Vec::new(), |b| {
        b.intervals(&[tasks.len()], |draws| {
            let draw = || draws[0].iter().copied();
            // A draw of nothing but prompts without a figure says nothing new.
            let again = |i: usize| values[i].unwrap_or_default();
            all.iter().enumerate().map(|(i, (_, _, parts, _))| parts.of(draw()).unwrap_or_else(|| again(i))).collect()
        })
    });
    let figure = |(i, (name, share, _, scored)): (usize, &(String, bool, Parts, Option<Parts>))| Figure {
        name: name.clone(),
        value: values[i],
        share: *share,
        scored_only: scored.as_ref().and_then(|parts| parts.of(everywhere())),
        is_bound: scored.is_some(),
        interval: intervals.get(i).copied().flatten().filter(|_| values[i].is_some()),
    };
    all.iter().enumerate().map(figure).collect()
}

/// A metric's figures: name, whether it is a share, what prompts add to it, and the same without replies that have no score.
fn named(
    metric: Metric,
    suite: &Suite,
    tasks: &[Task],
    verdicts: &[Vec<Verdict>],
    agree: &[Vec<usize>],
) -> Vec<(String, bool, Parts, Option<Parts>)> {
    let name = metric.to_string();
    let own = |f: &dyn Fn(&[Verdict]) -> Option<f64>| verdicts.iter().map(|v| f(v)).collect::<Vec<_>>();
    // The same function over the replies that have a score.
    let scored = |f: &dyn Fn(&[Verdict]) -> Option<f64>| {
        let kept = |v: &Vec<Verdict>| v.iter().filter(|v| v.score.is_some()).cloned().collect::<Vec<_>>();
        let some = verdicts.iter().map(|v| Some(kept(v)).filter(|v| !v.is_empty()).and_then(|v| f(&v)));
        Some(Parts::Mean(some.collect()))
    };
    let judged = |f: &dyn Fn(&[Verdict]) -> Option<f64>| vec![(name.clone(), true, Parts::Mean(own(f)), scored(f))];
    let segments = || {
        tasks.iter().zip(verdicts).map(|(task, own)| {
            let references: Vec<&str> = task.references.iter().map(String::as_str).collect();
            (own.iter().map(|v| v.text.as_deref().unwrap_or("")).collect::<Vec<_>>(), references)
        })
    };
    let right = |v: &[Verdict]| v.iter().filter(|v| v.right()).count();
    match metric {
        Metric::Accuracy => judged(&|v| Some(right(v) as f64 / v.len().max(1) as f64)),
        // Of replies without a score there is no mean.
        Metric::Score => {
            let mean = |v: &[Verdict]| {
                let (sum, n) = v.iter().filter_map(|v| v.score).fold((0.0, 0), |(s, n), x| (s + x, n + 1));
                (n > 0).then(|| sum / f64::from(n))
            };
            vec![(name, false, Parts::Mean(own(&mean)), None)]
        }
        Metric::Pass(k) => judged(&|v| (v.len() >= k).then(|| pass_at(k, v.len(), right(v)))),
        Metric::Majority(k) => {
            let values = verdicts.iter().zip(agree).map(|(v, agree)| Some(majority(v, agree, k)));
            let whole = |v: &Vec<Verdict>| v.iter().all(|v| v.score.is_some());
            let scored = verdicts.iter().zip(agree).map(|(v, agree)| whole(v).then(|| majority(v, agree, k)));
            vec![(name, true, Parts::Mean(values.collect()), Some(Parts::Mean(scored.collect())))]
        }
        Metric::Bleu => {
            let of = |candidate: &&str, references: &[&str]| {
                bleu::Statistics::of(candidate, references, suite.bleu_tokenizer)
            };
            let parts = segments().map(|(own, references)| {
                own.iter().fold(bleu::Statistics::default(), |mut sum, c| {
                    sum += of(c, &references);
                    sum
                })
            });
            vec![(name, false, Parts::Bleu(parts.collect()), None)]
        }
        Metric::Chrf | Metric::ChrfPlusPlus => {
            let words = if metric == Metric::Chrf { chrf::Words::None } else { chrf::Words::Pairs };
            let parts = segments().map(|(own, references)| {
                own.iter().fold(chrf::Statistics::default(), |mut sum, c| {
                    sum += &chrf::Statistics::of(c, &references, words);
                    sum
                })
            });
            vec![(name, false, Parts::Chrf(parts.collect()), None)]
        }
        Metric::Ter => {
            let parts = segments().map(|(own, references)| {
                own.iter().fold([0.0, 0.0], |[edits, length], c| {
                    let (more, longer) = ter::statistics(c, &references);
                    [edits + more, length + longer]
                })
            });
            vec![(name, false, Parts::Ter(parts.collect()), None)]
        }
        Metric::IfEval => followed(tasks, verdicts),
    }
}

/// The share of votes of `k` replies each whose most frequent answer is right.
fn majority(verdicts: &[Verdict], agree: &[usize], k: usize) -> f64 {
    let votes = verdicts.chunks_exact(k).zip(agree.chunks_exact(k)).map(|(verdicts, answers)| {
        let count = |i: &usize| answers.iter().filter(|a| *a == &answers[*i]).count();
        // The earliest of the most frequent; who gave no reply does not vote.
        let voters = (0..k).filter(|i| verdicts[*i].text.is_some());
        let winner = voters.max_by_key(|i| (count(i), std::cmp::Reverse(*i)));
        f64::from(u8::from(winner.is_some_and(|i| verdicts[i].right())))
    });
    votes.clone().sum::<f64>() / votes.count().max(1) as f64
}

/// Instructions as `IFEval` writes them: ids and arguments.
fn instructions(task: &Task) -> Option<Vec<(&str, &Value)>> {
    let columns = &task.example.columns;
    let ids = columns.get("instruction_id_list")?.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?;
    let arguments = columns.get("kwargs")?.as_array()?;
    (ids.len() == arguments.len() && !ids.is_empty()).then(|| ids.into_iter().zip(arguments).collect())
}

/// Refuses prompts whose instructions nobody can check, where a suite asks for `ifeval`.
pub fn check_instructions(suite: &Suite, tasks: &[Task]) -> Result<(), EvalError> {
    if !suite.metrics.contains(&Metric::IfEval) {
        return Ok(());
    }
    for task in tasks {
        let wrong = |why: String| EvalError::Mismatch(format!("suite `{}`, `{}`: {why}", suite.name, task.example.id));
        let all = instructions(task);
        let all =
            all.ok_or_else(|| wrong("`ifeval` reads `instruction_id_list` and `kwargs`, lists of one length".into()))?;
        if let Some((id, _)) = all.iter().find(|(id, arguments)| ifeval::follows(id, arguments, "x").is_none()) {
            return Err(wrong(format!("the instruction `{id}` is not known, or lacks its arguments")));
        }
    }
    Ok(())
}

fn followed(tasks: &[Task], verdicts: &[Vec<Verdict>]) -> Vec<(String, bool, Parts, Option<Parts>)> {
    type Check = fn(&str, &Value, &str) -> Option<bool>;
    let strict: Check = |id, arguments, reply| Some(!reply.trim().is_empty() && ifeval::follows(id, arguments, reply)?);
    let mut figures = Vec::new();
    for (how, check) in [("strict", strict), ("loose", ifeval::follows_loosely as Check)] {
        let each: Vec<Vec<Vec<bool>>> = tasks
            .iter()
            .zip(verdicts)
            .map(|(task, own)| {
                let all = instructions(task).unwrap_or_default();
                let of = |v: &Verdict| {
                    let reply = v.text.as_deref().unwrap_or("");
                    all.iter().map(|(id, arguments)| check(id, arguments, reply) == Some(true)).collect()
                };
                own.iter().map(of).collect()
            })
            .collect();
        let prompts = each
            .iter()
            .map(|own| Some(own.iter().filter(|f| f.iter().all(|f| *f)).count() as f64 / own.len().max(1) as f64));
        let instructions = each.iter().map(|own| {
            let all = own.iter().flatten();
            [all.clone().filter(|f| **f).count() as f64, all.count() as f64]
        });
        let given = |v: &Vec<Verdict>| v.iter().all(|v| v.text.is_some());
        let (prompts, instructions): (Vec<Option<f64>>, Vec<[f64; 2]>) = (prompts.collect(), instructions.collect());
        let of_given = verdicts.iter().zip(&prompts).map(|(v, p)| p.filter(|_| given(v)));
        let of_given = Some(Parts::Mean(of_given.collect()));
        figures.push((format!("ifeval prompt {how}"), true, Parts::Mean(prompts), of_given));
        let of_given = verdicts.iter().zip(&instructions).map(|(v, i)| if given(v) { *i } else { [0.0, 0.0] });
        let of_given = Some(Parts::Ratio(of_given.collect()));
        figures.push((format!("ifeval instruction {how}"), true, Parts::Ratio(instructions), of_given));
    }
    figures
}
