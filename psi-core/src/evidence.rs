//! Evidence: the masked and evaluated bytes of a session, kept beside the transcript where the terms say so, so that the
//! proofs can be checked again offline (docs/PROTOCOL.md, "Evidence").
//!
//! A title, then one record a chunk, in any order: the chunk as its owner sent it, and the answer of the other party. Every
//! byte of a record is covered by the hashes of the transcript.

use std::io::{self, Read};

use crate::{key::Role, plan::MAX_CHUNK, wire::Writer};

/// The first bytes of an evidence file.
pub const TITLE: &[u8] = b"XPSI1-EVIDENCE\n";

/// One chunk of a masked list with the answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceChunk {
    /// Whose list the chunk is of.
    pub role: Role,
    /// Which list.
    pub list: u16,
    /// Which chunk of it.
    pub index: u32,
    /// Packed elements as sent.
    pub masked: Vec<u8>,
    /// Packed answers as sent.
    pub answers: Vec<u8>,
}

impl EvidenceChunk {
    /// The record: role (1), list (2), index (4), and both arrays with their lengths (4 each).
    pub fn encode(&self) -> Vec<u8> {
        let writer = Writer::new().u8(self.role.code()).u16(self.list).u32(self.index);
        writer.bytes(&self.masked).bytes(&self.answers).finish()
    }

    /// Reads the next record; `None` at the end of the file.
    ///
    /// # Errors
    /// What the reader says, or `InvalidData` and `UnexpectedEof` for bytes that are no record.
    pub fn read_from(input: &mut impl Read) -> io::Result<Option<Self>> {
        let mut head = [0; 7];
        if !read_or_end(input, &mut head)? {
            return Ok(None);
        }
        let role = match head[0] {
            0 => Role::Initiator,
            1 => Role::Responder,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "unknown role")),
        };
        let [_, a, b, c, d, e, f] = head;
        let (list, index) = (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]));
        Ok(Some(Self { role, list, index, masked: read_bytes(input)?, answers: read_bytes(input)? }))
    }
}

/// Whether there was anything before the end; a record that is cut short is an error.
fn read_or_end(input: &mut impl Read, head: &mut [u8]) -> io::Result<bool> {
    loop {
        match input.read(&mut head[..1]) {
            Ok(0) => return Ok(false),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    input.read_exact(&mut head[1..]).map(|()| true)
}

fn read_bytes(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_CHUNK * crate::element::ELEMENT_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "chunk is too long"));
    }
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}
