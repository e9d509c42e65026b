//! bailee-engines.
