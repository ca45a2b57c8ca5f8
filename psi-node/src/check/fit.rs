//! Which type of identifier fits which column, judged by a sample of rows and by the columns' names.
//!
//! An 11-digit mobile number is also a QQ number, a bank card may be any 12 digits, and everything is text. So of the types
//! that fit, the most particular one counts: one whose form says much (check digit, date, first digits) before one that any
//! number or word has.

use std::collections::BTreeMap;

use psi_core::identifier::Rule;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::input::{self, InputError, Spec};

/// Rows that are looked at.
const SAMPLE: u32 = 1000;
/// Filled cells below which nothing is certain.
const ENOUGH: u32 = 20;

/// What the form of a type says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// That it is this type: a check digit, a date, a domain, what it begins with.
    Own,
    /// That it may be: numbers and words have it as well.
    Common,
    /// Nothing: any text has it.
    Any,
}

/// The types, the most particular first, and what their columns are called.
const TYPES: [(&str, Form, &[&str]); 8] = [
    ("cn.rid/1", Form::Own, &["身份证", "证件", "idcard", "id_card", "id_no", "resident"]),
    ("cn.uscc/1", Form::Own, &["信用代码", "uscc"]),
    ("cn.mobile/1", Form::Own, &["手机", "电话", "phone", "mobile", "tel"]),
    ("bankcard/1", Form::Own, &["卡号", "银行卡", "账号", "card"]),
    ("email/1", Form::Own, &["邮箱", "mail"]),
    ("qq/1", Form::Common, &["qq"]),
    ("wechat/1", Form::Common, &["微信", "wechat", "weixin"]),
    ("cn.name/1", Form::Any, &["姓名", "name"]),
];

/// How well a type fits a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// The column.
    pub column: String,
    /// The type.
    pub profile: &'static str,
    /// Cells of the sample that are not empty.
    pub filled: u32,
    /// How many of them the type accepts.
    pub accepted: u32,
    /// How sure that is.
    pub sure: Sure,
}

/// How sure a guess is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sure {
    /// The form fits, and so would that of other things.
    Possible,
    /// Most cells have a form of the type's own, or the column is called so.
    Likely,
    /// Nearly all of many cells have a form of the type's own.
    Certain,
}

/// The types that fit the columns of the list, the best first for each column; of all columns if the spec wants none.
///
/// # Errors
/// As [`input::open`] and [`Source::row`](input::Source::row).
pub fn fits(spec: &Spec) -> Result<Vec<Fit>, InputError> {
    let mut source = input::open(spec, None)?;
    let wanted = !spec.columns.is_empty();
    let names = if wanted { spec.columns.clone() } else { source.columns().to_vec() };
    let mut columns: Vec<Column> = names.into_iter().map(Column::new).collect();
    for _ in 0..SAMPLE {
        let Some(row) = source.row()? else { break };
        let Ok(cells) = row.cells else { continue };
        if wanted {
            for (place, column) in columns.iter_mut().enumerate() {
                cells.get(place).into_iter().for_each(|cell| column.see(&cell));
            }
        } else {
            let mut place = columns.iter_mut();
            source.cells(&mut |cell| place.next().into_iter().for_each(|column| column.see(cell)))?;
        }
    }
    Ok(columns.iter().flat_map(Column::fits).collect())
}

/// The fit to take where nobody named column and type: the surest that can stand alone, if it is as sure as that.
pub fn guess(fits: &[Fit], least: Sure) -> Option<&Fit> {
    let alone = |fit: &&Fit| fit.sure >= least && Rule::find(fit.profile).is_some_and(Rule::stands_alone);
    // Of equals the first is taken: that is why the order is turned around.
    fits.iter().filter(alone).rev().max_by_key(|fit| (fit.sure, fit.accepted))
}

/// What the sample says of a column.
struct Column {
    name: String,
    filled: u32,
    /// By type: cells accepted, and of them those without a remark.
    seen: BTreeMap<&'static str, (u32, u32)>,
}

impl Column {
    fn new(name: String) -> Self {
        Self { name, filled: 0, seen: BTreeMap::new() }
    }

    fn see(&mut self, cell: &str) {
        if cell.trim().is_empty() {
            return;
        }
        self.filled += 1;
        let mut canonical = Zeroizing::new(Vec::with_capacity(64));
        for rule in Rule::all() {
            if let Ok(remark) = rule.canonicalise(cell, &mut canonical) {
                let (accepted, clean) = self.seen.entry(rule.id()).or_default();
                *accepted += 1;
                *clean += u32::from(remark.is_none());
            }
        }
    }

    fn fits(&self) -> Vec<Fit> {
        let mut fits: Vec<Fit> = TYPES.iter().filter_map(|kind| self.fit(kind)).collect();
        // The sort is stable: the more particular type stays in front.
        fits.sort_by_key(|fit| std::cmp::Reverse(fit.sure));
        fits
    }

    fn fit(&self, (profile, form, names): &(&'static str, Form, &[&str])) -> Option<Fit> {
        let (accepted, clean) = self.seen.get(profile).copied()?;
        let share = |count: u32| f64::from(count) / f64::from(self.filled);
        let called = self.name.to_lowercase();
        let named = names.iter().any(|name| called.contains(name));
        let sure = match (form, share(clean)) {
            (Form::Own, 0.98..) if self.filled >= ENOUGH => Sure::Certain,
            (Form::Own, 0.8..) => Sure::Likely,
            _ if named && share(accepted) >= 0.5 => Sure::Likely,
            (Form::Own | Form::Common, _) if share(accepted) >= 0.8 => Sure::Possible,
            _ => return None,
        };
        Some(Fit { column: self.name.clone(), profile, filled: self.filled, accepted, sure })
    }
}
