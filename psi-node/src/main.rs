//! The program `psi`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
