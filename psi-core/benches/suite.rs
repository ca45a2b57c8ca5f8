//! What a run does to a message of 16,384 elements, stage by stage, on one thread and on every path of this CPU. `portable` is
//! curve25519-dalek at its best; psi-simd's bench has it without us.
//!
//! divan prints elements a second under each time: 1,000,000 divided by the figure in Kitem/s is nanoseconds an element.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use psi_core::dleq::{self, Proof, Statement};
use psi_core::element::Element;
use psi_core::identifier::{CanonicalSet, Profile, SetBuilder};
use psi_core::key::{MaskKey, Role, SessionSeed};
use psi_core::mask::Masking;
use psi_core::suite::{Suite, SuiteId, message_prefix};

const MESSAGE: usize = 16_384;
const STATEMENT: Statement<'_> = Statement { sid: &[1; 32], role: Role::Initiator, list: 0, index: 0 };

fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("the pool is not built yet");
    divan::Divan::from_args().sample_count(5).sample_size(1).main();
}

/// One message of a session, ready made.
struct Setup {
    suite: &'static dyn Suite,
    key: MaskKey,
    prefix: Vec<u8>,
    numbers: Vec<String>,
}

/// The paths of this CPU.
fn paths() -> Vec<&'static str> {
    SuiteId::Ristretto255Sha512.suites().into_iter().map(|(path, _)| path).collect()
}

impl Setup {
    fn new(path: &str) -> Self {
        let suites = SuiteId::Ristretto255Sha512.suites();
        let (_, suite) = suites.into_iter().find(|(name, _)| *name == path).expect("one of paths()");
        let key = SessionSeed::from_bytes([7; 32]).mask_key(suite, "cn.mobile/1", &[0; 32]);
        let numbers = (0..MESSAGE).map(|i| format!("139{i:08}")).collect();
        Self { suite, key, prefix: message_prefix("cn.mobile/1"), numbers }
    }

    fn messages(&self) -> Vec<&[u8]> {
        self.numbers.iter().map(String::as_bytes).collect()
    }

    fn masked(&self) -> Vec<Element> {
        let mut out = vec![[0; 32]; MESSAGE];
        let dst = self.suite.id().hash_to_group_dst();
        self.suite.mask(self.key.scalar(), dst, &self.prefix, &self.messages(), &mut out, None);
        out
    }

    fn proved(&self, elements: &[Element]) -> (Vec<Element>, Proof) {
        let mut out = vec![[0; 32]; MESSAGE];
        let proof = dleq::evaluate(self.suite, &self.key, &STATEMENT, elements, &mut out);
        (out, proof.expect("the elements are masked identifiers"))
    }
}

fn bench<T>(bencher: Bencher<'_, '_>, f: impl Fn() -> T + Sync) {
    bencher.counter(ItemsCount::new(MESSAGE)).bench(|| black_box(f()));
}

/// Hash and encode alone, one inversion an element.
#[divan::bench(args = paths())]
fn hash_to_group(bencher: Bencher<'_, '_>, path: &str) {
    let setup = Setup::new(path);
    let (messages, dst) = (setup.messages(), setup.suite.id().hash_to_group_dst());
    bench(bencher, || {
        let mut out = vec![[0; 32]; MESSAGE];
        setup.suite.hash_to_group(dst, &setup.prefix, &messages, &mut out);
        out
    });
}

/// Own element: hash, multiply, encode.
#[divan::bench(args = paths())]
fn own(bencher: Bencher<'_, '_>, path: &str) {
    let setup = Setup::new(path);
    bench(bencher, || setup.masked());
}

/// Own element, and the mask proof over all.
#[divan::bench(args = paths())]
fn own_with_mask_proof(bencher: Bencher<'_, '_>, path: &str) {
    let setup = Setup::new(path);
    let messages = setup.messages();
    bench(bencher, || {
        let mut out = vec![[0; 32]; MESSAGE];
        dleq::mask(setup.suite, &setup.key, &STATEMENT, &setup.prefix, &messages, &mut out)
    });
}

/// Peer's element: decode, multiply, encode.
#[divan::bench(args = paths())]
fn peer(bencher: Bencher<'_, '_>, path: &str) {
    let setup = Setup::new(path);
    let elements = setup.masked();
    bench(bencher, || {
        let mut out = vec![[0; 32]; MESSAGE];
        setup.suite.evaluate(setup.key.scalar(), &elements, &mut out, None).map(|_| out)
    });
}

/// Peer's element, and the proof over all.
#[divan::bench(args = paths())]
fn peer_with_proof(bencher: Bencher<'_, '_>, path: &str) {
    let setup = Setup::new(path);
    let elements = setup.masked();
    bench(bencher, || setup.proved(&elements));
}

/// The check of the peer's proof.
#[divan::bench(args = paths())]
fn verify(bencher: Bencher<'_, '_>, path: &str) {
    let setup = Setup::new(path);
    let elements = setup.masked();
    let (answers, proof) = setup.proved(&elements);
    let y = setup.key.public();
    bench(bencher, || dleq::verify(setup.suite, &STATEMENT, y, &elements, &answers, &proof));
}

/// The tags of an unproved answer.
#[divan::bench]
fn tags(bencher: Bencher<'_, '_>) {
    let elements = Setup::new(paths()[0]).masked();
    bench(bencher, || {
        let mut out = vec![0; 10 * MESSAGE];
        psi_core::tag::tags(&[1; 32], Role::Initiator, &elements, 10, &mut out);
        out
    });
}

fn set() -> CanonicalSet {
    let mut builder = SetBuilder::new();
    for number in Setup::new(paths()[0]).numbers {
        builder.push(number.as_bytes()).expect("a message fits");
    }
    builder.finish().0
}

/// A list as a run masks it: multiplied, sorted, and with what opens it later.
#[divan::bench(args = [false, true])]
fn list(bencher: Bencher<'_, '_>, openable: bool) {
    let (set, seed) = (set(), SessionSeed::from_bytes([7; 32]));
    let profile = Profile::parse("cn.mobile/1").expect("a known profile");
    let suite = SuiteId::Ristretto255Sha512.suite();
    let masking = Masking { suite, sid: [1; 32], role: Role::Initiator, list: 0, profile, openable };
    bench(bencher, || masking.run(&set, &seed, &|_| {}));
}
