//! bailee-fake-clouds.
