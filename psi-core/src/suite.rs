//! Suites: a prime-order group with a hash to it, seen as batches of bytes in and bytes out.
//!
//! A suite follows RFC 9497: `HashToGroup` and `HashToScalar` are those of its section 4. The protocol takes a suite by
//! its [`SuiteId`], which stands in the terms, and never sees a point: one curve is one file under `suite/`.
//! Batches run on the rayon pool that the caller has installed.

mod ristretto255;

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::element::{Element, ElementAt, ElementFault};

/// The domain separation tag of hash-to-group: VOPRF's (RFC 9497, section 3.1, mode 01), shared on purpose, so that the
/// group elements are those of the RFC. Our own separation is in the message: see [`message_prefix`].
pub const HASH_TO_GROUP_DST: &[u8] = b"HashToGroup-OPRFV1-\x01-ristretto255-SHA512";

/// What stands before every canonical identifier that is hashed to the group: `"XPSI1" 00 profile-id 00`.
///
/// It binds the protocol's version and the profile, and nothing of the session, so that H(x) is the same with every
/// partner and on every night; freshness comes from the key.
pub fn message_prefix(profile_id: &str) -> Vec<u8> {
    [b"XPSI1\0", profile_id.as_bytes(), b"\0"].concat()
}

/// The name of a suite, as it stands in the terms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum SuiteId {
    /// ristretto255 (RFC 9496) with SHA-512, as in RFC 9497, section 4.1.
    Ristretto255Sha512,
}

impl SuiteId {
    /// Every suite that this version has.
    pub const ALL: &[SuiteId] = &[SuiteId::Ristretto255Sha512];

    /// The number of the suite on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::Ristretto255Sha512 => 1,
        }
    }

    /// The identifier of RFC 9497.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ristretto255Sha512 => "ristretto255-SHA512",
        }
    }

    /// The domain separation tag of hash-to-group in mode 01.
    pub fn hash_to_group_dst(self) -> &'static [u8] {
        match self {
            Self::Ristretto255Sha512 => HASH_TO_GROUP_DST,
        }
    }

    /// The suite with this number.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|id| id.code() == code)
    }

    /// The suite with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|id| id.name() == name)
    }

    /// The arithmetic behind the name, with the fastest instructions of this CPU.
    pub fn suite(self) -> &'static dyn Suite {
        match self {
            Self::Ristretto255Sha512 => &ristretto255::on_paths()[0],
        }
    }

    /// The same arithmetic with each set of instructions that this CPU has, by name, the fastest first: for whoever
    /// measures or compares them. The results are equal.
    pub fn suites(self) -> Vec<(&'static str, &'static dyn Suite)> {
        match self {
            Self::Ristretto255Sha512 => {
                ristretto255::on_paths().iter().map(|suite| (suite.path(), suite as _)).collect()
            }
        }
    }
}

impl fmt::Display for SuiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A secret scalar of the group: 32 canonical bytes, little-endian, erased when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Scalar([u8; 32]);

impl Scalar {
    /// Takes bytes that a suite has made canonical.
    pub(crate) fn from_canonical(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The canonical encoding.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl ConstantTimeEq for Scalar {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Scalar {}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scalar").finish_non_exhaustive()
    }
}

/// Gives the coefficients d_i of a proof, one for each of the batch's outputs, which it is called with once.
///
/// They depend on the outputs (see [`dleq`](crate::dleq)), while the suite still holds the inputs as points.
pub type Weigh<'a> = &'a (dyn Fn(&[Element]) -> Vec<i128> + Sync);

/// The two sums that a batched proof is about: M = 2·Σ d_i·C_i and Z = 2·Σ d_i·D_i.
///
/// A proof needs any fixed multiple of the sums, and the factor 2, which is invertible modulo the group's order, lets a
/// suite encode them with the same double-and-encode that serves its batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Composites {
    /// 2·Σ d_i·C_i
    pub m: Element,
    /// 2·Σ d_i·D_i
    pub z: Element,
}

/// Which of the two slices of a proof an element stands in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// The elements that were multiplied.
    C,
    /// Their multiples.
    D,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::C => "multiplied",
            Self::D => "returned",
        })
    }
}

