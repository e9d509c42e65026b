//! Secrets entering and passing through: what another server keeps is brought to a destination, by the
//! plan and the deliveries of push. A run keeps nothing of its own: what it knows of earlier runs, it
//! reads back from the tags of what they delivered.

pub mod report;
