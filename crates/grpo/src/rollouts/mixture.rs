//! The order in which prompts are drawn: a function of the number of prompts drawn before, the domains' weights and the
//! seed.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::config::Domain;
use crate::schedule::{self, Stream};

/// The prompts of one domain, and when they are drawn.
#[derive(Clone, Debug, PartialEq)]
struct DomainPrompts {
    /// Indices of the domain's prompts among all prompts to train on.
    prompts: Vec<usize>,
    /// The weight of the domain, relative to the other domains that are active at the same time.
    weight: f64,
    /// The range of draws in which the domain is active. A draw is one drawn prompt; draws are counted from 0 over the
    /// run.
    draws: Range<u64>,
}

impl DomainPrompts {
    fn is_active(&self, draw: u64) -> bool {
        !self.prompts.is_empty() && self.draws.contains(&draw)
    }
}

/// The number of prompts that a run draws: per step, and for how many steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawPlan {
    /// Number of prompts per training step.
    pub per_step: u64,
    /// Number of training steps of the run.
    pub steps: u64,
}

/// The domains of the training data, and the order in which their prompts are drawn. Domains take turns in proportion
/// to their weights. Within a domain, every prompt is drawn once per epoch of the domain, in an order that depends only
/// on seed, domain and epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    domains: Vec<DomainPrompts>,
}

impl Mixture {
    /// The mixture of a config's domains. `sizes` has the number of prompts of each domain, whose prompts are
    /// concatenated in this order. Without domains, `sizes` has one number, and all prompts have the same weight.
    /// Prompts whose index `fits` rejects are left out.
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

    /// Number of different prompts that can be drawn.
    pub fn len(&self) -> usize {
        self.domains.iter().map(|d| d.prompts.len()).sum()
    }

    /// Whether there is no prompt that can be drawn.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first of the run's `draws` draws at which no active domain has a prompt; `None` if there is no such draw.
    pub fn gap(&self, draws: u64) -> Option<u64> {
        let bounds = self.domains.iter().flat_map(|d| [d.draws.start, d.draws.end]);
        let mut starts: Vec<u64> = bounds.chain([0]).filter(|d| *d < draws).collect();
        starts.sort_unstable();
        starts.into_iter().find(|draw| !self.domains.iter().any(|d| d.is_active(*draw)))
    }

    /// Indices of the next `wanted` prompts, when the run has drawn `drawn` prompts before.
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

/// Smooth weighted round-robin. At every draw, each active domain gains its weight as credit. The prompt comes from the
/// domain with the most credit, which then loses the sum of all active weights.
struct WeightedTurns<'p> {
    domains: &'p [DomainPrompts],
    credit: Vec<f64>,
    drawn: Vec<u64>,
}

/// One draw: the domain that gives the prompt.
struct DomainDraw {
    /// Index of the domain in the mixture.
    domain: usize,
    /// Number of prompts that this domain gave before this draw.
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
