use std::fs;

use super::*;

fn list(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.csv");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn best(text: &str) -> Vec<(String, &'static str, Sure)> {
    let (_folder, path) = list(text);
    let fits = fits(&Spec::of(path, Vec::new())).unwrap();
    let mut seen: Vec<(String, &'static str, Sure)> = Vec::new();
    for fit in fits {
        if seen.last().is_none_or(|(column, ..)| *column != fit.column) {
            seen.push((fit.column, fit.profile, fit.sure));
        }
    }
    seen
}

fn mobile() -> Key {
    Key { columns: vec!["phone".into()], profile: "cn.mobile/1".parse().unwrap() }
}

#[test]
fn the_most_particular_type_that_fits_is_taken() {
    let rows: String = (0..30)
        .map(|row| {
            format!(
                "{row},1390000{row:04},11010519491231002X,6222020000000000000,{row}0001,a{row}@b.example,\n"
            )
        })
        .collect();
    let found = best(&format!("no,a,b,c,d,e,f\n{rows}"));
    let expected = [
        ("a", "cn.mobile/1", Sure::Certain),
        ("b", "cn.rid/1", Sure::Certain),
        ("c", "bankcard/1", Sure::Certain),
        ("d", "qq/1", Sure::Possible),
        ("e", "email/1", Sure::Certain),
    ];
    let expected = expected.map(|(column, profile, sure)| (column.to_owned(), profile, sure));
    // One cell of "d" begins with 0, which no QQ number does: 29 of 30 are enough.
    assert_eq!(found, expected);
}

#[test]
fn names_of_columns_count_where_the_form_says_little() {
    let rows: String = (10..40).map(|row| format!("{row}0001,{row}0001\n")).collect();
    let found = best(&format!("serial,QQ号\n{rows}"));
    let [serial, qq] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((serial.1, serial.2, qq.1, qq.2), ("qq/1", Sure::Possible, "qq/1", Sure::Likely));
}

#[test]
fn few_rows_are_never_certain_and_names_never_stand_alone() {
    let (_folder, path) = list("name,phone\n张三,13900000001\n李四,13900000002\n");
    let fits = fits(&Spec::of(path, Vec::new())).unwrap();
    assert!(fits.iter().any(|fit| fit.profile == "cn.name/1"));
    let guessed = guess(&fits, Sure::Likely).unwrap();
    assert_eq!(
        (guessed.column.as_str(), guessed.profile, guessed.sure),
        ("phone", "cn.mobile/1", Sure::Likely)
    );
}

#[test]
fn nothing_is_guessed_from_notes() {
    let (_folder, path) = list("note,amount\nforged statement,12.50\nseen twice,3.00\n");
    assert_eq!(guess(&fits(&Spec::of(path, Vec::new())).unwrap(), Sure::Likely), None);
}

#[test]
fn what_a_run_would_leave_out_is_counted_by_reason_and_nothing_is_shown_in_clear() {
    let (_folder, path) = list("phone\n13900000001\n139\n+86 139 0000 0001\n138\n\"\"\n13912345678\n");
    let checked = check(&Spec::of(path, vec!["phone".into()]), &mobile(), false, None).unwrap();
    assert_eq!((checked.rows, checked.rejected, checked.duplicates, checked.items), (6, 3, 1, 2));
    let reasons: Vec<_> =
        checked.reasons.iter().map(|reason| (reason.reason, reason.count, &reason.lines[..])).collect();
    assert_eq!(reasons, [("bad-length", 2, &[3, 5][..]), ("empty", 1, &[6])]);
    assert_eq!(checked.preview, ["139****0001", "139****5678"]);
    assert!(!serde_json::to_string(&checked).unwrap().contains("13912345678"));
}

#[test]
fn rejects_go_into_a_file_when_there_are_any() {
    let (folder, path) = list("phone,note\n13900000001,a\n139,b\n");
    let spec = Spec::of(&path, vec!["phone".into()]);
    let target = folder.path().join("rejects.csv");
    assert_eq!(check(&spec, &mobile(), false, Some(&target)).unwrap().rejected, 1);
    let text = fs::read_to_string(&target).unwrap();
    assert_eq!(text.lines().nth(1).unwrap(), "3,phone,\"wrong length: expected 11 digits, got 3\",139,b");
    let there = check(&spec, &mobile(), false, Some(&target)).unwrap_err();
    assert!(matches!(there, OutputError::Exists { .. }), "nothing is written over a file");
    fs::remove_file(&target).unwrap();
    fs::write(&path, "phone,note\n13900000001,a\n").unwrap();
    check(&spec, &mobile(), false, Some(&target)).unwrap();
    assert!(!target.exists(), "no rejects, no file");
    fs::write(&path, "phone,note\n1,a\n2,b\n").unwrap();
    assert!(check(&spec, &mobile(), false, Some(&target)).is_err(), "nothing to look at");
    assert_eq!(fs::read_to_string(&target).unwrap().lines().count(), 3, "but the rejects are there");
}
