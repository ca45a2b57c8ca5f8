//! RFC 9497's vectors over the Schnorr part, and one case for each way to forge.

use super::*;
use crate::key::SessionSeed;
use crate::suite::{SuiteId, message_prefix};
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar as Integer;
use data_encoding::HEXLOWER as HEX;
use proptest::prelude::*;
use serde_json::Value;

const SID: &[u8; 32] = &[1; 32];
const STATEMENT: Statement<'_> = Statement { sid: SID, role: Role::Responder, list: 2, index: 3 };

fn suite() -> &'static dyn Suite {
    SuiteId::Ristretto255Sha512.suite()
}

fn key(seed: u8) -> MaskKey {
    SessionSeed::from_bytes([seed; 32]).mask_key(suite(), "text/1", &[0; 32])
}

fn texts(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("item {i}")).collect()
}

fn slices(texts: &[String]) -> Vec<&[u8]> {
    texts.iter().map(String::as_bytes).collect()
}

/// One proved message, as the peer holds it.
#[derive(Clone)]
struct Exchange {
    y: Element,
    c: Vec<Element>,
    d: Vec<Element>,
    proof: Proof,
}

impl Exchange {
    fn new(n: usize) -> Self {
        Self::of(&key(5), &STATEMENT, hashed(n))
    }

    fn of(key: &MaskKey, statement: &Statement<'_>, c: Vec<Element>) -> Self {
        let mut d = vec![[0; 32]; c.len()];
        let proof = evaluate(suite(), key, statement, &c, &mut d).unwrap();
        Self { y: *key.public(), c, d, proof }
    }

    fn verify(&self) -> Result<(), Invalid> {
        self.verify_as(&STATEMENT)
    }

    fn verify_as(&self, statement: &Statement<'_>) -> Result<(), Invalid> {
        verify(suite(), statement, &self.y, &self.c, &self.d, &self.proof)
    }

    /// The nonce, as anybody can compute it who has k: r = s + c·k.
    fn nonce(&self, key: &MaskKey) -> Integer {
        let (c, s) = self.proof.scalars(suite()).unwrap();
        integer(&s) + integer(&c) * integer(key.scalar())
    }
}

fn hashed(n: usize) -> Vec<Element> {
    let mut out = vec![[0; 32]; n];
    let texts = texts(n);
    suite().hash_to_group(suite().id().hash_to_group_dst(), b"", &slices(&texts), &mut out);
    out
}

fn integer(scalar: &Scalar) -> Integer {
    Integer::from_canonical_bytes(*scalar.as_bytes()).unwrap()
}

fn point(element: &Element) -> RistrettoPoint {
    CompressedRistretto(*element).decompress().unwrap()
}

fn signed(weight: i128) -> Integer {
    let magnitude = Integer::from(weight.unsigned_abs());
    if weight < 0 { -magnitude } else { magnitude }
}

const WRONG: Result<(), Invalid> = Err(Invalid::WrongProof);

#[test]
fn honest_proofs_hold() {
    for n in [1, 2, 7, 513] {
        assert_eq!(Exchange::new(n).verify(), Ok(()), "{n} elements");
    }
}

#[test]
fn answers_are_the_unproved_ones() {
    let (exchange, mut d) = (Exchange::new(9), [[0; 32]; 9]);
    suite().evaluate(key(5).scalar(), &exchange.c, &mut d, None).unwrap();
    assert_eq!(exchange.d, d);
}

#[test]
fn coefficients_are_the_chacha20_keystream_of_rfc_8439() {
    // Appendix A.1, test vector 1: key, nonce and counter 0.
    let block = HEX.decode(b"76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7").unwrap();
    let expected = [0, 16].map(|at| i128::from_le_bytes(block[at..at + 16].try_into().unwrap()));
    assert_eq!(coefficients(&[0; 32], 2), expected);
    assert_eq!(expected[0] < 0, block[15] >= 128, "two's complement");
}

