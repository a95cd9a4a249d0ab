//! Which prompts a step draws: a function of how many were drawn before, of weights, and of the seed.

use std::collections::BTreeMap;

use crate::config::Domain;
use crate::schedule::{self, mix};

/// One source of prompts.
#[derive(Clone, Debug, PartialEq)]
pub struct Portion {
    /// Places of its prompts among all examples to train on.
    pub prompts: Vec<usize>,
    /// Its share among the portions that are drawn from at the same time.
    pub weight: f64,
    /// The first draw that it takes part in, and the first that it does not any more.
    pub draws: [u64; 2],
}

impl Portion {
    fn is_drawn_at(&self, draw: u64) -> bool {
        !self.prompts.is_empty() && (self.draws[0]..self.draws[1]).contains(&draw)
    }
}

/// Sources of prompts and their weights. Every source gives each of its prompts once per epoch of its own, in an order that
/// only seed, source and epoch decide; sources take turns in proportion to their weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture(Vec<Portion>);

impl Mixture {
    /// The mixture of a config's domains, whose prompts stand one domain after the other, `sizes` of each, with
    /// `per_step` draws to a step of `steps`; of no domains, all prompts alike. Prompts that are not `fit` are left out.
    pub fn of(domains: &[Domain], sizes: &[usize], [per_step, steps]: [u64; 2], fit: &dyn Fn(usize) -> bool) -> Self {
        let mut first = 0;
        let mut portions = Vec::new();
        for (i, size) in sizes.iter().enumerate() {
            let prompts = (first..first + size).filter(|p| fit(*p)).collect();
            first += size;
            let (weight, draws) = domains.get(i).map_or((1.0, [0, u64::MAX]), |d| {
                let draw = |step: u64| step.saturating_mul(per_step);
                (d.weight, [draw(d.from), d.until.filter(|until| *until < steps).map_or(u64::MAX, draw)])
            });
            portions.push(Portion { prompts, weight, draws });
        }
        Self(portions)
    }

    /// Prompts that can be drawn at all.
    pub fn len(&self) -> usize {
        self.0.iter().map(|p| p.prompts.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first draw, before `draws` of them, for which no portion has a prompt.
    pub fn gap(&self, draws: u64) -> Option<u64> {
        let ends = self.0.iter().flat_map(|p| p.draws).chain([0]).filter(|d| *d < draws);
        let mut ends: Vec<u64> = ends.collect();
        ends.sort_unstable();
        ends.into_iter().find(|draw| !self.0.iter().any(|p| p.is_drawn_at(*draw)))
    }

    /// The `wanted` prompts after the first `drawn`.
    pub fn draw(&self, wanted: usize, drawn: u64, seed: u64) -> Vec<usize> {
        if let [only] = &self.0[..] {
            let places = schedule::draw(only.prompts.len(), wanted, drawn, seed);
            return places.into_iter().map(|i| only.prompts[i]).collect();
        }
        let mut turns = Turns::new(&self.0);
        for draw in 0..drawn {
            turns.next(draw);
        }
        let (mut chosen, mut orders) = (Vec::with_capacity(wanted), BTreeMap::new());
        for draw in drawn..drawn + wanted as u64 {
            let Some((portion, before)) = turns.next(draw) else { continue };
            let prompts = &self.0[portion].prompts;
            let (n, epoch) = (prompts.len() as u64, before / prompts.len() as u64);
            let shuffle = || schedule::draw(prompts.len(), prompts.len(), epoch * n, mix(&[seed, 5, portion as u64]));
            let order = orders.entry((portion, epoch)).or_insert_with(shuffle);
            chosen.push(prompts[order[(before % n) as usize]]);
        }
        chosen
    }
}

/// Whose turn it is: everyone's credit grows by its weight, and who has most pays for a turn with the sum of all.
struct Turns<'p> {
    portions: &'p [Portion],
    credit: Vec<f64>,
    taken: Vec<u64>,
}

impl<'p> Turns<'p> {
    fn new(portions: &'p [Portion]) -> Self {
        Self { portions, credit: vec![0.0; portions.len()], taken: vec![0; portions.len()] }
    }

    /// The portion of a draw, and how often it was drawn from before.
    fn next(&mut self, draw: u64) -> Option<(usize, u64)> {
        let active = || self.portions.iter().enumerate().filter(|(_, p)| p.is_drawn_at(draw));
        let all: f64 = active().map(|(_, p)| p.weight).sum();
        let mut first: Option<usize> = None;
        for (i, portion) in active() {
            self.credit[i] += portion.weight;
            if first.is_none_or(|f| self.credit[i] > self.credit[f]) {
                first = Some(i);
            }
        }
        let turn = first?;
        self.credit[turn] -= all;
        self.taken[turn] += 1;
        Some((turn, self.taken[turn] - 1))
    }
}
