//! What is known of a blob without asking the medium.
