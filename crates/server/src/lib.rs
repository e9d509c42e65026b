//! bailee-server.
