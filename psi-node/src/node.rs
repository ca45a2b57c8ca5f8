//! A node: its configuration, keys and threads, opened from its home.

use std::{
    fs,
    sync::{Arc, PoisonError, RwLock},
};

use psi_core::signature::Identity;

use crate::{
    clock::{Clock, System},
    config::Config,
    conversations::Conversations,
    fault::Fault,
    home::Home,
    identity,
    link::Settings,
    pool::Pool,
    scratch::Room,
    seal::{SealKey, SealKeyError},
    tally::Tally,
    tls::{NodeTls, Pins},
};

/// Name and version of this program, as hellos and statements carry it.
pub const SOFTWARE: &str = concat!("psi ", env!("CARGO_PKG_VERSION"));

/// A node that can call and answer.
pub struct Node {
    home: Home,
    config: RwLock<Arc<Config>>,
    identity: Identity,
    seal_key: SealKey,
    tls: NodeTls,
    pool: Pool,
    room: Room,
    settings: Settings,
    tally: Tally,
    conversations: Conversations,
}

impl Node {
    /// Opens the node that lives in `home`.
    ///
    /// # Errors
    /// [`Code::NoHome`](crate::fault::Code::NoHome), or the configuration or a key that can't be used.
    pub fn open(home: &Home) -> Result<Self, Fault> {
        Self::open_with(home, System::shared(), Settings::default())
    }

    /// The same with another clock and other limits.
    pub fn open_with(home: &Home, clock: Arc<dyn Clock>, settings: Settings) -> Result<Self, Fault> {
        let config = Config::load(home.config())?;
        let identity = identity::load(&home.identity_key())?;
        let seal_key = seal_key(home)?;
        let tls = NodeTls::new(identity.clone(), Pins::new(keys(&config)), clock)?;
        let pool = Pool::new(config.node.threads)?;
        let room = Room::of(config.node.memory_mb);
        let (home, config) = (home.clone(), RwLock::new(Arc::new(config)));
        let (conversations, tally) = (Conversations::default(), Tally::default());
        Ok(Self { home, config, identity, seal_key, tls, pool, room, settings, conversations, tally })
    }

    /// The same with other room for its lists.
    pub fn with_room(self, room: Room) -> Self {
        Self { room, ..self }
    }

    /// The configuration as it was read last.
    pub fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the configuration again: peers and jobs change, connections go on. A file that can't be used changes nothing.
    pub fn reload(&self) -> Result<(), Fault> {
        let config = Config::load(self.home.config())?;
        self.tls.pins().replace(keys(&config));
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        Ok(())
    }

    /// Where it lives.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Its identity.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What seals its private files.
    pub fn seal_key(&self) -> &SealKey {
        &self.seal_key
    }

    /// Its credentials, pins and clock.
    pub fn tls(&self) -> &NodeTls {
        &self.tls
    }

    /// Its computing threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Room for the lists of each of its runs.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// How its sessions ended.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What it is talking about with peers.
    pub fn conversations(&self) -> &Conversations {
        &self.conversations
    }

    /// Its limits on the wire.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its clocks.
    pub fn clock(&self) -> &dyn Clock {
        &**self.tls.clock()
    }

    /// Its wall clock, in seconds since 1970.
    pub fn now(&self) -> u64 {
        self.clock().now()
    }
}

fn keys(config: &Config) -> impl Iterator<Item = psi_core::signature::PublicKey> {
    config.peers.values().map(|peer| peer.key)
}
/// The sealing key. A new one only where nothing was sealed yet: what was could never be opened again.
fn seal_key(home: &Home) -> Result<SealKey, SealKeyError> {
    let sealed = fs::read_dir(home.private()).is_ok_and(|mut entries| entries.next().is_some());
    match sealed {
        true => SealKey::load(&home.seal_key()),
        false => SealKey::load_or_generate(&home.seal_key()),
    }
}
