//! bailee-barrier.
