//! SHA-512 and expand_message_xmd.

use proptest::prelude::*;
use sha2::{Digest, Sha512};

use super::paths;

/// RFC 9380, section 5.3.1, word by word, for any length.
fn expand_message_xmd(message: &[u8], dst: &[u8], length: u16) -> Vec<u8> {
    let dst = if dst.len() > 255 {
        Sha512::digest([b"H2C-OVERSIZE-DST-", dst].concat()).to_vec()
    } else {
        dst.to_vec()
    };
    let dst_prime = [&dst[..], &[dst.len() as u8]].concat();
    let b_0 = Sha512::digest([&[0; 128], message, &length.to_be_bytes(), &[0], &dst_prime].concat());
    let mut b = Sha512::digest([&b_0[..], &[1], &dst_prime].concat());
    let mut uniform = b.to_vec();
    for i in 2..=length.div_ceil(64) as u8 {
        let mixed: Vec<u8> = b_0.iter().zip(b).map(|(a, b)| a ^ b).collect();
        b = Sha512::digest([&mixed[..], &[i], &dst_prime].concat());
        uniform.extend(b);
    }
    uniform.truncate(length.into());
    uniform
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn check(dst: &[u8], prefix: &[u8], messages: &[&[u8]]) {
    let want: Vec<Vec<u8>> =
        messages.iter().map(|message| expand_message_xmd(&[prefix, message].concat(), dst, 64)).collect();
    for path in paths() {
        let mut out = vec![[0; 64]; messages.len()];
        path.expand(dst, prefix, messages, &mut out);
        assert_eq!(out.iter().map(|out| out.to_vec()).collect::<Vec<_>>(), want, "{path:?}");
        path.sha512(prefix, messages, &mut out);
        for (digest, message) in out.iter().zip(messages) {
            assert_eq!(digest[..], Sha512::digest([prefix, message].concat())[..], "{path:?}");
        }
    }
}

/// RFC 9380, appendix K.3, which has no case of 64 bytes: the definition above is checked here, the paths against it below.
#[test]
fn the_definition_equals_the_standard() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../vectors/rfc9380-expand-message-xmd-sha512.json")).unwrap();
    let dst = vectors["DST"].as_str().unwrap().as_bytes();
    for test in vectors["tests"].as_array().unwrap() {
        let text = |name: &str| test[name].as_str().unwrap();
        let length = u16::from_str_radix(&text("len_in_bytes")[2..], 16).unwrap();
        assert_eq!(expand_message_xmd(text("msg").as_bytes(), dst, length), bytes(text("uniform_bytes")));
    }
}

#[test]
fn lengths_around_a_block_equal_the_definition() {
    let text: Vec<u8> = (0..=255).chain(0..=255).collect();
    for dst in [0, 1, 43, 46, 47, 48, 255, 256, 300] {
        let messages: Vec<&[u8]> = (0..400).step_by(7).map(|length| &text[..length]).collect();
        check(&text[..dst], b"prefix", &messages);
        let mixed = [
            &text[..3],
            &text[..400],
            &[],
            &text[..128],
            &text[..75],
            &text[..76],
            &text[..77],
            &text,
            &text[..9],
        ];
        check(&text[..dst], b"", &mixed);
    }
}

#[test]
fn any_number_of_messages() {
    let messages: Vec<[u8; 8]> = (0..33u64).map(u64::to_le_bytes).collect();
    let messages: Vec<&[u8]> = messages.iter().map(|message| &message[..]).collect();
    for count in 0..messages.len() {
        check(b"tag", b"", &messages[..count]);
    }
}

proptest! {
    #[test]
    fn any_messages_equal_the_definition(
        dst in prop::collection::vec(any::<u8>(), 0..300),
        prefix in prop::collection::vec(any::<u8>(), 0..40),
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12),
    ) {
        check(&dst, &prefix, &messages.iter().map(|message| &message[..]).collect::<Vec<_>>());
    }
}
