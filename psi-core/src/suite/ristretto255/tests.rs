//! The standards' vectors over the production functions, and batches against one element at a time.

use super::*;
use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use proptest::prelude::*;
use serde_json::Value;

const OPRF_DST: &[u8] = b"HashToGroup-OPRFV1-\x00-ristretto255-SHA512";

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn rfc9496() -> Value {
    vectors(include_str!("../../../vectors/rfc9496-ristretto255.json"))
}

fn rfc9497() -> Value {
    vectors(include_str!("../../../vectors/rfc9497-ristretto255-sha512.json"))
}

fn hex(value: &Value) -> Vec<u8> {
    HEX.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

/// A comma-separated field of RFC 9497's batched vectors.
fn hex_list<const N: usize>(value: &Value) -> Vec<[u8; N]> {
    let fields = value.as_str().unwrap().split(',');
    fields.map(|field| HEX.decode(field.as_bytes()).unwrap().try_into().unwrap()).collect()
}

fn element(value: &Value) -> Element {
    hex(value).try_into().unwrap()
}

fn ristretto255() -> &'static dyn Suite {
    SuiteId::Ristretto255Sha512.suite()
}

fn scalar(bytes: &[u8; 32]) -> Scalar {
    ristretto255().scalar_from_bytes(bytes).unwrap()
}

fn small(n: u64) -> Scalar {
    pack(&Integer::from(n))
}

fn evaluated(k: &Scalar, elements: &[Element]) -> Vec<Element> {
    let mut out = vec![[0; 32]; elements.len()];
    ristretto255().evaluate(k, elements, &mut out, None).unwrap();
    out
}

#[test]
fn generator_multiples_of_rfc_9496() {
    let multiples = rfc9496()["multiples_of_generator"].clone();
    for (n, expected) in multiples.as_array().unwrap().iter().enumerate() {
        let expected = element(expected);
        let generator = ristretto255().generator();
        assert_eq!(ristretto255().multiply(&small(n as u64), &generator), Some(expected));
        assert_eq!(evaluated(&small(n as u64), &[generator]), [expected]);
    }
}

#[test]
fn bad_encodings_of_rfc_9496_are_rejected_everywhere() {
    let kinds = rfc9496()["bad_encodings"].clone();
    let bad: Vec<Element> =
        kinds.as_object().unwrap().values().flat_map(|kind| kind.as_array().unwrap()).map(element).collect();
    assert_eq!(bad.len(), 29);
    for bad in bad {
        assert_rejected(bad, ElementFault::NotCanonical);
        assert_eq!(ristretto255().multiply(&small(2), &bad), None);
        assert_eq!(ristretto255().combination(&small(2), &bad, &small(3), &ristretto255().generator()), None);
        assert_eq!(ristretto255().combination(&small(2), &ristretto255().generator(), &small(3), &bad), None);
    }
}

#[test]
fn the_identity_is_rejected() {
    assert_rejected([0; 32], ElementFault::Identity);
}

fn assert_rejected(bad: Element, fault: ElementFault) {
    let good = ristretto255().generator();
    let (mixed, untouched) = ([good, good, bad, good, bad], [[0xee; 32]; 5]);
    let at = ElementAt { index: 2, fault };
    let mut out = untouched;
    assert_eq!(ristretto255().evaluate(&small(5), &mixed, &mut out, None), Err(at));
    assert_eq!(out, untouched, "rejected before any multiplication");
    assert_eq!(ristretto255().combine(&mixed, &[good; 5], &[1; 5]), Err((Side::C, at)));
    assert_eq!(ristretto255().combine(&[good; 5], &mixed, &[1; 5]), Err((Side::D, at)));
}

#[test]
fn the_first_of_many_faults_is_named() {
    let mut elements = vec![ristretto255().generator(); 3 * SUB_BATCH];
    for index in [SUB_BATCH + 3, SUB_BATCH + 4, 3 * SUB_BATCH - 1] {
        elements[index] = [0xff; 32];
    }
    let mut out = vec![[0; 32]; elements.len()];
    let at = ElementAt { index: SUB_BATCH + 3, fault: ElementFault::NotCanonical };
    assert_eq!(ristretto255().evaluate(&small(5), &elements, &mut out, None), Err(at));
}

#[test]
fn one_way_map_of_rfc_9496() {
    for case in rfc9496()["one_way_map_of_sha512"].as_array().unwrap() {
        let uniform: [u8; 64] = Sha512::digest(case["input"].as_str().unwrap()).into();
        for path in Path::available() {
            let mut out = [[0; 32]];
            path.mask(Integer::ONE.as_bytes(), &[uniform], &mut out, None);
            assert_eq!(out[0], element(&case["element"]), "{}", path.name());
        }
    }
}

