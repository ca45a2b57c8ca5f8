//! Batches of ristretto255 elements (RFC 9496) times one secret scalar, several elements at a time.
//!
//! ```text
//!  own elements    64 uniform bytes --hash--+
//!                                           +--> points --ladder--> k/2 P --double-encode--> 32 bytes of kP
//!  peer's elements 32 bytes ------decode----+       |
//!                                                   +--> Points --combine--> 32 bytes of 2 sum d_i P_i   (proofs)
//! ```
//!
//! Every function is a method of [`Path`], the instructions to use: eight lanes of AVX-512 IFMA, four of AVX2, or
//! curve25519-dalek. The results are the same, bit for bit. Batches can have any size; 256 to 1,024 elements a call keep the
//! working set in the second-level cache and make one inversion cheap. Nothing here starts a thread: cut a batch and share it
//! out.
//!
//! Multiplying takes the same time for every scalar, and touches the same memory. [`Path::combine`] does not: it is for public
//! coefficients. docs/SIMD.md has the maths, the bounds and how both are checked.
//!
//! | module | |
//! |---|---|
//! | `path` | which instructions; the one dispatch |
//! | `batch`, `points` | what a call does; decoded elements to be kept |
//! | `expand` | SHA-512, and 64 uniform bytes of a message by it |
//! | `ladder`, `ristretto`, `edwards`, `msm` | the curve, over a field |
//! | `field` | the field, over a lane |
//! | `lane` | the instructions; the only unsafe code |
//! | `portable` | the same calls through dalek |

#![cfg_attr(not(any(test, target_arch = "x86_64")), allow(dead_code, unused_imports))]

mod batch;
mod edwards;
mod expand;
mod field;
mod ladder;
mod lane;
mod msm;
mod path;
mod points;
mod portable;
mod ristretto;

#[cfg(test)]
mod tests;

pub use batch::{Bad, Fault};
pub use path::Path;
pub use points::Points;
