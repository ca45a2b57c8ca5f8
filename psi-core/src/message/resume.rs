//! Resume: the first message where a session goes on over a new connection (docs/PROTOCOL.md, "Resume").

use crate::{
    key::Role,
    message::{Digest, read_role},
    signature::{Identity, Signature},
    wire::{Malformed, Reader, Writer},
};

/// How far the sender has a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Session id.
    pub sid: Digest,
    /// The sender's role in the session, whoever calls now.
    pub role: Role,
    /// Whether the sender holds the receiver's Commit.
    pub committed: bool,
    /// Steps that the sender has kept: both signatures under them, and everything before.
    pub steps: u32,
    /// The running hash after them; zeros where there is none.
    pub running: Digest,
    /// Over [`Resume::signed_bytes`].
    pub signature: Signature,
}

impl Resume {
    /// Says, signed, that this many steps are kept; `running` is none where the receiver's Commit is lacking.
    pub fn new(sid: Digest, role: Role, steps: u32, running: Option<Digest>, identity: &Identity) -> Self {
        let committed = running.is_some();
        let running = running.unwrap_or_default();
        let mut resume = Self { sid, role, committed, steps, running, signature: [0; 64] };
        resume.signature = identity.sign(&resume.signed_bytes());
        resume
    }

    /// The canonical encoding, signature last.
    pub fn encode(&self) -> Vec<u8> {
        self.write(Writer::new()).fixed(&self.signature).finish()
    }

    /// Reads a Resume.
    ///
    /// # Errors
    /// [`Malformed`], with the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let resume = Self {
            sid: reader.fixed("session")?,
            role: read_role(&mut reader)?,
            committed: reader.flag("committed")?,
            steps: reader.u32("steps")?,
            running: reader.fixed("running hash")?,
            signature: reader.fixed("signature")?,
        };
        reader.finish().map(|()| resume)
    }

    /// What the signature covers: label and all other fields.
    pub fn signed_bytes(&self) -> Vec<u8> {
        self.write(Writer::new().text("XPSI1-RESUME")).finish()
    }

    fn write(&self, writer: Writer) -> Writer {
        let writer = writer.fixed(&self.sid).u8(self.role.code()).u8(self.committed.into());
        writer.u32(self.steps).fixed(&self.running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resume() -> Resume {
        let identity = Identity::from_seed(&[1; 32]);
        Resume::new([7; 32], Role::Responder, 258, Some([9; 32]), &identity)
    }

    #[test]
    fn the_encoding_is_as_documented() {
        let mut bytes = vec![7; 32];
        bytes.extend([1, 1, 0, 0, 1, 2]);
        bytes.extend([9; 32]);
        let signed = [&[0, 0, 0, 12], b"XPSI1-RESUME".as_slice(), &bytes].concat();
        assert!(Identity::from_seed(&[1; 32]).public_key().verifies(&signed, &resume().signature));
        bytes.extend(resume().signature);
        assert_eq!(resume().encode(), bytes);
        assert_eq!(Resume::decode(&bytes), Ok(resume()));
    }

    #[test]
    fn what_is_cut_or_too_long_or_no_flag_is_malformed() {
        let bytes = resume().encode();
        assert!((0..bytes.len()).all(|length| Resume::decode(&bytes[..length]).is_err()));
        assert_eq!(Resume::decode(&[bytes.as_slice(), &[0]].concat()).unwrap_err().what, "end");
        for (at, what) in [(32, "role"), (33, "committed")] {
            let mut other = bytes.clone();
            other[at] = 2;
            assert_eq!(Resume::decode(&other).unwrap_err().what, what);
        }
    }
}
