//! The node: lists, peers, jobs, mutual TLS, and the program `psi`.

pub mod audit;
pub mod bench;
pub mod budget;
pub mod clock;
pub mod config;
pub mod durable;
pub mod fault;
pub mod home;
pub mod identity;
pub mod input;
pub mod join;
pub mod journal;
pub mod link;
pub mod node;
pub mod output;
pub mod peer_file;
pub mod policy;
pub mod pool;
pub mod process;
pub mod report;
pub mod run;
pub mod runs;
pub mod seal;
pub mod server;
pub mod tls;
pub mod zone;
