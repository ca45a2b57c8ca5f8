//! The curve's share of a run on one thread, one message of 16,384 elements.
//!
//! divan prints elements a second under each time: 1,000,000 divided by the figure in Kitem/s is nanoseconds an element.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use psi_core::dleq::{self, Proof, Statement};
use psi_core::element::Element;
use psi_core::key::{MaskKey, Role, SessionSeed};
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

impl Setup {
    fn new() -> Self {
        let suite = SuiteId::Ristretto255Sha512.suite();
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
#[divan::bench]
fn hash_to_group(bencher: Bencher<'_, '_>) {
    let setup = Setup::new();
    let (messages, dst) = (setup.messages(), setup.suite.id().hash_to_group_dst());
    bench(bencher, || {
        let mut out = vec![[0; 32]; MESSAGE];
        setup.suite.hash_to_group(dst, &setup.prefix, &messages, &mut out);
        out
    });
}

/// Own element: hash, multiply, encode.
#[divan::bench]
fn own(bencher: Bencher<'_, '_>) {
    let setup = Setup::new();
    bench(bencher, || setup.masked());
}

/// Own element, and the mask proof over all.
#[divan::bench]
fn own_with_mask_proof(bencher: Bencher<'_, '_>) {
    let setup = Setup::new();
    let messages = setup.messages();
    bench(bencher, || {
        let mut out = vec![[0; 32]; MESSAGE];
        dleq::mask(setup.suite, &setup.key, &STATEMENT, &setup.prefix, &messages, &mut out)
    });
}

/// Peer's element: decode, multiply, encode.
#[divan::bench]
fn peer(bencher: Bencher<'_, '_>) {
    let setup = Setup::new();
    let elements = setup.masked();
    bench(bencher, || {
        let mut out = vec![[0; 32]; MESSAGE];
        setup.suite.evaluate(setup.key.scalar(), &elements, &mut out, None).map(|_| out)
    });
}

/// Peer's element, and the proof over all.
#[divan::bench]
fn peer_with_proof(bencher: Bencher<'_, '_>) {
    let setup = Setup::new();
    let elements = setup.masked();
    bench(bencher, || setup.proved(&elements));
}

/// The check of the peer's proof.
#[divan::bench]
fn verify(bencher: Bencher<'_, '_>) {
    let setup = Setup::new();
    let elements = setup.masked();
    let (answers, proof) = setup.proved(&elements);
    let y = setup.key.public();
    bench(bencher, || dleq::verify(setup.suite, &STATEMENT, y, &elements, &answers, &proof));
}

/// The tags of an unproved answer.
#[divan::bench]
fn tags(bencher: Bencher<'_, '_>) {
    let elements = Setup::new().masked();
    bench(bencher, || {
        let mut out = vec![0; 10 * MESSAGE];
        psi_core::tag::tags(&[1; 32], Role::Initiator, &elements, 10, &mut out);
        out
    });
}
