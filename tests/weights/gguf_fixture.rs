//! Small GGUF files, honest and not.

use std::path::PathBuf;

use millpond::weights::GgufFile;
use tempfile::TempDir;

/// A file of `tests/fixtures/gguf`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf").join(name)
}

/// What a file is written from. Nothing is checked: the counts and everything else may lie.
#[derive(Clone)]
pub(crate) struct Written {
    pub(crate) start: Vec<u8>,
    pub(crate) keys: Vec<(String, Vec<u8>)>,
    pub(crate) tensors: Vec<Vec<u8>>,
    pub(crate) counts: Option<(u64, u64)>,
    pub(crate) alignment: usize,
    pub(crate) data: Vec<u8>,
}

impl Default for Written {
    fn default() -> Self {
        let start = [b"GGUF".as_slice(), &3u32.to_le_bytes()].concat();
        Self { start, keys: Vec::new(), tensors: Vec::new(), counts: None, alignment: 32, data: Vec::new() }
    }
}

impl Written {
    pub(crate) fn key(mut self, key: &str, value: Vec<u8>) -> Self {
        self.keys.push((key.to_owned(), value));
        self
    }

    /// Dimensions innermost first, as the file has them.
    pub(crate) fn tensor(mut self, name: &str, dims: &[u64], code: u32, offset: u64) -> Self {
        let mut entry = bytes_of(name);
        entry.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|dim| entry.extend(dim.to_le_bytes()));
        entry.extend(code.to_le_bytes());
        entry.extend(offset.to_le_bytes());
        self.tensors.push(entry);
        self
    }

    pub(crate) fn data(mut self, bytes: usize) -> Self {
        self.data = vec![0; bytes];
        self
    }

    pub(crate) fn counts(mut self, tensors: u64, keys: u64) -> Self {
        self.counts = Some((tensors, keys));
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let honest = (self.tensors.len() as u64, self.keys.len() as u64);
        let (tensors, keys) = self.counts.unwrap_or(honest);
        let mut file = self.start.clone();
        file.extend(tensors.to_le_bytes());
        file.extend(keys.to_le_bytes());
        for (key, value) in &self.keys {
            file.extend(bytes_of(key));
            file.extend(value);
        }
        self.tensors.iter().for_each(|entry| file.extend(entry));
        file.resize(file.len().next_multiple_of(self.alignment), 0);
        file.extend(&self.data);
        file
    }

    pub(crate) fn open(&self) -> (TempDir, GgufFile) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, self.bytes()).unwrap();
        let file = GgufFile::open(&path).unwrap();
        (folder, file)
    }
}

/// A text as the file has it: its length first.
pub(crate) fn bytes_of(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [8u32.to_le_bytes().to_vec(), bytes_of(text)].concat()
}

pub(crate) fn u32_value(n: u32) -> Vec<u8> {
    [4u32.to_le_bytes(), n.to_le_bytes()].concat()
}

pub(crate) fn bool_value(n: u8) -> Vec<u8> {
    [&7u32.to_le_bytes()[..], &[n]].concat()
}

/// The start of a list of `count` values of the type `code`.
pub(crate) fn list(code: u32, count: u64) -> Vec<u8> {
    [&9u32.to_le_bytes()[..], &code.to_le_bytes(), &count.to_le_bytes()].concat()
}

pub(crate) fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let texts: Vec<Vec<u8>> = texts.into_iter().map(bytes_of).collect();
    [list(8, texts.len() as u64), texts.concat()].concat()
}

pub(crate) fn i32_list(numbers: &[i32]) -> Vec<u8> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    [list(5, numbers.len() as u64), bytes].concat()
}

pub(crate) fn f32_list(numbers: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    [list(6, numbers.len() as u64), bytes].concat()
}