/// A hash over fields, each behind its length in 8 bytes.
fn hash_of<H: Digest>(fields: &[&[u8]]) -> sha2::digest::Output<H> {
    let mut hash = H::new();
    for field in fields {
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field);
    }
    hash.finalize()
}

#[test]
fn seeds_are_as_documented() {
    let exchange = Exchange::new(2);
    let (y, c, d) = (exchange.y, exchange.c.concat(), exchange.d.concat());
    let (list, index, n) = ([0, 2], [0, 0, 0, 3], [0, 0, 0, 0, 0, 0, 0, 2]);
    let head = STATEMENT.head("XPSI1-DLEQ", 2, &y);
    let expected = hash_of::<Sha256>(&[b"XPSI1-DLEQ", SID, &[1], &list, &index, &n, &y, &c, &d]);
    assert_eq!(evaluated_seed(&head, &exchange.c, &exchange.d)[..], expected[..]);

    let head = STATEMENT.head("XPSI1-MASK", 2, &y);
    let expected =
        hash_of::<Sha256>(&[b"XPSI1-MASK", SID, &[1], &list, &index, &n, &y, b"prefix", b"a", b"bc", &d]);
    assert_eq!(masked_seed(&head, b"prefix", &[b"a", b"bc"], &exchange.d)[..], expected[..]);
}

#[test]
fn nonces_are_as_documented() {
    let (key, exchange) = (key(5), Exchange::new(2));
    let head = STATEMENT.head("XPSI1-DLEQ", 2, &exchange.y);
    let seed = evaluated_seed(&head, &exchange.c, &exchange.d);
    let Composites { m, z } = suite().combine(&exchange.c, &exchange.d, &coefficients(&seed, 2)).unwrap();
    let expected = hash_of::<Sha512>(&[b"XPSI1-NONCE", key.nonce_key().as_bytes(), &head, &seed, &m, &z]);
    assert_eq!(exchange.nonce(&key), Integer::from_bytes_mod_order_wide(&expected.into()));
}

/// Each kind of proof has a label of its own in all that it hashes.
#[test]
fn labels_differ() {
    let (y, d) = (*key(5).public(), [[7; 32]; 2]);
    assert_ne!(STATEMENT.head("XPSI1-DLEQ", 2, &y), STATEMENT.head("XPSI1-MASK", 2, &y));
    let (texts, mut masked) = (texts(2), [[0; 32]; 2]);
    let proof = mask(suite(), &key(5), &STATEMENT, b"p", &slices(&texts), &mut masked);
    let head = STATEMENT.head("XPSI1-MASK", 2, &y);
    let check = |seed: Seed| {
        let mut c = [[0; 32]; 2];
        suite().hash_to_group(suite().id().hash_to_group_dst(), b"p", &slices(&texts), &mut c);
        verify_batch(suite(), &y, &c, &masked, || seed, &proof)
    };
    assert_eq!(check(masked_seed(&head, b"p", &slices(&texts), &masked)), Ok(()));
    let evaluation = STATEMENT.head("XPSI1-DLEQ", 2, &y);
    assert_eq!(check(masked_seed(&evaluation, b"p", &slices(&texts), &masked)), WRONG);
    assert_eq!(check(masked_seed(&head, b"p", &slices(&texts), &d)), WRONG);
}

#[test]
fn one_wrong_point_anywhere_is_seen() {
    let honest = Exchange::new(64);
    let stranger = suite().generator();
    for i in [0, 1, 31, 63] {
        let mut forged = honest.clone();
        forged.d[i] = stranger;
        assert_eq!(forged.verify(), WRONG, "answer {i}");
        let mut forged = honest.clone();
        forged.c[i] = stranger;
        assert_eq!(forged.verify(), WRONG, "question {i}");
    }
}

