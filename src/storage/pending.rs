//! Deletes and restores that have begun.
