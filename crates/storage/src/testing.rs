//! The contract suite and the faults, for the tests of this crate and those above.
