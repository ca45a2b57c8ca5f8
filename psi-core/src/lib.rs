//! The protocol and its cryptography.

pub mod dleq;
pub mod element;
pub mod key;
pub mod merkle;
pub mod suite;
pub mod tag;