#[test]
fn a_negated_or_repeated_answer_is_seen() {
    let honest = Exchange::new(8);
    let mut forged = honest.clone();
    forged.d[2] = (-point(&honest.d[2])).compress().to_bytes();
    assert_eq!(forged.verify(), WRONG);
    let mut forged = honest.clone();
    forged.d[2] = honest.d[3];
    assert_eq!(forged.verify(), WRONG);
}

#[test]
fn swapped_answers_are_seen() {
    let mut forged = Exchange::new(8);
    forged.d.swap(2, 5);
    assert_eq!(forged.verify(), WRONG);
    forged.c.swap(2, 5);
    assert_eq!(forged.verify(), WRONG, "the pairs match again, but in another order");
}

#[test]
fn a_foreign_key_is_seen() {
    let mut forged = Exchange::new(8);
    forged.y = *key(6).public();
    assert_eq!(forged.verify(), WRONG);
    let mut forged = Exchange::of(&key(6), &STATEMENT, hashed(8));
    forged.y = *key(5).public();
    assert_eq!(forged.verify(), WRONG, "answers under another key than the committed one");
}

#[test]
fn one_answer_under_another_key_is_seen_even_with_a_proof_made_over_it() {
    let (key, c) = (key(5), hashed(8));
    let mut d = vec![[0; 32]; 8];
    suite().evaluate(key.scalar(), &c, &mut d, None).unwrap();
    d[3] = hashed(9)[8];
    let prover = Prover::new(suite(), &key, STATEMENT.head("XPSI1-DLEQ", 8, key.public()));
    let weights = prover.weigh(|head| evaluated_seed(head, &c, &d), 8);
    let composites = suite().combine(&c, &d, &weights).unwrap();
    let forged = Exchange { y: *key.public(), c, d, proof: prover.prove(&composites) };
    assert_eq!(forged.verify(), WRONG);
}

#[test]
fn a_proof_holds_for_its_own_place_only() {
    let honest = Exchange::new(8);
    let sid = [9; 32];
    for elsewhere in [
        Statement { sid: &sid, ..STATEMENT },
        Statement { role: Role::Initiator, ..STATEMENT },
        Statement { list: 0, ..STATEMENT },
        Statement { index: 4, ..STATEMENT },
    ] {
        assert_eq!(honest.verify_as(&elsewhere), WRONG, "{elsewhere:?}");
    }
}

#[test]
fn another_messages_proof_is_seen() {
    let (first, mut second) = (Exchange::new(8), Exchange::new(9));
    second.proof = first.proof;
    assert_eq!(second.verify(), WRONG);
}

#[test]
fn a_shortened_or_lengthened_message_is_seen() {
    let honest = Exchange::new(8);
    let mut shorter = honest.clone();
    shorter.c.pop();
    shorter.d.pop();
    assert_eq!(shorter.verify(), WRONG);
    let mut unequal = honest.clone();
    unequal.d.pop();
    assert_eq!(unequal.verify(), Err(Invalid::Lengths { expected: 8, got: 7 }));
    let mut longer = honest.clone();
    longer.c.push(honest.c[0]);
    longer.d.push(honest.d[0]);
    assert_eq!(longer.verify(), WRONG);
}

#[test]
fn a_proof_over_nothing_is_refused() {
    assert_eq!(Exchange::new(0).verify(), Err(Invalid::Empty));
}

#[test]
fn bad_elements_and_keys_are_named() {
    let honest = Exchange::new(8);
    let mut forged = honest.clone();
    forged.d[6] = [0; 32];
    let at = ElementAt { index: 6, fault: ElementFault::Identity };
    assert_eq!(forged.verify(), Err(Invalid::Element(Side::D, at)));
    assert_eq!(forged.verify().unwrap_err().to_string(), "returned element 6 is the identity element");
    forged.c[4] = [255; 32];
    let at = ElementAt { index: 4, fault: ElementFault::NotCanonical };
    assert_eq!(forged.verify(), Err(Invalid::Element(Side::C, at)));
    forged.y = [0; 32];
    assert_eq!(forged.verify(), Err(Invalid::Key(ElementFault::Identity)));
    let mut out = [[0; 32]; 8];
    assert_eq!(evaluate(suite(), &key(5), &STATEMENT, &forged.c, &mut out), Err(at));
    assert_eq!(out, [[0; 32]; 8]);
}