#[test]
fn expand_message_xmd_of_rfc_9380() {
    let file = vectors(include_str!("../../../vectors/rfc9380-expand-message-xmd-sha512.json"));
    let dst = file["DST"].as_str().unwrap().as_bytes();
    for case in file["tests"].as_array().unwrap() {
        let (message, expected) = (case["msg"].as_str().unwrap().as_bytes(), hex(&case["uniform_bytes"]));
        for cut in [0, message.len() / 2, message.len()] {
            let mut out = vec![0; expected.len()];
            Expander::new(dst, &message[..cut]).expand(&message[cut..], &mut out);
            assert_eq!(out, expected, "prefix of {cut} bytes");
        }
    }
}

#[test]
fn oprf_and_voprf_of_rfc_9497() {
    let file = rfc9497();
    let suites = file["suites"].as_array().unwrap();
    assert_eq!(suites.len(), 2);
    for suite in suites {
        let mode = u8::try_from(suite["mode"].as_u64().unwrap()).unwrap();
        let (sk, dst) = (derived_key(suite, mode), hex(&suite["groupDST"]));
        assert_eq!(sk, scalar(&element(&suite["skSm"])));
        assert_eq!(dst, [OPRF_DST, super::super::HASH_TO_GROUP_DST][usize::from(mode)]);
        if mode == 1 {
            assert_eq!(
                ristretto255().multiply(&sk, &ristretto255().generator()),
                Some(element(&suite["pkSm"]))
            );
        }
        for case in suite["vectors"].as_array().unwrap() {
            check_evaluation(case, &sk, &dst);
        }
    }
}

/// RFC 9497, section 3.2.1.
fn derived_key(suite: &Value, mode: u8) -> Scalar {
    let info = hex(&suite["keyInfo"]);
    let length = u16::try_from(info.len()).unwrap().to_be_bytes();
    let message = [&hex(&suite["seed"])[..], &length, &info, &[0]].concat();
    let dst = [&b"DeriveKeyPairOPRFV1-"[..], &[mode], b"-ristretto255-SHA512"].concat();
    ristretto255().hash_to_scalar(&dst, &message)
}

fn check_evaluation(case: &Value, sk: &Scalar, dst: &[u8]) {
    let inputs: Vec<Vec<u8>> = case["Input"]
        .as_str()
        .unwrap()
        .split(',')
        .map(|input| HEX.decode(input.as_bytes()).unwrap())
        .collect();
    let messages: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let (blinds, blinded) = (hex_list(&case["Blind"]), hex_list(&case["BlindedElement"]));
    let (answers, outputs) = (hex_list(&case["EvaluationElement"]), hex_list::<64>(&case["Output"]));

    for (i, message) in messages.iter().enumerate() {
        let mut out = [[0; 32]];
        ristretto255().mask(&scalar(&blinds[i]), dst, b"", &[message], &mut out, None);
        assert_eq!(out[0], blinded[i]);
    }
    assert_eq!(evaluated(sk, &blinded), answers);

    let mut masked = vec![[0; 32]; messages.len()];
    ristretto255().mask(sk, dst, b"", &messages, &mut masked, None);
    for (i, message) in messages.iter().enumerate() {
        let unblind = pack(&unpack(&scalar(&blinds[i])).invert());
        assert_eq!(ristretto255().multiply(&unblind, &answers[i]), Some(masked[i]));
        assert_eq!(finalized(message, &masked[i]), outputs[i]);
    }
}

/// RFC 9497, section 3.3.1, Finalize from the unblinded element on.
fn finalized(input: &[u8], unblinded: &Element) -> [u8; 64] {
    let mut hash = Sha512::new();
    for part in [input, unblinded] {
        hash.update(u16::try_from(part.len()).unwrap().to_be_bytes());
        hash.update(part);
    }
    hash.chain_update("Finalize").finalize().into()
}

#[test]
fn masks_commute() {
    let (a, b) = (ristretto255().scalar_from_wide(&[3; 64]), ristretto255().scalar_from_wide(&[4; 64]));
    let messages: &[&[u8]] = &[b"13912345678", b"", b"x"];
    let masked = |k: &Scalar| {
        let mut out = [[0; 32]; 3];
        assert_eq!(ristretto255().mask(k, OPRF_DST, b"p", messages, &mut out, None), None);
        out
    };
    assert_eq!(evaluated(&a, &masked(&b)), evaluated(&b, &masked(&a)));
    assert_ne!(masked(&a), masked(&b));
}

#[test]
fn non_canonical_scalars_are_rejected() {
    let order = (Integer::ZERO - Integer::ONE).to_bytes();
    assert!(ristretto255().scalar_from_bytes(&order).is_some(), "the order less one");
    let mut bytes = order;
    bytes[0] += 1;
    assert!(ristretto255().scalar_from_bytes(&bytes).is_none(), "the order");
    assert!(ristretto255().scalar_from_bytes(&[0xff; 32]).is_none());
}

