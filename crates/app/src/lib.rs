//! bailee.
