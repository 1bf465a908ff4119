//! The bytes, content-addressed and stored once for the whole registry.
