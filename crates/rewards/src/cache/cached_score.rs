//! Asking a tool only what it was not asked before.

use std::collections::HashMap;

use rlar_data::{Completion, Example};
use rlar_sandbox::ShouldStop;
use sha2::{Digest, Sha256};

use crate::cache::store::{Call, Key, Store};
use crate::tool::scoring::{ScoreRecord, Tool};
use crate::{Outcome, RewardError};

/// A tool's outcomes in the order of the items: remembered ones from the store, and the others asked for, once each, logged
/// and remembered.
pub fn score_cached(
    tool: &Tool,
    store: Option<&Store>,
    items: &[(&Example, &Completion)],
    over: ShouldStop,
) -> Result<Vec<Outcome>, RewardError> {
    let Some(store) = store else { return tool.score_until(items, over) };
    let Some(name) = tool.cache_name() else {
        let told = tool.score_records(items, over)?;
        let calls = items.iter().zip(&told).map(|((example, _), told)| call(tool, example, told, None, false));
        store.keep(&calls.collect::<Vec<_>>());
        return Ok(told.into_iter().map(|t| t.outcome).collect());
    };
    let keys = keys(&name, items);
    let known = store.recall(&keys);
    // Replies that are the same get the same score.
    let mut firsts: HashMap<Key, usize> = HashMap::new();
    let missing: Vec<usize> =
        (0..items.len()).filter(|i| known[*i].is_none() && *firsts.entry(keys[*i]).or_insert(*i) == *i).collect();
    let asked: Vec<(&Example, &Completion)> = missing.iter().map(|i| items[*i]).collect();
    let fresh = if asked.is_empty() { Vec::new() } else { tool.score_records(&asked, over)? };
    let fresh: HashMap<Key, ScoreRecord> = missing.iter().map(|i| keys[*i]).zip(fresh).collect();
    let told: Vec<(ScoreRecord, bool)> = (0..items.len())
        .map(|i| match (known[i], fresh.get(&keys[i])) {
            (Some(score), _) => (ScoreRecord::at_once(Outcome::Scored(score)), true),
            (None, Some(told)) if firsts[&keys[i]] == i => (told.clone(), false),
            (None, Some(told)) => {
                (ScoreRecord { cacheable: told.cacheable, ..ScoreRecord::at_once(told.outcome.clone()) }, true)
            }
            (None, None) => (ScoreRecord::at_once(Outcome::Abstained("not asked".into())), false),
        })
        .collect();
    let calls = items.iter().zip(&told).zip(&keys);
    let calls: Vec<Call> = calls
        .map(|(((example, _), (told, cached)), key)| {
            let key = told.cacheable.then_some(*key);
            call(tool, example, told, key, *cached)
        })
        .collect();
    store.keep(&calls);
    Ok(told.into_iter().map(|(t, _)| t.outcome).collect())
}

fn call<'a>(tool: &'a Tool, example: &'a Example, told: &'a ScoreRecord, key: Option<Key>, cached: bool) -> Call<'a> {
    Call {
        tool: &tool.card().name,
        identity: tool.identity(),
        example: &example.id,
        task: example.kind(),
        outcome: &told.outcome,
        seconds: told.seconds,
        tokens: told.tokens,
        key,
        cached,
    }
}

/// Hashes of tool, example and reply. An example is hashed once for all of its replies.
fn keys(name: &str, items: &[(&Example, &Completion)]) -> Vec<Key> {
    let mut begun: HashMap<*const Example, Sha256> = HashMap::new();
    let key = |(example, completion): &(&Example, &Completion)| {
        let begin = || {
            let mut digest = Sha256::new();
            let mut add = |text: &str| {
                digest.update((text.len() as u64).to_le_bytes());
                digest.update(text);
            };
            add(name);
            // What follows cannot pass for another message.
            add(&example.messages.len().to_string());
            example.messages.iter().for_each(|m| {
                add(m.role.as_str());
                add(&m.content);
            });
            add(if example.reference.is_some() { "a reference" } else { "none" });
            add(example.reference.as_deref().unwrap_or_default());
            add(&serde_json::to_string(&example.columns).unwrap_or_default());
            digest
        };
        let mut digest = begun.entry(std::ptr::from_ref(*example)).or_insert_with(begin).clone();
        digest.update(completion.scored_text());
        let mut key = Key::default();
        key.copy_from_slice(&digest.finalize()[..16]);
        key
    };
    items.iter().map(key).collect()
}
