//! The benches: to be filled in.
fn main() {}
