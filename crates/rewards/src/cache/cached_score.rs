//! Scoring through the cache: a tool scores only replies whose scores the cache does not hold, and every call is
//! logged.

use std::collections::HashMap;

use rlar_data::{Completion, Example};
use rlar_sandbox::ShouldStop;
use sha2::{Digest, Sha256};

use crate::cache::store::{LoggedCall, ScoreKey, Store};
use crate::tool::score_record::ScoreRecord;
use crate::tool::scoring::Tool;
use crate::{Outcome, RewardError};

/// Scores replies, each with its example, with a tool; the records are in the order of `items`.
///
/// Scores that the store (the file of cached scores and logged calls) holds are not computed again, and of equal
/// replies to an example only one is scored. New scores enter the store if a second call would give the same ones.
/// A cached score has the reason that it had at first. Without a store, the tool scores everything.
pub fn score_cached(
    tool: &Tool,
    store: Option<&Store>,
    items: &[(&Example, &Completion)],
    should_stop: ShouldStop,
) -> Result<Vec<ScoreRecord>, RewardError> {
    let Some(store) = store else { return tool.score_records(items, should_stop) };
    let Some(identity) = tool.cached_as() else {
        let records = tool.score_records(items, should_stop)?;
        let calls = items.iter().zip(&records);
        store.log(&calls.map(|((example, _), record)| call(tool, example, record, None)).collect::<Vec<_>>());
        return Ok(records);
    };
    let keys = keys(&identity, items);
    let mut known = store.lookup(&keys);
    let mut first_with_key: HashMap<ScoreKey, usize> = HashMap::new();
    let missing: Vec<usize> = (0..items.len())
        .filter(|i| known[*i].is_none() && *first_with_key.entry(keys[*i]).or_insert(*i) == *i)
        .collect();
    let missing_items: Vec<(&Example, &Completion)> = missing.iter().map(|i| items[*i]).collect();
    let computed = if missing.is_empty() { Vec::new() } else { tool.score_records(&missing_items, should_stop)? };
    let computed: HashMap<ScoreKey, ScoreRecord> = missing.iter().map(|i| keys[*i]).zip(computed).collect();

    let mut records = Vec::with_capacity(items.len());
    for (i, key) in keys.iter().enumerate() {
        records.push(match (known[i].take(), computed.get(key)) {
            (Some(known), _) => {
                let scored = ScoreRecord::free(Outcome::Scored(known.score));
                ScoreRecord { reason: known.reason, cached: true, ..scored }
            }
            (None, Some(record)) if first_with_key[key] == i => record.clone(),
            (None, Some(record)) => ScoreRecord { seconds: 0.0, tokens: 0, cached: true, ..record.clone() },
            (None, None) => ScoreRecord::free(Outcome::Abstained("not scored".into())),
        });
    }
    let calls: Vec<LoggedCall> = (0..items.len())
        .map(|i| {
            let key = records[i].cacheable.then_some(keys[i]);
            call(tool, items[i].0, &records[i], key)
        })
        .collect();
    store.log(&calls);
    Ok(records)
}

fn call<'a>(tool: &'a Tool, example: &'a Example, record: &'a ScoreRecord, key: Option<ScoreKey>) -> LoggedCall<'a> {
    LoggedCall {
        tool: &tool.card().name,
        identity: tool.identity(),
        example: &example.id,
        task: example.kind(),
        outcome: &record.outcome,
        reason: record.reason.as_ref(),
        seconds: record.seconds,
        tokens: record.tokens,
        key,
        cached: record.cached,
    }
}

/// The cache keys of items: hashes of the tool's identity, the example and the reply. An example is hashed only once
/// for all of its replies.
fn keys(identity: &str, items: &[(&Example, &Completion)]) -> Vec<ScoreKey> {
    let mut hashed: HashMap<*const Example, Sha256> = HashMap::new();
    let key = |(example, completion): &(&Example, &Completion)| {
        let hash = || hash_example(identity, example);
        let mut digest = hashed.entry(std::ptr::from_ref(*example)).or_insert_with(hash).clone();
        digest.update(completion.scored_text());
        let mut key = ScoreKey::default();
        key.copy_from_slice(&digest.finalize()[..16]);
        key
    };
    items.iter().map(key).collect()
}

/// The hash of a tool's identity and of everything in an example that a tool may read. The reply is still to be added.
fn hash_example(identity: &str, example: &Example) -> Sha256 {
    let mut digest = Sha256::new();
    let mut add = |text: &str| {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    };
    add(identity);
    // The number of messages shows where the messages end and the reference begins.
    add(&example.messages.len().to_string());
    for message in &example.messages {
        add(message.role.as_str());
        add(&message.content);
        for call in &message.tool_calls {
            add(&call.to_string());
        }
    }
    add(if example.reference.is_some() { "a reference" } else { "none" });
    add(example.reference.as_deref().unwrap_or_default());
    example.further_references.iter().for_each(|reference| add(reference));
    add(&serde_json::to_string(&example.columns).unwrap_or_default());
    digest
}
