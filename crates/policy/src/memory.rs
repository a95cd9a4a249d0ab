//! The memory that generation needs, and the free memory of the machine.

use std::fmt;

/// Estimate of the memory that generation needs at most, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Bytes of the model's weights.
    pub weights: u64,
    /// Bytes of the keys and values of all sequences at their greatest length.
    pub cache: u64,
    /// Bytes of the activations, for a prefill (the pass over the prompts) or a decoding step, whichever needs more.
    pub activations: u64,
    /// Bytes that the machine has for these parts: free memory plus the weights, which are loaded already. `None` on a
    /// GPU, and where the system does not say.
    pub available: Option<u64>,
}

impl MemoryPlan {
    /// Whether generation needs more memory than the machine has; false where the available memory is not known.
    pub fn is_too_large(&self) -> bool {
        self.available.is_some_and(|available| self.weights + self.cache + self.activations > available)
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mb = |bytes: u64| format!("{} MB", bytes.div_ceil(1 << 20));
        let parts = [("weights", self.weights), ("cache", self.cache), ("activations", self.activations)];
        let parts = parts.map(|(name, bytes)| format!("{name} {}", mb(bytes))).join(", ");
        match self.available {
            Some(available) => write!(f, "memory: {parts}; {} available", mb(available)),
            None => write!(f, "memory: {parts}"),
        }
    }
}

/// Bytes of memory that the system can still give out without swapping (`MemAvailable`); `None` where `/proc/meminfo`
/// does not say.
pub fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kb| kb << 10)
}
