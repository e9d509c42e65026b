//! bailee-cloud.