/// Shifts two answers by ±E, weighted so that the shifts cancel under `weights`, which were fixed before.
fn cancel(honest: &Exchange, weights: &[i128]) -> Exchange {
    let mut forged = honest.clone();
    let error = point(&suite().generator());
    let shifted = |d: &Element, by: Integer| (point(d) + error * by).compress().to_bytes();
    forged.d[0] = shifted(&honest.d[0], signed(weights[1]));
    forged.d[1] = shifted(&honest.d[1], -signed(weights[0]));
    forged
}

/// A verifier whose coefficients don't depend on the whole message takes a forgery; this one doesn't.
#[test]
fn errors_that_cancel_under_coefficients_known_before_fail_here() {
    let honest = Exchange::new(8);
    let head = STATEMENT.head("XPSI1-DLEQ", 8, &honest.y);
    let known_before = coefficients(&evaluated_seed(&head, &honest.c, &honest.d), 8);
    let forged = cancel(&honest, &known_before);

    let weak = suite().combine(&forged.c, &forged.d, &known_before).unwrap();
    assert_eq!(
        verify_composites(suite(), &forged.y, &weak, &forged.proof),
        Ok(()),
        "the forgery is a real one"
    );
    assert_eq!(forged.verify(), WRONG);
}

/// The same against coefficients that depend on key and index alone, with a proof made for the forged composites.
#[test]
fn errors_that_cancel_under_coefficients_of_the_index_fail_here() {
    let (key, honest) = (key(5), Exchange::new(8));
    let by_index = |y: &Element| coefficients(&Sha256::digest(y).into(), 8);
    let mut forged = cancel(&honest, &by_index(&honest.y));
    let weak = suite().combine(&forged.c, &forged.d, &by_index(&honest.y)).unwrap();
    forged.proof = prove_composites(suite(), &key, &weak, &suite().scalar_from_wide(&[9; 64]));
    assert_eq!(
        verify_composites(suite(), &forged.y, &weak, &forged.proof),
        Ok(()),
        "the forgery is a real one"
    );
    assert_eq!(forged.verify(), WRONG);
}

#[test]
fn every_flipped_bit_of_a_proof_is_seen() {
    let honest = Exchange::new(2);
    for bit in 0..8 * PROOF_BYTES {
        let mut bytes = honest.proof.to_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let checked = Proof::from_bytes(suite(), &bytes)
            .and_then(|proof| Exchange { proof, ..honest.clone() }.verify());
        assert!(
            matches!(checked, Err(Invalid::WrongProof | Invalid::NotCanonical)),
            "bit {bit}: {checked:?}"
        );
    }
}

#[test]
fn non_canonical_scalars_are_refused() {
    let mut bytes = Exchange::new(2).proof.to_bytes();
    let order = (Integer::ZERO - Integer::ONE).to_bytes();
    for at in [0, 32] {
        let kept = bytes;
        bytes[at..at + 32].copy_from_slice(&order);
        assert!(Proof::from_bytes(suite(), &bytes).is_ok(), "the order less one");
        bytes[at] += 1;
        assert_eq!(Proof::from_bytes(suite(), &bytes), Err(Invalid::NotCanonical), "the order");
        bytes = kept;
    }
    assert_eq!(Proof::from_bytes(suite(), &bytes).map(|proof| proof.to_bytes()), Ok(bytes));
}

#[test]
fn the_same_message_gives_the_same_bytes_twice() {
    let (first, second) = (Exchange::new(40), Exchange::new(40));
    assert_eq!((first.d, first.proof), (second.d, second.proof));
}

