//! Compiles `proto/psi/v1/psi.proto` with protox, so that no `protoc` is needed.

use std::error::Error;

const INCLUDE: &str = "../proto";
const FILE: &str = "psi/v1/psi.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={INCLUDE}/{FILE}");
    let descriptors = protox::compile([FILE], [INCLUDE])?;
    tonic_prost_build::configure().bytes(".").build_transport(false).compile_fds(descriptors)?;
    Ok(())
}
