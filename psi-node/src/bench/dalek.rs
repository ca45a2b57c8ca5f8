//! curve25519-dalek alone, as well as it can be used: nothing of psi-simd is in between.

use std::hint::black_box;

use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use psi_core::element::Element;
use psi_core::suite::HASH_TO_GROUP_DST;
use sha2::{Digest, Sha512};

use super::message::{Message, cpu_time};

/// Points that share one inversion, as in our suite.
const BATCH: usize = 512;

/// The backend that dalek chooses on this CPU, among those that were compiled in.
///
/// Its own choice can't be asked for; this is the same question as in its `backend.rs`.
pub(super) fn backend() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        let avx512 = is_x86_feature_detected!("avx512ifma") && is_x86_feature_detected!("avx512vl");
        if cfg!(curve25519_dalek_backend = "avx512") && avx512 {
            return "avx512";
        }
        if is_x86_feature_detected!("avx2") {
            return "avx2";
        }
    }
    "serial"
}

/// The work of a message, without us.
pub(super) struct Alone<'a> {
    message: &'a Message,
    half: Scalar,
    /// SHA-512 after the zero block and the prefix.
    start: Sha512,
}

impl<'a> Alone<'a> {
    pub(super) fn new(message: &'a Message) -> Self {
        let half = Scalar::from_bytes_mod_order_wide(&[7; 64]).div_by_2();
        let start = Sha512::new().chain_update([0; 128]).chain_update(message.prefix());
        Self { message, half, start }
    }

    /// CPU nanoseconds for the own elements, and for the peer's.
    pub(super) fn round(&self) -> (u64, u64) {
        (cpu_time(|| self.own()), cpu_time(|| self.peer()))
    }

    fn own(&self) {
        for numbers in self.message.numbers().chunks(BATCH) {
            self.multiply(numbers.iter().map(|number| self.hash_to_group(number.as_bytes())));
        }
    }

    fn peer(&self) {
        for elements in self.message.masked().chunks(BATCH) {
            self.multiply(elements.iter().map(decode));
        }
    }

    fn multiply(&self, points: impl Iterator<Item = RistrettoPoint>) {
        let halves: Vec<_> = points.map(|point| point * self.half).collect();
        black_box(RistrettoPoint::double_and_compress_batch(&halves));
    }

    /// RFC 9380's expand_message_xmd to 64 bytes, then the map of RFC 9496.
    fn hash_to_group(&self, message: &[u8]) -> RistrettoPoint {
        let dst_prime =
            |hash: Sha512| hash.chain_update(HASH_TO_GROUP_DST).chain_update([HASH_TO_GROUP_DST.len() as u8]);
        let first = self.start.clone().chain_update(message).chain_update([0, 64, 0]);
        let second = Sha512::new().chain_update(dst_prime(first).finalize()).chain_update([1]);
        RistrettoPoint::from_uniform_bytes(&dst_prime(second).finalize().into())
    }
}

fn decode(element: &Element) -> RistrettoPoint {
    CompressedRistretto(*element).decompress().expect("masked elements are canonical")
}
