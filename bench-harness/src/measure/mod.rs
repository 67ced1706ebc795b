//! What the kernel counts about processes and the machine, and the arithmetic of figures.

pub mod machine;
pub mod memory;
pub mod processor;
pub mod statistics;
