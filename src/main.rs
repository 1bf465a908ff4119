//! The `lagan` program.

fn main() {}
