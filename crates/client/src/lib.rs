//! bailee-client.
