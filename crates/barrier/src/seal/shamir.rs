//! Shares of the root key.
