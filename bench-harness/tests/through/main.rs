//! `ringmx-bench through` as a program: what a server loses, doubles, alters, sends elsewhere or holds back is found out, and what
//! is its right is not held against it.

mod behind;
mod faults;
mod postfix;
#[allow(dead_code, reason = "shared")]
#[path = "../run/program.rs"]
mod program;
mod relay;
#[allow(dead_code, reason = "shared")]
#[path = "../run/server.rs"]
mod server;
mod shapes;
mod waiting;
