//! The node: lists, peers, jobs, mutual TLS, and the program `psi`.

pub mod config;
pub mod durable;
pub mod fault;
pub mod home;
pub mod identity;
pub mod input;
pub mod join;
pub mod link;
pub mod output;
pub mod peer_file;
pub mod report;
pub mod seal;
pub mod tls;
