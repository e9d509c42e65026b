//! bailee-crypto.
