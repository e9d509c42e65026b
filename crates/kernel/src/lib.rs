//! bailee-kernel.
