//! Check digits against judges that share nothing with our code, and all rules against the encodings that lists come in.
//!
//! Resident IDs: the crate `cinv` (dates and check characters by GB 11643). Bank cards: the crate `luhn3`. For social
//! credit codes no package was found to lean on: here it is the congruence that GB 32100 is made of, evaluated by
//! Horner's rule from the other end, over all 31 check characters.

use std::collections::HashMap;

use encoding_rs::GB18030;
use proptest::prelude::*;

use super::testing::canonical;

fn is_resident_id(text: &str) -> bool {
    let region = &text[..6];
    let regions = HashMap::from([(region, "")]);
    cinv::is_valid_with_map_and_mode(text, &regions, cinv::AddressMatchMode::Exact6)
}

/// The sum of C_i·3^(i-1) for the first seventeen plus the check value is a multiple of 31.
fn is_credit_code(text: &str) -> bool {
    const ALPHABET: &str = "0123456789ABCDEFGHJKLMNPQRTUWXY";
    let values: Vec<usize> = text.chars().map(|c| ALPHABET.find(c).unwrap()).collect();
    let (check, body) = values.split_last().unwrap();
    (body.iter().rev().fold(0, |sum, value| sum * 3 + value) + check) % 31 == 0
}

fn is_accepted_without_remark(id: &str, text: &str) -> bool {
    matches!(canonical(id, text), Ok((_, None)))
}

/// Full-width digits and letters, as forms typed in Chinese have them.
fn wide(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_graphic() { char::from_u32(c as u32 + 0xfee0).unwrap() } else { c })
        .collect()
}

/// What comes back of a cell that was written to a GB 18030 file.
fn through_gb18030(text: &str) -> String {
    let (bytes, _, unmappable) = GB18030.encode(text);
    assert!(!unmappable);
    let (back, malformed) = GB18030.decode_without_bom_handling(&bytes);
    assert!(!malformed);
    back.into_owned()
}

/// An identifier of each rule, spelled plainly.
fn person() -> impl Strategy<Value = (&'static str, String)> {
    let of = |id: &'static str, spelled: &'static str| spelled.prop_map(move |text| (id, text));
    prop_oneof![
        of("cn.mobile/1", "1[3-9][0-9]{9}"),
        of("cn.rid/1", "[1-6][0-9]{5}[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|1[0-9]|2[0-8])[0-8][0-9]{2}"),
        of("cn.uscc/1", "[0-9A-HJ-NP-RTUWXY]{18}"),
        // One that ends in zeros from the 16th digit on, without the Luhn digit, is refused as rounded.
        of("bankcard/1", "[0-9]{11,18}[1-9]"),
        of("wechat/1", "[a-zA-Z][a-zA-Z0-9_-]{5,19}"),
        of("qq/1", "[1-9][0-9]{4,10}"),
        of("email/1", "[a-zA-Z0-9.+]{1,12}@[a-z]{1,8}[.](com|cn|中国)"),
        of("text/1", "[a-zA-Z0-9一-龥]{1,12}"),
        of("cn.name/1", "[一-龥]{2,4}(·[一-龥]{2,4})?"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn resident_ids_are_judged_as_by_cinv(
        region in "[1-9][0-9]{5}",
        date in prop_oneof!["(19|20)[0-9]{2}(0[1-9]|1[0-2])[0-3][0-9]", "[0-9]{8}"],
        sequence in "[0-9]{3}",
    ) {
        for check in "0123456789X".chars() {
            let text = format!("{region}{date}{sequence}{check}");
            prop_assert_eq!(is_accepted_without_remark("cn.rid/1", &text), is_resident_id(&text));
        }
    }

    #[test]
    fn cards_are_judged_as_by_luhn3(body in "[0-9]{11,18}") {
        for check in '0'..='9' {
            let text = format!("{body}{check}");
            prop_assert_eq!(is_accepted_without_remark("bankcard/1", &text), luhn3::valid(text.as_bytes()));
        }
    }

    #[test]
    fn one_check_character_fits_a_credit_code(body in "[0-9A-HJ-NP-RTUWXY]{17}") {
        let mut fitting = 0;
        for check in "0123456789ABCDEFGHJKLMNPQRTUWXY".chars() {
            let text = format!("{body}{check}");
            let (bytes, warning) = canonical("cn.uscc/1", &text).unwrap();
            prop_assert_eq!(warning.is_none(), is_credit_code(&text));
            prop_assert_eq!(bytes, text, "a wrong check character is kept as it is");
            fitting += u32::from(warning.is_none());
        }
        prop_assert_eq!(fitting, 1);
    }

    /// One person, spelled plainly, in full width, with space and invisible marks around, and out of a GB 18030 file.
    #[test]
    fn equal_people_in_other_spellings_and_encodings_give_equal_bytes((id, plain) in person()) {
        let expected = canonical(id, &plain);
        prop_assert!(expected.is_ok(), "{} {:?}", id, expected);
        for spelled in [wide(&plain), format!("\u{3000}{plain}\t"), format!("\u{feff}{plain}\u{200b}")] {
            prop_assert_eq!(&canonical(id, &spelled), &expected, "{}", id);
            prop_assert_eq!(&canonical(id, &through_gb18030(&spelled)), &expected, "{}", id);
        }
    }
}

/// The example of GB 32100, and codes of public bodies.
#[test]
fn issued_credit_codes_fit_the_congruence() {
    for text in ["91350100M000100Y43", "12100000400009880K"] {
        assert!(is_credit_code(text) && is_accepted_without_remark("cn.uscc/1", text));
    }
    assert!(!is_credit_code("91350100M000100Y44"));
}
