//! JSON Lines: one object a row, every cell a string under the name of its column, untouched.
//!
//! A column without a name is called by its number (`column 3`); of two with one name the second is called `name 2`, since
//! an object holds a name once.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
};

use super::Sink;

/// A JSON Lines file in the making.
pub(super) struct JsonLines {
    out: BufWriter<File>,
    /// `{"name":` of the first column, `,"name":` of the others.
    keys: Vec<Vec<u8>>,
    line: Vec<u8>,
}

impl JsonLines {
    pub(super) fn new(file: File, names: &[String]) -> io::Result<Self> {
        let mut keys = Vec::with_capacity(names.len());
        for (index, name) in unique(names).iter().enumerate() {
            let mut key = if index == 0 { b"{".to_vec() } else { b",".to_vec() };
            serde_json::to_writer(&mut key, name)?;
            key.push(b':');
            keys.push(key);
        }
        Ok(Self { out: BufWriter::with_capacity(256 * 1024, file), keys, line: Vec::new() })
    }
}

impl Sink for JsonLines {
    fn row(&mut self, cells: &mut dyn Iterator<Item = &str>) -> io::Result<()> {
        self.line.clear();
        for (key, cell) in self.keys.iter().zip(cells) {
            self.line.extend_from_slice(key);
            serde_json::to_writer(&mut self.line, cell)?;
        }
        self.line.extend_from_slice(b"}\n");
        self.out.write_all(&self.line)
    }

    fn finish(self: Box<Self>) -> io::Result<File> {
        self.out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// The names, each once and none empty.
fn unique(names: &[String]) -> Vec<String> {
    let mut taken: Vec<String> = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let name = if name.is_empty() { format!("column {}", index + 1) } else { name.clone() };
        let mut candidates =
            std::iter::once(name.clone()).chain((2..).map(|number| format!("{name} {number}")));
        let free = candidates.find(|candidate| !taken.contains(candidate));
        taken.extend(free);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(names: &[&str], rows: &[&[&str]]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let mut lines = JsonLines::new(file.reopen().unwrap(), &names).unwrap();
        rows.iter().for_each(|row| lines.row(&mut row.iter().copied()).unwrap());
        Box::new(lines).finish().unwrap();
        std::fs::read_to_string(file.path()).unwrap()
    }

    #[test]
    fn cells_come_out_as_they_are() {
        let text = written(&["手机", "a\"b"], &[&["=1+1", "x\n\"y\"\u{1}"], &["", "007"]]);
        assert_eq!(
            text,
            "{\"手机\":\"=1+1\",\"a\\\"b\":\"x\\n\\\"y\\\"\\u0001\"}\n{\"手机\":\"\",\"a\\\"b\":\"007\"}\n"
        );
        for line in text.lines() {
            assert!(serde_json::from_str::<serde_json::Value>(line).unwrap().is_object());
        }
    }

    #[test]
    fn no_column_hides_another() {
        let text = written(&["a", "", "a", "a 2", "a"], &[&["1", "2", "3", "4", "5"]]);
        assert_eq!(text, "{\"a\":\"1\",\"column 2\":\"2\",\"a 2\":\"3\",\"a 2 2\":\"4\",\"a 3\":\"5\"}\n");
    }
}
