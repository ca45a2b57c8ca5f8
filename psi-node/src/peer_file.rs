//! The file by which one node introduces itself to another, `NAME.psi-peer`.
//!
//! It carries nothing secret, and nothing that is believed: the key counts only once its digits were compared over the
//! phone.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde::Deserialize;
use toml_edit::{DocumentMut, value};

use crate::{
    config::{located, operator_name, parsed, parsed_option},
    fault::{Code, Fault},
    identity::PublicKey,
    tls::endpoint::Endpoint,
};

const COMMENT: &str = "# A node of psi introduces itself. Take it up with `psi peer add FILE` and compare the digits over the phone.\n";
/// Four short lines; more than this is something else.
const MAX_BYTES: u64 = 16 * 1024;

/// Version of the file's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
struct Format(i64);

const FORMAT: Format = Format(1);

impl TryFrom<i64> for Format {
    type Error = String;

    fn try_from(got: i64) -> Result<Self, Self::Error> {
        let format = Self(got);
        if format == FORMAT {
            Ok(format)
        } else {
            Err(format!("format {got} is unknown, expected {}", FORMAT.0))
        }
    }
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerFile {
    format: Format,
    /// Its name: no white space, no `+`.
    #[serde(deserialize_with = "operator_name")]
    pub name: String,
    /// Its identity key.
    #[serde(deserialize_with = "parsed")]
    pub key: PublicKey,
    /// Where it listens; without it, it can only call.
    #[serde(default, deserialize_with = "parsed_option")]
    pub endpoint: Option<Endpoint>,
}

impl PeerFile {
    /// What a node of that name, key and endpoint says of itself.
    pub fn new(name: impl Into<String>, key: PublicKey, endpoint: Option<Endpoint>) -> Self {
        Self { format: FORMAT, name: name.into(), key, endpoint }
    }

    /// Reads what [`to_text`](Self::to_text) wrote.
    ///
    /// # Errors
    /// [`Code::PeerFile`], with file, line and column.
    pub fn load(path: &Path) -> Result<Self, Fault> {
        let failed = |reason: String| Fault::new(Code::PeerFile, format!("{}:{reason}", path.display()));
        let text = read(path).map_err(|error| failed(format!(" {error}")))?;
        Self::parse(&text).map_err(failed)
    }

    /// Parses the text of a file; the error is `line:column: reason`.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| located(text, &error))
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        let mut text = DocumentMut::new();
        text.insert("format", value(self.format.0));
        text.insert("name", value(&self.name));
        text.insert("key", value(self.key.to_string()));
        if let Some(endpoint) = &self.endpoint {
            text.insert("endpoint", value(endpoint.to_string()));
        }
        format!("{COMMENT}{text}")
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    match text.len() as u64 {
        0..=MAX_BYTES => Ok(text),
        _ => Err(io::Error::other("too long for what `psi peer export` writes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn file(endpoint: Option<&str>) -> PeerFile {
        let key = Identity::from_seed(&[7; 32]).public_key();
        PeerFile::new("bank-\"b\"", key, endpoint.map(|endpoint| endpoint.parse().unwrap()))
    }

    #[test]
    fn what_is_written_is_read_again() {
        for endpoint in [None, Some("https://psi.bank-b.example:7443"), Some("https://[::1]:7443")] {
            let text = file(endpoint).to_text();
            assert!(text.starts_with("# "));
            assert_eq!(PeerFile::parse(&text).unwrap(), file(endpoint));
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_place() {
        let text = file(None).to_text();
        let refused = |text: &str, reason: &str| {
            let error = PeerFile::parse(text).unwrap_err();
            assert!(error.contains(reason), "{error}");
        };
        refused(&text.replace("format = 1", "format = 2"), "2:10: format 2 is unknown, expected 1");
        refused(&text.replace("format = 1\n", ""), "missing field `format`");
        refused(&text.replace("ed25519:", ""), "4:7: expected \"ed25519:\"");
        refused(&text.replace("bank-", "bank "), "3:8: a name without white space");
        refused(&format!("{text}keys = 1\n"), "did you mean `key`?");
        refused(&format!("{text}endpoint = \"http://x\"\n"), "https://");
    }

    #[test]
    fn a_file_that_is_no_text_or_too_long_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.psi-peer");
        for content in [vec![0xff; 4], vec![b'#'; MAX_BYTES as usize + 1]] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(PeerFile::load(&path).unwrap_err().code, Code::PeerFile);
        }
    }
}
