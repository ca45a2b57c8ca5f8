//! Two parties in one process.
//!
//! [`pair`] runs two sessions against each other without a network, and lets a test alter what they say. [`nodes`] runs two
//! nodes with real homes over real mutual TLS. [`rogue`] is a party that breaks the protocol over a real link. [`chaos`] is
//! the network between them at its worst, [`tap`] hears in clear what goes over it, and [`oracle`] tells whether the four
//! invariants held. [`tracer`] makes a process's changes of its files fail. [`chance`] makes the choices of a campaign, by a
//! seed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

pub mod chance;
pub mod chaos;
pub mod cuts;
pub mod disk;
pub mod nodes;
pub mod oracle;
pub mod pair;
pub mod rogue;
pub mod tap;
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
pub mod tracer;
