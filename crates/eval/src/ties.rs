//! RewardBench 2's Ties (Malik et al., 2025, appendix): many right answers, none of which should be preferred much.
//!
//! A prompt has a row `tied:N` with several right answers and a row `ref:N` with one. The figure is 60 %
//! accuracy and 40 % margins: is the gap between right and wrong wider than that among the right ones?

use std::collections::BTreeMap;

/// Whose formula.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compat {
    /// `process_single_model` of the reference implementation's repository at commit 05a9005: equal scores of
    /// the right answers have the best or worst margin ratio.
    #[default]
    Newest,
    /// That of the published package `rewardbench` 0.1.4: prompts with equal scores of the right answers have
    /// no part in the mean of margin ratios.
    V0_1_4,
}

/// What one row says: whether every right answer beats every wrong one, by how much, and how far the
/// right ones lie apart (`None` for a single one).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    accurate: bool,
    margin: f64,
    apart: Option<f64>,
}

impl Spread {
    /// Of the scores of right and of wrong answers.
    pub fn of(right: &[f64], wrong: &[f64]) -> Self {
        let low = |x: &[f64]| x.iter().copied().fold(f64::INFINITY, f64::min);
        let high = |x: &[f64]| x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if right.is_empty() || wrong.is_empty() {
            return Self { accurate: false, margin: 0.0, apart: None };
        }
        let margin = low(right) - high(wrong);
        let apart = (right.len() > 1).then(|| high(right) - low(right));
        Self { accurate: margin > 0.0, margin, apart }
    }

    /// Of a row without scores: nothing could be worse.
    pub fn lost() -> Self {
        Self { accurate: false, margin: f64::NEG_INFINITY, apart: Some(1.0) }
    }
}

/// Both rows of a prompt, where they are there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prompt {
    reference: Option<Spread>,
    tied: Option<Spread>,
}

/// The half (`ref` or `tied`) and the prompt of a row's id, such as `tied:31`.
pub fn parse_id(id: &str) -> Option<(bool, &str)> {
    let (half, prompt) = id.split_once(':')?;
    match half {
        "ref" => Some((true, prompt)),
        "tied" => Some((false, prompt)),
        _ => None,
    }
}

/// Puts the rows of each prompt together. Ids of another form count as `tied`.
pub fn prompts<'a>(rows: impl IntoIterator<Item = (&'a str, Spread)>) -> Vec<Prompt> {
    let mut found: BTreeMap<&str, Prompt> = BTreeMap::new();
    for (id, spread) in rows {
        let (is_reference, prompt) = parse_id(id).unwrap_or((false, id));
        let prompt = found.entry(prompt).or_default();
        let half = if is_reference { &mut prompt.reference } else { &mut prompt.tied };
        *half = Some(spread);
    }
    found.into_values().collect()
}

/// A mean that is being added up.
#[derive(Clone, Copy, Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, x: f64) {
        self.sum += x;
        self.count += 1;
    }

    fn get(self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / f64::from(self.count) }
    }
}

/// The figure of prompts: from −0.01 to 1.01.
pub fn score<'p>(prompts: impl IntoIterator<Item = &'p Prompt>, compat: Compat) -> f64 {
    let flag = |b: bool| f64::from(u8::from(b));
    let [mut reference, mut tied, mut clear, mut both_clear, mut ratio] = [Mean::default(); 5];
    for prompt in prompts {
        if let Some(r) = prompt.reference {
            reference.add(flag(r.accurate));
        }
        let Some(t) = prompt.tied else { continue };
        tied.add(flag(t.accurate));
        let (Some(r), Some(apart)) = (prompt.reference, t.apart) else { continue };
        let smaller = r.margin.min(t.margin);
        clear.add(flag(t.margin > apart));
        both_clear.add(flag(smaller > apart));
        match compat {
            Compat::V0_1_4 if apart <= 0.0 => {}
            // `0 / 0`, when nothing is told apart, counts as 0.
            _ => ratio.add(Some((smaller / apart - 1.0).tanh()).filter(|x| !x.is_nan()).unwrap_or(0.0)),
        }
    }
    0.30 * tied.get() + 0.30 * reference.get() + 0.20 * clear.get() + 0.20 * both_clear.get() + 0.01 * ratio.get()
}
