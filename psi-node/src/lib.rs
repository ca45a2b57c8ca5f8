//! x
pub mod durable;
pub mod input;
pub mod join;
pub mod output;
pub mod seal;
