//! The memory that generation takes, and what the machine has.

use std::fmt;

/// Bytes that generation takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The model's weights.
    pub weights: u64,
    /// Keys and values of all sequences at their longest.
    pub cache: u64,
    /// Activations, in the larger of a prefill and a decoding step.
    pub activations: u64,
    /// Free memory of the machine plus the weights, which are loaded already; `None` on a GPU, and where the system
    /// does not tell.
    pub available: Option<u64>,
}

impl MemoryPlan {
    /// Whether the machine is known to have too little memory.
    pub(crate) fn is_too_large(&self) -> bool {
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

/// Bytes that the system can still give out without swapping; `None` where `/proc/meminfo` does not say.
pub fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kb| kb << 10)
}
