//! What was known of a manifest when it was pushed.