#[test]
fn two_messages_never_share_a_nonce() {
    let key = key(5);
    let sid = [9; 32];
    let mut nonces = Vec::new();
    for statement in [
        STATEMENT,
        Statement { sid: &sid, ..STATEMENT },
        Statement { role: Role::Initiator, ..STATEMENT },
        Statement { list: 0, ..STATEMENT },
        Statement { index: 4, ..STATEMENT },
    ] {
        for c in [hashed(2), hashed(3), hashed(3)[1..].to_vec(), {
            let mut c = hashed(2);
            c.swap(0, 1);
            c
        }] {
            nonces.push(Exchange::of(&key, &statement, c).nonce(&key));
        }
    }
    let texts = texts(2);
    for prefix in [&b"p"[..], b"q"] {
        let mut d = [[0; 32]; 2];
        let proof = mask(suite(), &key, &STATEMENT, prefix, &slices(&texts), &mut d);
        nonces.push(Exchange { y: *key.public(), c: vec![], d: vec![], proof }.nonce(&key));
    }
    for (i, nonce) in nonces.iter().enumerate() {
        assert!(!nonces[..i].contains(nonce), "nonce {i}");
    }
}

#[test]
fn nonces_depend_on_the_nonce_key_and_on_every_part() {
    let of = |seed, parts: &[&[u8]]| *nonce(suite(), &key(seed), parts).as_bytes();
    let first = of(5, &[b"ab", b"c"]);
    assert_eq!(first, of(5, &[b"ab", b"c"]));
    for other in [of(6, &[b"ab", b"c"]), of(5, &[b"a", b"bc"]), of(5, &[b"abc"]), of(5, &[b"ab", b"c", b""])]
    {
        assert_ne!(first, other);
    }
}

/// One masked part of a list, and what its opening would show.
struct Masked {
    texts: Vec<String>,
    masked: Vec<Element>,
    proof: Proof,
}

impl Masked {
    fn new(n: usize) -> Self {
        let (texts, mut masked) = (texts(n), vec![[0; 32]; n]);
        let proof =
            mask(suite(), &key(5), &STATEMENT, &message_prefix("text/1"), &slices(&texts), &mut masked);
        Self { texts, masked, proof }
    }

    fn verify(&self) -> Result<(), Invalid> {
        self.verify_as(&STATEMENT, "text/1", &key(5))
    }

    fn verify_as(&self, statement: &Statement<'_>, profile: &str, key: &MaskKey) -> Result<(), Invalid> {
        let (prefix, messages) = (message_prefix(profile), slices(&self.texts));
        verify_mask(suite(), statement, key.public(), &prefix, &messages, &self.masked, &self.proof)
    }
}

#[test]
fn mask_proofs_hold_for_their_list_only() {
    assert_eq!(Masked::new(1).verify(), Ok(()));
    let honest = Masked::new(600);
    assert_eq!(honest.verify(), Ok(()));
    assert_eq!(honest.verify_as(&Statement { list: 1, ..STATEMENT }, "text/1", &key(5)), WRONG);
    assert_eq!(honest.verify_as(&STATEMENT, "text/2", &key(5)), WRONG);
    assert_eq!(honest.verify_as(&STATEMENT, "text/1", &key(6)), WRONG);
    assert_eq!(
        Masked { texts: texts(599), ..honest }.verify(),
        Err(Invalid::Lengths { expected: 599, got: 600 })
    );
}

#[test]
fn a_changed_or_moved_item_of_an_opened_list_is_seen() {
    let mut changed = Masked::new(9);
    changed.texts[4].push('x');
    assert_eq!(changed.verify(), WRONG);
    let mut moved = Masked::new(9);
    moved.texts.swap(1, 2);
    assert_eq!(moved.verify(), WRONG);
    let mut replaced = Masked::new(9);
    replaced.masked[8] = suite().generator();
    assert_eq!(replaced.verify(), WRONG);
    assert_eq!(Masked::new(0).verify(), Err(Invalid::Empty));
}

