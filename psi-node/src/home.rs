//! Where a node keeps its things.
//!
//! ```text
//! config.toml                 names, peers, jobs
//! keys/identity.key           the identity, PKCS#8 PEM        keys/seal.key   seals what is in private/
//! runs/ID/                    statement.note, transcript [, evidence]: may be handed out
//! private/ID/                 sealed: the list's snapshot, seeds, the masked list
//! private/known/              sealed: what matched in the last run of jobs whose results keep to what is new
//! attempts/ID.json            every attempt from the agreement on, also those that failed: what was disclosed, and to whom
//! leases/                     one locked file a job that runs
//! ```
//!
//! One folder with `--home`; else `/etc/psi` and `/var/lib/psi` where the former exists and may be read, and for other users
//! the XDG folders.

use std::{
    env,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// A job's name as part of a file's name.
pub fn file_name(job: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(job)[..8])
}

/// The folders of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    config: PathBuf,
    state: PathBuf,
}

impl Home {
    /// Everything in one folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self { config: folder.join("config.toml"), state: folder }
    }

    /// The node of this machine or user.
    pub fn of_user() -> Self {
        let service = Path::new("/etc/psi/config.toml");
        if service.is_file() {
            return Self { config: service.into(), state: "/var/lib/psi".into() };
        }
        let user = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let folder =
            |variable, default| env::var_os(variable).map_or_else(|| user.join(default), PathBuf::from);
        Self {
            config: folder("XDG_CONFIG_HOME", ".config").join("psi/config.toml"),
            state: folder("XDG_STATE_HOME", ".local/state").join("psi"),
        }
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The folder of everything else.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The identity key.
    pub fn identity_key(&self) -> PathBuf {
        self.state.join(crate::identity::KEY_FILE)
    }

    /// The sealing key.
    pub fn seal_key(&self) -> PathBuf {
        self.state.join("keys/seal.key")
    }

    /// The folder of finished runs.
    pub fn runs(&self) -> PathBuf {
        self.state.join("runs")
    }

    /// The folder of what stays with the node.
    pub fn private(&self) -> PathBuf {
        self.state.join("private")
    }

    /// The folder of what is known of jobs.
    pub fn known(&self) -> PathBuf {
        self.private().join("known")
    }

    /// The index over the records of attempts.
    pub fn index(&self) -> PathBuf {
        self.state.join("index.db")
    }

    /// The folder of what is remembered of schedules.
    pub fn schedules(&self) -> PathBuf {
        self.state.join("schedules")
    }

    /// The folder of the locks.
    pub fn leases(&self) -> PathBuf {
        self.state.join("leases")
    }

    /// The folder of the records of attempts.
    pub fn attempts(&self) -> PathBuf {
        self.state.join("attempts")
    }
}
