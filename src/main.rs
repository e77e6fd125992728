//! The `spinney` program: parse, run, end with an exit code.

fn main() {}
