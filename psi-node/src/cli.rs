//! The command line: what was asked, one module a command, and how a failure ends the program.
//!
//! Data goes to stdout, everything else to stderr. A failure prints its code, its name, what happened and what to do, and
//! its row of the error table gives the exit status. Nothing is coloured, so there is nothing for `NO_COLOR` to switch off
//! but clap's own usage and the log, which both heed it.

mod bench;
mod budget;
mod config;
mod demo;
mod doctor;
mod id;
mod init;
mod job;
mod list;
mod memory;
mod notify;
mod peer;
mod print;
mod process;
mod progress;
mod run;
mod runs;
mod schedule;
mod serve;
mod verify;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use psi_node::{
    fault::{Code, Fault},
    home::Home,
};

use self::process::LogFormat;

/// Exchanges lists with another institution: both learn which identifiers they share, and nothing else.
#[derive(Debug, Parser)]
#[command(name = "psi", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "For every command")]
struct Global {
    /// Folder of the node; by default /etc/psi and /var/lib/psi, or the user's own
    #[arg(
        long,
        global = true,
        display_order = 100,
        env = "PSI_HOME",
        hide_env_values = true,
        value_name = "DIR"
    )]
    home: Option<PathBuf>,
    /// What to log to stderr: a level, or levels by module (`info,psi_node=debug`)
    #[arg(
        long,
        global = true,
        display_order = 100,
        env = "PSI_LOG",
        hide_env_values = true,
        value_name = "FILTER"
    )]
    log: Option<String>,
    /// How to log
    #[arg(long, global = true, display_order = 100, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

impl Global {
    fn home(&self) -> Home {
        self.folder().map_or_else(Home::of_user, Home::at)
    }

    /// An empty variable is as good as none.
    fn folder(&self) -> Option<&Path> {
        self.home.as_deref().filter(|home| !home.as_os_str().is_empty())
    }

    /// How the node's other commands are called, for what is shown to people.
    fn psi(&self) -> String {
        let home = self.folder().map(|home| format!(" --home {}", print::quoted(home)));
        format!("psi{}", home.unwrap_or_default())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole exchange between two nodes on this machine, with sample lists, and verify it
    Demo(demo::Args),
    /// Create a node: keys and configuration
    Init(init::Args),
    /// Show this node's name, endpoint, key and fingerprint
    Id(id::Args),
    /// Swap introductions with other institutions
    #[command(subcommand)]
    Peer(peer::Command),
    /// Say what is exchanged with whom
    #[command(subcommand)]
    Job(job::Command),
    /// Look at a list before anything is agreed
    #[command(subcommand)]
    List(list::Command),
    /// Do one exchange
    Run(run::Args),
    /// Look at what was run
    #[command(subcommand)]
    Runs(runs::Command),
    /// See what partners have tested, and what they may still test
    #[command(subcommand)]
    Budget(budget::Command),
    /// See when jobs are due
    #[command(subcommand)]
    Schedule(schedule::Command),
    /// Answer partners and run what is due, until stopped
    Serve(serve::Args),
    /// Look for what would keep this node from working, and ask the partners
    Doctor(doctor::Args),
    /// Check a finished run offline
    Verify(verify::Args),
    /// Measure what this machine does, and how long an exchange would take
    Bench(bench::Args),
    /// Look at the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl Command {
    /// What is logged where nobody says otherwise.
    fn log_level(&self) -> &'static str {
        match self {
            Self::Serve(_) => "info",
            _ => "warn",
        }
    }

    fn execute(self, global: &Global) -> Result<(), Fault> {
        match self {
            Self::Demo(args) => args.execute(),
            Self::Init(args) => args.execute(&global.home(), &global.psi()),
            Self::Id(args) => args.execute(&global.home()),
            Self::Peer(command) => command.execute(&global.home()),
            Self::Job(command) => command.execute(&global.home()),
            Self::List(command) => command.execute(),
            Self::Run(args) => args.execute(&global.home(), &global.psi()),
            Self::Runs(command) => command.execute(&global.home(), &global.psi()),
            Self::Budget(command) => command.execute(&global.home()),
            Self::Doctor(args) => args.execute(&global.home()),
            Self::Schedule(command) => command.execute(&global.home()),
            Self::Serve(args) => args.execute(&global.home()),
            Self::Verify(args) => args.execute(&global.home()),
            Self::Bench(args) => args.execute(),
            Self::Config(command) => command.execute(&global.home()),
            Self::Completions { shell } => completions(shell),
        }
    }
}

/// The whole program.
pub(crate) fn main() -> ExitCode {
    process::harden();
    let Cli { global, command } = Cli::parse();
    let logging = process::log(global.log.as_deref().unwrap_or(command.log_level()), global.log_format);
    match logging.and_then(|()| command.execute(&global)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            print::err(&described(&fault));
            ExitCode::from(fault.exit())
        }
    }
}

/// What people see of a failure. A run that is done but left rows out is no error.
fn described(fault: &Fault) -> String {
    let row = fault.code.row();
    let label = if fault.code == Code::RowsRejected { "warning" } else { "error" };
    let message = print::printable(&fault.message);
    format!("{label}[{} {}]: {message}\nremedy: {}\n", fault.code, row.name, row.remedy)
}

fn completions(shell: Shell) -> Result<(), Fault> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "psi", &mut script);
    print::out(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn home_is_taken_before_and_after_the_command() {
        for line in [["psi", "--home", "a", "id"], ["psi", "id", "--home", "a"]] {
            assert_eq!(Cli::parse_from(line).global.home(), Home::at("a"));
        }
    }

    #[test]
    fn a_failure_is_shown_with_code_name_and_remedy_on_two_lines() {
        let shown = described(&Fault::new(Code::Terms, "terms differ\n\u{1b}[2Jin \u{202e}proved"));
        assert_eq!(
            shown,
            "error[PSI-E060 terms-differ]: terms differ\\n\\u{1b}[2Jin \\u{202e}proved\n\
             remedy: compare `psi job show` on both sides in the field named\n"
        );
    }
}
