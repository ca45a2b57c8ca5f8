//! x
pub mod identifier;
