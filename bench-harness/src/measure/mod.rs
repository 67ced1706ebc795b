//! What the kernel counts about processes and the machine, and the arithmetic of figures.

pub mod account;
pub mod descriptors;
pub mod machine;
pub mod memory;
pub mod network;
pub mod processor;
pub mod progress;
pub mod statistics;
