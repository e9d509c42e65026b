//! bailee-notation.
