//! bailee-sdk.
