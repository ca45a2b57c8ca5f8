//! One run of the job of a home, as `psi run` does it: a process of its own, so that a test can trace its writes or kill it.
//!
//! `call HOME` ends with the exit status of the table of errors.

use std::{env, process::ExitCode, sync::Arc};

use psi_node::{home::Home, node::Node, report::Silent, run};
use psi_tests::nodes::JOB;

#[tokio::main]
async fn main() -> ExitCode {
    let home = Home::at(env::args_os().nth(1).unwrap_or_default());
    let ended = match Node::open(&home) {
        Ok(node) => run::call(&node, JOB, Arc::new(Silent)).await.map(drop),
        Err(fault) => Err(fault),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{}: {fault}", fault.code);
            ExitCode::from(fault.exit())
        }
    }
}
