//! The node: lists, peers, jobs, mutual TLS, and the program `psi`.

pub mod identity;
pub mod link;
pub mod tls;