#[test]
fn edge_scalars_multiply_right() {
    let point = ristretto255().multiply(&small(77), &ristretto255().generator()).unwrap();
    assert_eq!(evaluated(&small(0), &[point]), [[0; 32]]);
    assert_eq!(evaluated(&small(1), &[point]), [point]);
    let minus_one = pack(&-Integer::ONE);
    assert_eq!(ristretto255().combination(&small(1), &point, &minus_one, &point), Some([0; 32]));
    assert_eq!(evaluated(&minus_one, &evaluated(&minus_one, &[point])), [point]);
}

/// What the batch functions should give, by dalek's plain arithmetic with full-length scalars.
struct Plain {
    c: Vec<RistrettoPoint>,
    d: Vec<RistrettoPoint>,
}

impl Plain {
    fn new(k: &Scalar, dst: &[u8], prefix: &[u8], messages: &[&[u8]]) -> Self {
        let hash = |message: &&[u8]| {
            let mut uniform = [0; 64];
            Expander::new(dst, b"").expand(&[prefix, message].concat(), &mut uniform);
            RistrettoPoint::from_uniform_bytes(&uniform)
        };
        let c: Vec<_> = messages.iter().map(hash).collect();
        Self { d: c.iter().map(|point| point * *unpack(k)).collect(), c }
    }

    fn composites(&self, weights: &[i128]) -> Composites {
        let sum = |points: &[RistrettoPoint]| {
            let terms = points.iter().zip(weights).map(|(point, weight)| {
                let term = point * Integer::from(weight.unsigned_abs());
                if *weight < 0 { -term } else { term }
            });
            let sum: RistrettoPoint = terms.sum();
            (sum + sum).compress().to_bytes()
        };
        Composites { m: sum(&self.c), z: sum(&self.d) }
    }
}

fn encoded(points: &[RistrettoPoint]) -> Vec<Element> {
    points.iter().map(|point| point.compress().to_bytes()).collect()
}

/// Weights of every shape, made from the outputs as a proof's are.
fn weights(out: &[Element]) -> Vec<i128> {
    let edges = [0, 1, -1, i128::MIN, i128::MAX];
    let from = |element: &Element| i128::from_le_bytes(element[..16].try_into().unwrap());
    out.iter()
        .enumerate()
        .map(|(i, element)| edges.get(i).copied().unwrap_or_else(|| from(element)))
        .collect()
}

/// Every path of this CPU.
fn check_batch(n: usize, key: u8) {
    let k = ristretto255().scalar_from_wide(&[key; 64]);
    let texts: Vec<String> = (0..n).map(|i| format!("{key}-{i}")).collect();
    let messages: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    let plain = Plain::new(&k, OPRF_DST, b"prefix", &messages);
    let (c, d) = (encoded(&plain.c), encoded(&plain.d));
    let expected = (&*c, &*d, plain.composites(&weights(&d)));
    for (_, suite) in SuiteId::Ristretto255Sha512.suites() {
        check_against(expected, suite, &k, &messages);
    }
}

fn check_against(
    (c, d, composites): (&[Element], &[Element], Composites),
    suite: &dyn Suite,
    k: &Scalar,
    messages: &[&[u8]],
) {
    let mut out = vec![[0; 32]; messages.len()];
    suite.hash_to_group(OPRF_DST, b"prefix", messages, &mut out);
    assert_eq!(out, c);
    for weigh in [None, Some(&weights as Weigh<'_>)] {
        let expected = weigh.map(|_| composites);
        out.fill([0; 32]);
        assert_eq!(suite.mask(k, OPRF_DST, b"prefix", messages, &mut out, weigh), expected);
        assert_eq!(out, d);
        out.fill([0; 32]);
        assert_eq!(suite.evaluate(k, c, &mut out, weigh), Ok(expected));
        assert_eq!(out, d);
    }
    assert_eq!(suite.combine(c, d, &weights(d)), Ok(composites));
}

#[test]
fn batches_equal_plain_arithmetic_at_every_boundary() {
    for n in [0, 1, 2, 7, 8, 189, 190, 511, 512, 513, 1025, 2049] {
        check_batch(n, 11);
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| check_batch(5 * SUB_BATCH + 1, 12));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn batches_equal_plain_arithmetic(n in 0usize..600, key in 1..=u8::MAX) {
        check_batch(n, key);
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in any::<[u8; 32]>()) {
        let canonical = CompressedRistretto(bytes).decompress().map(|point| point.compress().to_bytes());
        prop_assert_eq!(decode(&bytes).is_ok(), canonical == Some(bytes));
    }
}
