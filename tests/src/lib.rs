//! Two parties in one process.
//!
//! [`pair`] runs two sessions against each other without a network, and lets a test alter what they say. [`nodes`] runs two
//! nodes with real homes over real mutual TLS. [`rogue`] is a party that breaks the protocol over a real link.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

pub mod nodes;
pub mod pair;
pub mod rogue;