/// Scalars and single elements: what keys and the Schnorr part of a proof need.
pub trait Group: Send + Sync {
    /// Reduces 64 uniform bytes to a scalar without a noticeable bias.
    fn scalar_from_wide(&self, wide: &[u8; 64]) -> Scalar;

    /// Takes a canonical scalar, or nothing.
    fn scalar_from_bytes(&self, bytes: &[u8; 32]) -> Option<Scalar>;

    /// RFC 9497, HashToScalar, over `message` with all of `dst` as the tag.
    fn hash_to_scalar(&self, dst: &[u8], message: &[u8]) -> Scalar;

    /// The generator of the group, G.
    fn generator(&self) -> Element;

    /// Checks an element that stands alone, like a public key.
    ///
    /// # Errors
    /// It is not canonical, or the identity.
    fn check(&self, element: &Element) -> Result<(), ElementFault>;

    /// k·P in constant time, or nothing if `element` is not canonical. The identity is accepted.
    fn multiply(&self, k: &Scalar, element: &Element) -> Option<Element>;

    /// s·A + c·B in variable time, for a verifier's public values; nothing if an element is not canonical.
    fn combination(&self, s: &Scalar, a: &Element, c: &Scalar, b: &Element) -> Option<Element>;

    /// r - c·k, the response of a Schnorr proof.
    fn response(&self, r: &Scalar, c: &Scalar, k: &Scalar) -> Scalar;
}

/// The bulk operations of the protocol.
///
/// `out` is as long as the input. The result never depends on how many threads work.
pub trait Suite: Group {
    /// The name of the suite.
    fn id(&self) -> SuiteId;

    /// `out[i]` = H(prefix ‖ messages\[i\]), RFC 9497's HashToGroup with the tag `dst` of at most 255 bytes.
    ///
    /// # Panics
    /// If the lengths differ or `dst` is too long.
    fn hash_to_group(&self, dst: &[u8], prefix: &[u8], messages: &[&[u8]], out: &mut [Element]);

    /// `out[i]` = k·H(prefix ‖ messages\[i\]), in constant time in k.
    ///
    /// With `weigh`, also the composites over (H(m_i), out\[i\]).
    ///
    /// # Panics
    /// If the lengths differ or `dst` is too long.
    fn mask(
        &self,
        k: &Scalar,
        dst: &[u8],
        prefix: &[u8],
        messages: &[&[u8]],
        out: &mut [Element],
        weigh: Option<Weigh<'_>>,
    ) -> Option<Composites>;

    /// `out[i]` = k·elements\[i\], in constant time in k. With `weigh`, also the composites over (elements\[i\], out\[i\]).
    ///
    /// # Errors
    /// The first element that is not canonical or is the identity; nothing has been multiplied then.
    ///
    /// # Panics
    /// If the lengths differ.
    fn evaluate(
        &self,
        k: &Scalar,
        elements: &[Element],
        out: &mut [Element],
        weigh: Option<Weigh<'_>>,
    ) -> Result<Option<Composites>, ElementAt>;

    /// The composites over (c\[i\], d\[i\]) without a key, in variable time: all three slices are public, and equally long.
    ///
    /// # Errors
    /// The first element of `c`, or else of `d`, that is not canonical or is the identity.
    ///
    /// # Panics
    /// If the lengths differ.
    fn combine(
        &self,
        c: &[Element],
        d: &[Element],
        weights: &[i128],
    ) -> Result<Composites, (Side, ElementAt)>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_lead_back() {
        for &id in SuiteId::ALL {
            assert_eq!(SuiteId::from_code(id.code()), Some(id));
            assert_eq!(SuiteId::from_name(id.name()), Some(id));
            assert_eq!(id.suite().id(), id);
            assert!(id.suites().iter().all(|(_, suite)| suite.id() == id));
            assert!(id.hash_to_group_dst().ends_with(id.name().as_bytes()));
        }
        assert_eq!(SuiteId::from_code(0), None);
        assert_eq!(SuiteId::from_name("ristretto255-sha512"), None);
    }

    #[test]
    fn the_prefix_binds_version_and_profile() {
        assert_eq!(message_prefix("cn.mobile/1"), b"XPSI1\0cn.mobile/1\0");
    }

    #[test]
    fn scalars_are_redacted() {
        assert_eq!(format!("{:?}", Scalar::from_canonical([7; 32])), "Scalar { .. }");
    }
}
