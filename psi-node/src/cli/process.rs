//! The process itself: what it leaves behind, how it logs, and how it ends on a signal.

use std::{
    env,
    io::{self, IsTerminal},
    pin::pin,
    time::Duration,
};

use nix::sys::{
    resource::{Resource, setrlimit},
    stat::{Mode, umask},
};
use psi_node::fault::{Code, Fault};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tracing_subscriber::EnvFilter;

/// Time for what is asked to stop to put things in order.
const GRACE: Duration = Duration::from_secs(9);

/// Files for the owner only, and no memory images: they would hold keys and lists. A kernel that refuses is no reason not
/// to run.
pub(crate) fn harden() {
    umask(Mode::from_bits_truncate(0o077));
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// How to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Starts logging to stderr.
pub(crate) fn log(filter: &str, format: LogFormat) -> Result<(), Fault> {
    let filter =
        EnvFilter::try_new(filter).map_err(|error| Fault::new(Code::Usage, format!("--log: {error}")))?;
    let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let ansi = io::stderr().is_terminal() && !plain;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(ansi);
    match format {
        LogFormat::Text => builder.init(),
        // Run, job and partner stand in each line of a session, once.
        LogFormat::Json => builder.json().with_current_span(true).with_span_list(false).init(),
    }
    Ok(())
}

/// Runs an asynchronous command; work that is still on its way when it ends is given up.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let runtime =
        Runtime::new().map_err(|error| Fault::new(Code::Unexpected, format!("threads: {error}")))?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

/// The signals that end the program.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes them over from here on.
    pub(crate) fn listen() -> Result<Self, Fault> {
        let listen =
            |kind| signal(kind).map_err(|error| Fault::new(Code::Unexpected, format!("signals: {error}")));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for one, and says how a command ends on it.
    pub(crate) async fn next(&mut self) -> Fault {
        tokio::select! {
            _ = self.interrupt.recv() => Fault::new(Code::Interrupted, "interrupted by SIGINT"),
            _ = self.terminate.recv() => Fault::new(Code::Terminated, "ended by SIGTERM"),
        }
    }
}

/// Does the work. A signal asks it to stop, and then it has some time to end in good order; a second one ends it at once.
pub(crate) async fn until_signalled<T>(
    work: impl Future<Output = Result<T, Fault>>,
    stop: impl FnOnce(&Fault),
) -> Result<T, Fault> {
    let mut signals = Signals::listen()?;
    let mut work = pin!(work);
    let fault = tokio::select! {
        result = &mut work => return result,
        fault = signals.next() => fault,
    };
    stop(&fault);
    tokio::select! {
        result = work => result,
        again = signals.next() => Err(again),
        () = sleep(GRACE) => Err(fault),
    }
}

/// Does the work unless a signal comes first.
pub(crate) async fn unless_signalled<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let mut signals = Signals::listen()?;
    tokio::select! {
        result = work => result,
        fault = signals.next() => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use nix::sys::signal::{Signal::*, raise};
    use tokio::sync::oneshot;

    use super::*;

    /// One test, since every listener of a process hears each signal.
    #[tokio::test]
    async fn who_is_asked_to_stop_comes_to_its_end_and_a_second_signal_does_not_wait_for_it() {
        let (stop, stopped) = oneshot::channel();
        let work = async {
            raise(SIGTERM).unwrap();
            Ok(stopped.await.unwrap())
        };
        let ended = until_signalled(work, |fault| stop.send(fault.code).unwrap()).await;
        assert_eq!(ended, Ok(Code::Terminated));
        let work = async {
            raise(SIGTERM).unwrap();
            pending::<Result<(), Fault>>().await
        };
        let ended = until_signalled(work, |_| raise(SIGINT).unwrap()).await;
        assert_eq!(ended.unwrap_err().code, Code::Interrupted);
    }
}
