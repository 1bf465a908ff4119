//! planned
