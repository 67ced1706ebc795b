//! ringmx
fn main() {}
