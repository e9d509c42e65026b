//! bailee-secret-sync.