#[test]
fn a_mask_proof_is_no_proof_of_an_evaluation() {
    let (texts, mut d) = (texts(4), vec![[0; 32]; 4]);
    let dst_prefix = b"";
    let proof = mask(suite(), &key(5), &STATEMENT, dst_prefix, &slices(&texts), &mut d);
    let forged = Exchange { y: *key(5).public(), c: hashed(4), d: d.clone(), proof };
    assert_eq!(forged.verify(), WRONG);
    let evaluated = Exchange::new(4);
    assert_eq!(evaluated.d, d, "the same elements");
    let as_mask = verify_mask(
        suite(),
        &STATEMENT,
        &evaluated.y,
        dst_prefix,
        &slices(&texts),
        &evaluated.d,
        &evaluated.proof,
    );
    assert_eq!(as_mask, WRONG);
}

#[test]
fn the_schnorr_part_is_rfc_9497s() {
    let text = include_str!("../../vectors/rfc9497-ristretto255-sha512.json");
    let file: Value = serde_json::from_str(text).unwrap();
    let voprf = &file["suites"][1];
    assert_eq!(voprf["mode"], 1);
    let key = MaskKey::with_scalar(suite(), suite().scalar_from_bytes(&bytes(&voprf["skSm"])).unwrap());
    assert_eq!(*key.public(), bytes(&voprf["pkSm"]));
    for case in voprf["vectors"].as_array().unwrap() {
        let composites =
            rfc_composites(&key, &elements(&case["BlindedElement"]), &elements(&case["EvaluationElement"]));
        let r = suite().scalar_from_bytes(&bytes(&case["Proof"]["r"])).unwrap();
        let proof = Proof::from_bytes(suite(), &bytes(&case["Proof"]["proof"])).unwrap();
        assert_eq!(prove_composites(suite(), &key, &composites, &r), proof);
        assert_eq!(verify_composites(suite(), key.public(), &composites, &proof), Ok(()));
        let swapped = Composites { m: composites.z, z: composites.m };
        assert_eq!(verify_composites(suite(), key.public(), &swapped, &proof), WRONG);
    }
}

fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    HEX.decode(value.as_str().unwrap().as_bytes()).unwrap().try_into().unwrap()
}

fn elements(value: &Value) -> Vec<Element> {
    let fields = value.as_str().unwrap().split(',');
    fields.map(|field| HEX.decode(field.as_bytes()).unwrap().try_into().unwrap()).collect()
}

/// RFC 9497, section 2.2.1, ComputeComposites.
fn rfc_composites(key: &MaskKey, c: &[Element], d: &[Element]) -> Composites {
    let field = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let context = b"OPRFV1-\x01-ristretto255-SHA512";
    let seed = Sha512::digest([field(key.public()), field(&[b"Seed-", &context[..]].concat())].concat());
    let mut m = RistrettoPoint::default();
    for (i, (c, d)) in c.iter().zip(d).enumerate() {
        let index = u16::try_from(i).unwrap().to_be_bytes();
        let transcript = [&field(&seed)[..], &index, &field(c), &field(d), b"Composite"].concat();
        let weight = suite().hash_to_scalar(&[b"HashToScalar-", &context[..]].concat(), &transcript);
        m += point(c) * integer(&weight);
    }
    let z = m * integer(key.scalar());
    Composites { m: m.compress().to_bytes(), z: z.compress().to_bytes() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_one_changed_answer_is_seen(n in 1usize..40, at in any::<prop::sample::Index>(), by in 1u64..) {
        let mut forged = Exchange::new(n);
        prop_assert_eq!(forged.verify(), Ok(()));
        let answer = &mut forged.d[at.index(n)];
        *answer = (point(answer) + point(&suite().generator()) * Integer::from(by)).compress().to_bytes();
        prop_assert_eq!(forged.verify(), WRONG);
    }
}
