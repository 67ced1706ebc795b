//! `ringmx-bench run` as a program: what it counts is true, what it times is honest, what it is told it does.

mod embedder;
mod honesty;
mod loads;
mod program;
mod server;
mod sink;
mod truth;
