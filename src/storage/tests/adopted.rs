//! adopted
