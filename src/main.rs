//! The `htap-top` binary.
fn main() {}
