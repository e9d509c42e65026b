//! bailee-testkit.
