//! `ringmx-bench compare servers` as a program: real servers agree with the client, and what is wrong is said to be wrong.

mod agreement;
mod disagreement;
mod interruption;
mod packages;
mod program;
