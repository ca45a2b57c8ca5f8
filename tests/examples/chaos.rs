//! The proxy of `psi_tests::chaos` on the command line: a slow line, or faults, between two real nodes.
//!
//! ```sh
//! cargo run -p psi-tests --release --example chaos -- --listen 127.0.0.1:7500 --to 127.0.0.1:7443 --delay-ms 50
//! cargo run -p psi-tests --release --example chaos -- --listen 127.0.0.1:7500 --to 127.0.0.1:7443 --fault rst@up:100000
//! ```

use std::{io, net::SocketAddr, time::Duration};

use clap::Parser;
use psi_tests::chaos::{Chaos, Line, Planned};

/// Carries TCP connections over a line with a delay, a rate and faults
#[derive(Parser)]
struct Args {
    /// Where to listen
    #[arg(long)]
    listen: SocketAddr,
    /// Where the server is
    #[arg(long)]
    to: SocketAddr,
    /// Milliseconds that a byte is under way, each way: half of the round trip
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Bytes a second, each way
    #[arg(long)]
    rate: Option<u64>,
    /// Faults of the connections to come, one each: fin@N, rst@N, black-hole@N, stall[:MS]@N, deaf:up@N, deaf:down@N,
    /// flip@N; N is the number of a byte, of one direction with up: or down: before it
    #[arg(long = "fault")]
    faults: Vec<Planned>,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let Args { listen, to, delay_ms, rate, faults } = Args::parse();
    let line = Line { delay: Duration::from_millis(delay_ms), rate };
    let chaos = Chaos::listen(listen, to, [line; 2]).await?;
    faults.into_iter().for_each(|planned| chaos.plan(planned));
    eprintln!("{} -> {to}: {delay_ms} ms each way; stop it with Ctrl-C", chaos.address());
    tokio::signal::ctrl_c().await?;
    println!("{:?}", chaos.tally());
    Ok(())
}
