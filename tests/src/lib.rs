//! Two parties in one process.
//!
//! [`pair`] runs two sessions against each other without a network, and lets a test alter what they say.

pub mod pair;
