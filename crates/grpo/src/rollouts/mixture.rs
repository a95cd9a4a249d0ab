//! Which prompts a step draws: a function of the number of prompts drawn before, the domains' weights and the seed.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::config::Domain;
use crate::schedule::{self, Stream};

/// The prompts of one domain.
#[derive(Clone, Debug, PartialEq)]
struct DomainPrompts {
    /// Their indices among all examples to train on.
    prompts: Vec<usize>,
    /// The domain's weight beside the other domains that are active at the same time.
    weight: f64,
    /// The draws during which the domain is active.
    draws: Range<u64>,
}

impl DomainPrompts {
    fn is_active(&self, draw: u64) -> bool {
        !self.prompts.is_empty() && self.draws.contains(&draw)
    }
}

/// How long a run draws prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawPlan {
    /// Prompts per step.
    pub per_step: u64,
    /// Number of steps.
    pub steps: u64,
}

/// Domains and their weights. Each domain gives every one of its prompts once per epoch of its own, in an order that depends
/// on seed, domain and epoch alone; domains take turns in proportion to their weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    domains: Vec<DomainPrompts>,
}

impl Mixture {
    /// The mixture of a config's domains. The examples of all domains lie one domain after the other, `sizes` of each;
    /// without domains there is one size, and all prompts count alike. Prompts for which `fits` is false are left out.
    pub fn new(domains: &[Domain], sizes: &[usize], plan: DrawPlan, fits: &dyn Fn(usize) -> bool) -> Self {
        let mut first = 0;
        let mut mixed = Vec::new();
        for (i, size) in sizes.iter().enumerate() {
            let prompts = (first..first + size).filter(|p| fits(*p)).collect();
            first += size;
            let (weight, draws) = domains.get(i).map_or((1.0, 0..u64::MAX), |d| {
                let draw = |step: u64| step.saturating_mul(plan.per_step);
                (d.weight, draw(d.from)..d.until.filter(|until| *until < plan.steps).map_or(u64::MAX, draw))
            });
            mixed.push(DomainPrompts { prompts, weight, draws });
        }
        Self { domains: mixed }
    }

    /// Number of prompts that can be drawn.
    pub fn len(&self) -> usize {
        self.domains.iter().map(|d| d.prompts.len()).sum()
    }

    /// Whether no prompt can be drawn.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first of `draws` draws at which no active domain has a prompt.
    pub fn gap(&self, draws: u64) -> Option<u64> {
        let bounds = self.domains.iter().flat_map(|d| [d.draws.start, d.draws.end]);
        let mut starts: Vec<u64> = bounds.chain([0]).filter(|d| *d < draws).collect();
        starts.sort_unstable();
        starts.into_iter().find(|draw| !self.domains.iter().any(|d| d.is_active(*draw)))
    }

    /// The indices of the next `wanted` prompts, after the first `drawn`.
    pub fn draw(&self, wanted: usize, drawn: u64, seed: u64) -> Vec<usize> {
        if let [only] = &self.domains[..] {
            let order = schedule::draw(only.prompts.len(), wanted, drawn, seed);
            return order.into_iter().map(|i| only.prompts[i]).collect();
        }
        let mut turns = WeightedTurns::new(&self.domains);
        for draw in 0..drawn {
            turns.next(draw);
        }
        let (mut chosen, mut orders) = (Vec::with_capacity(wanted), BTreeMap::new());
        for draw in drawn..drawn + wanted as u64 {
            let Some(turn) = turns.next(draw) else { continue };
            let prompts = &self.domains[turn.domain].prompts;
            let (n, epoch) = (prompts.len() as u64, turn.drawn_before / prompts.len() as u64);
            let shuffle = || {
                let seed = Stream::Mixture.seed_at(seed, turn.domain as u64);
                schedule::draw(prompts.len(), prompts.len(), epoch * n, seed)
            };
            let order = orders.entry((turn.domain, epoch)).or_insert_with(shuffle);
            chosen.push(prompts[order[(turn.drawn_before % n) as usize]]);
        }
        chosen
    }
}

/// Smooth weighted round-robin: at every draw each active domain gains its weight as credit, and the domain with the most
/// credit is drawn from and pays the sum of all weights.
struct WeightedTurns<'p> {
    domains: &'p [DomainPrompts],
    credit: Vec<f64>,
    drawn: Vec<u64>,
}

/// One draw.
struct DomainDraw {
    /// Index of the domain.
    domain: usize,
    /// Number of prompts drawn from it before.
    drawn_before: u64,
}

impl<'p> WeightedTurns<'p> {
    fn new(domains: &'p [DomainPrompts]) -> Self {
        Self { domains, credit: vec![0.0; domains.len()], drawn: vec![0; domains.len()] }
    }

    fn next(&mut self, draw: u64) -> Option<DomainDraw> {
        let active = || self.domains.iter().enumerate().filter(|(_, d)| d.is_active(draw));
        let weights: f64 = active().map(|(_, d)| d.weight).sum();
        let mut richest: Option<usize> = None;
        for (i, domain) in active() {
            self.credit[i] += domain.weight;
            if richest.is_none_or(|r| self.credit[i] > self.credit[r]) {
                richest = Some(i);
            }
        }
        let domain = richest?;
        self.credit[domain] -= weights;
        self.drawn[domain] += 1;
        Some(DomainDraw { domain, drawn_before: self.drawn[domain] - 1 })
    }
}
