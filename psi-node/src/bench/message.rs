//! One message of a session, ready to be masked, answered and verified by one suite.

use nix::time::{ClockId, clock_gettime};
use psi_core::dleq::{self, Proof, Statement};
use psi_core::element::Element;
use psi_core::key::{MaskKey, Role, SessionSeed};
use psi_core::suite::{HASH_TO_GROUP_DST, Suite, message_prefix};

use super::Times;

const PROFILE: &str = "cn.mobile/1";
const STATEMENT: Statement<'_> = Statement { sid: &[1; 32], role: Role::Initiator, list: 0, index: 0 };

/// Made-up numbers, their masked elements and the proved answers to these.
pub(super) struct Message {
    suite: &'static dyn Suite,
    key: MaskKey,
    prefix: Vec<u8>,
    numbers: Vec<String>,
    masked: Vec<Element>,
    answers: Vec<Element>,
    proof: Proof,
}

impl Message {
    pub(super) fn new(suite: &'static dyn Suite, elements: usize) -> Self {
        let key = SessionSeed::from_bytes([7; 32]).mask_key(suite, PROFILE, &[0; 32]);
        let numbers: Vec<_> = (0..elements).map(|i| format!("139{i:08}")).collect();
        let prefix = message_prefix(PROFILE);
        let masked = own(suite, &key, &prefix, &numbers);
        let (answers, proof) = proved(suite, &key, &masked);
        Self { suite, key, prefix, numbers, masked, answers, proof }
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    pub(super) fn numbers(&self) -> &[String] {
        &self.numbers
    }

    pub(super) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    pub(super) fn masked(&self) -> &[Element] {
        &self.masked
    }

    pub(super) fn own(&self) -> Vec<Element> {
        own(self.suite, &self.key, &self.prefix, &self.numbers)
    }

    fn peer(&self) -> Vec<Element> {
        let mut out = vec![Element::default(); self.len()];
        let evaluated = self.suite.evaluate(self.key.scalar(), &self.masked, &mut out, None);
        evaluated.expect("masked elements are canonical");
        out
    }

    fn verify(&self) {
        let y = self.key.public();
        let verified = dleq::verify(self.suite, &STATEMENT, y, &self.masked, &self.answers, &self.proof);
        verified.expect("the proof is the suite's own");
    }

    /// Every stage once, on the calling thread.
    pub(super) fn round(&self) -> Times {
        Times {
            own: cpu_time(|| self.own()),
            peer: cpu_time(|| self.peer()),
            proved: cpu_time(|| proved(self.suite, &self.key, &self.masked)),
            verify: cpu_time(|| self.verify()),
        }
    }
}

fn own(suite: &dyn Suite, key: &MaskKey, prefix: &[u8], numbers: &[String]) -> Vec<Element> {
    let messages: Vec<_> = numbers.iter().map(String::as_bytes).collect();
    let mut out = vec![Element::default(); messages.len()];
    suite.mask(key.scalar(), HASH_TO_GROUP_DST, prefix, &messages, &mut out, None);
    out
}

fn proved(suite: &dyn Suite, key: &MaskKey, elements: &[Element]) -> (Vec<Element>, Proof) {
    let mut out = vec![Element::default(); elements.len()];
    let proof = dleq::evaluate(suite, key, &STATEMENT, elements, &mut out);
    (out, proof.expect("masked elements are canonical"))
}

/// Nanoseconds of CPU that this thread needs for the work.
pub(super) fn cpu_time<T>(work: impl FnOnce() -> T) -> u64 {
    let now = || {
        let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux counts a thread's CPU time");
        time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
    };
    let start = now();
    std::hint::black_box(work());
    now() - start
}
