//! The equations of a training step as pure functions on numbers: from scores to advantages, then the policy loss and
//! its gradients.

pub mod advantage;
pub mod loss;
pub mod surrogate;
pub mod kl;
pub mod importance;
