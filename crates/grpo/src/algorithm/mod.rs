//! The mathematics of a step, as pure functions on numbers: scores to advantages, then the policy loss and its gradients.

pub mod advantage;
pub mod importance;
pub mod kl;
pub mod loss;
pub mod surrogate;
