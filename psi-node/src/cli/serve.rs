//! `psi serve`: answers partners until it is asked to stop.

use std::{future::pending, sync::Arc};

use psi_node::{
    fault::{Code, Fault},
    home::Home,
    node::Node,
    server, watch,
};
use tokio::net::TcpListener;

use super::{memory::Memory, notify, print, process};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave jobs that have a schedule to something else, such as timers of systemd
    #[arg(long)]
    no_schedule: bool,
    #[command(flatten)]
    memory: Memory,
}

impl Args {
    pub(super) fn execute(&self, home: &Home) -> Result<(), Fault> {
        let node = self.memory.limit(Node::open(home)?);
        process::block_on(serve(node, !self.no_schedule))
    }
}

async fn serve(node: Node, scheduled: bool) -> Result<(), Fault> {
    let mut signals = process::Signals::listen()?;
    let listener = listener(&node).await?;
    let monitors = watch::bind(&node).await?;
    let node = Arc::new(node);
    let address = listener.local_addr().map_err(|error| Fault::new(Code::Unexpected, error.to_string()))?;
    // From here on callers wait in the listener's queue: the line is true before the first of them is answered.
    print::out(&format!("listening on {address}\n"))?;
    notify::ready();
    let stopped = async move {
        let fault = signals.next().await;
        tracing::info!("{fault}: no new sessions, waiting for those that run");
        notify::stopping();
    };
    let watched = async {
        match monitors {
            Some(monitors) => watch::serve(node.clone(), monitors).await,
            None => pending().await,
        }
    };
    let serving = async {
        if scheduled {
            server::serve(node.clone(), listener, stopped).await
        } else {
            server::answer(node.clone(), listener, stopped).await
        }
    };
    tokio::select! {
        served = serving => served,
        () = watched => Ok(()),
        () = notify::alive() => Ok(()),
    }
}

async fn listener(node: &Node) -> Result<TcpListener, Fault> {
    let invalid =
        |message: String| Fault::new(Code::Config, format!("{}: {message}", node.home().config().display()));
    let listen = node
        .config()
        .node
        .listen
        .ok_or_else(|| invalid("node.listen is missing: this node can only call".to_owned()))?;
    TcpListener::bind(listen).await.map_err(|error| invalid(format!("node.listen: {listen}: {error}")))
}
