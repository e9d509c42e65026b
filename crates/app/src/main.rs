//! bailee: the binary.
fn main() {}
