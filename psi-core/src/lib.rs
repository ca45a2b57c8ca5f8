//! ECDH-based private set intersection: the protocol and its cryptography, without I/O.
//!
//! Two parties each hold a list of identifiers and want to learn which ones they share, and nothing else. Every identifier x
//! is hashed to a group element H(x); each party masks its own with a secret scalar that lives for one session, and
//! multiplies the other's by it too. Since a·(b·H(x)) = b·(a·H(x)), equal identifiers, and only they, end as equal elements.
//!
//! ```text
//!   initiator (secret a)                                 responder (secret b)
//!     Hello: keys, terms, counts  ------------------------>
//!                                 <------------------------  Hello
//!     Commit: aG, hashes of all a·H(x)  ------------------>
//!                                 <------------------------  Commit: bG, hashes of all b·H(y)
//!   per step:
//!     Masked: a·H(x), sorted      ------------------------>
//!                                 <------------------------  Masked: b·H(y), sorted
//!     Evaluated: a·(b·H(y)), proof ----------------------->
//!                                 <------------------------  Evaluated: b·(a·H(x)), proof
//!     StepEnd: signature          <----------------------->  StepEnd: signature
//!   join locally:  a·(b·H(y)) = b·(a·H(x))
//!     Close: signed statement     <----------------------->  Close: signed statement
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`suite`], [`element`], [`key`] | the group in batches of bytes, encodings and their order, session keys |
//! | [`dleq`], [`tag`] | batched proofs of equal discrete logarithms; tags where there are no proofs |
//! | [`identifier`] | canonical forms of identifiers, and the sorted set of them |
//! | [`terms`], [`message`], [`plan`] | what both agree on, what they say, who sends what when |
//! | [`mask`], [`session`] | masking a list; the state machine that both parties run |
//! | [`merkle`], [`transcript`], [`statement`], [`evidence`], [`verify`] | hashes, the record, what is signed, what is kept, the offline check |
//! | [`error`], [`signature`], [`wire`] | failures by fault, Ed25519 identities, the canonical encoding |
//!
//! Time, randomness and bytes are arguments. The wire format and the reasons are in docs/PROTOCOL.md.

pub mod dleq;
pub mod element;
pub mod error;
pub mod evidence;
pub mod identifier;
pub mod key;
pub mod mask;
pub mod merkle;
pub mod message;
pub mod plan;
mod record;
pub mod session;
pub mod signature;
pub mod statement;
pub mod suite;
pub mod tag;
pub mod terms;
pub mod transcript;
pub mod verify;
pub mod wire;
