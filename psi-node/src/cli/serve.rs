//! `psi serve`: answers partners until it is asked to stop.

use std::sync::Arc;

use psi_node::{
    fault::{Code, Fault},
    home::Home,
    node::Node,
    server,
};
use tokio::net::TcpListener;

use super::{print, process};

pub(super) fn execute(home: &Home) -> Result<(), Fault> {
    let node = Node::open(home)?;
    process::block_on(serve(node))
}

async fn serve(node: Node) -> Result<(), Fault> {
    let mut signals = process::Signals::listen()?;
    let listener = listener(&node).await?;
    let address = listener.local_addr().map_err(|error| Fault::new(Code::Unexpected, error.to_string()))?;
    // From here on callers wait in the listener's queue: the line is true before the first of them is answered.
    print::out(&format!("listening on {address}\n"))?;
    let stopped = async move {
        let fault = signals.next().await;
        tracing::info!("{fault}: no new sessions, waiting for those that run");
    };
    server::serve(Arc::new(node), listener, stopped).await
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
