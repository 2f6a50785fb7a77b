//! The cache on disk, in the layout of `huggingface_hub`:
//!
//! ```text
//! models--org--name/
//!   refs/main                            the commit that main was last seen at
//!   blobs/<etag>                         contents, each once
//!   snapshots/<commit>/config.json  ->   ../../blobs/<etag>
//! .locks/models--org--name/<etag>.lock   held while a blob is written
//! ```
//!
//! Commits and etags come from the server and become file names, so they are [`Commit`] and [`Etag`], which
//! only hold plain ones.

use std::fmt::Write;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use crate::weights::digest::Sha256;
use crate::weights::model_id::ModelId;

/// How often a file that another process holds is looked at.
const POLL: Duration = Duration::from_millis(100);

/// A commit, as a plain file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit(String);

/// The name of a content, as a plain file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Etag(String);

impl Commit {
    pub(super) fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        ((7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit()))
            .then(|| Self(text.to_owned()))
    }
}

impl Etag {
    pub(super) fn new(header: &str) -> Option<Self> {
        let text = header.trim().trim_start_matches("W/").trim_matches('"');
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        ((1..=128).contains(&text.len()) && text.bytes().all(plain)).then(|| Self(text.to_owned()))
    }
}

impl Etag {
    /// The digest it states, if it is one.
    pub(super) fn sha256(&self) -> Option<Sha256> {
        self.0.parse().ok()
    }
}

/// The part of the cache that belongs to one revision of one model.
#[derive(Debug)]
pub(super) struct RepoCache {
    repo: Repo,
    cached: CacheRepo,
    root: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    pub(super) fn new(cache_dir: &Path, id: &ModelId) -> Self {
        let cache = Cache::new(cache_dir.to_owned());
        let repo = Repo::with_revision(id.repo().to_owned(), RepoType::Model, id.revision().to_owned());
        let root = cache_dir.join(repo.folder_name());
        let locks = cache_dir.join(".locks").join(repo.folder_name());
        Self { cached: cache.repo(repo.clone()), repo, root, locks }
    }

    /// What belongs to the model, whatever the revision: its folder, and that of its locks.
    pub(super) fn folders(&self) -> (PathBuf, PathBuf) {
        (self.root.clone(), self.locks.clone())
    }

    /// Paths of the hub's API, under the endpoint.
    pub(super) fn listing_url(&self) -> String {
        format!("api/{}", self.repo.api_url())
    }

    /// The address of one file, each component percent-encoded.
    pub(super) fn file_url(&self, file: &str) -> String {
        format!("{}/resolve/{}/{}", self.repo.url(), self.repo.url_revision(), percent_encoded(file))
    }

    /// The folder of a commit, whether it exists or not.
    pub(super) fn snapshot(&self, commit: &Commit) -> PathBuf {
        self.cached.pointer_path(&commit.0)
    }

    /// The folder that the revision was last seen at, if it is here.
    pub(super) fn cached_snapshot(&self) -> Option<PathBuf> {
        let named = Commit::new(self.repo.revision());
        let seen =
            || Commit::new(&fs::read_to_string(self.root.join("refs").join(self.repo.revision())).ok()?);
        let here = |commit: Commit| Some(self.snapshot(&commit)).filter(|path| path.is_dir());
        named.and_then(here).or_else(|| seen().and_then(here))
    }

    /// Remembers that the revision is at `commit`. Last of all steps, so that it never points to a half.
    pub(super) fn remember(&self, commit: &Commit) -> io::Result<()> {
        if self.repo.revision() == commit.0 { Ok(()) } else { self.cached.create_ref(&commit.0) }
    }

    /// Where the content called `etag` belongs.
    pub(super) fn blob(&self, etag: &Etag) -> PathBuf {
        self.cached.blob_path(&etag.0)
    }

    /// Makes `file` of `commit` the content `etag`. Two callers may do it at once.
    pub(super) fn link(&self, commit: &Commit, file: &str, etag: &Etag) -> io::Result<PathBuf> {
        let link = self.snapshot(commit).join(file);
        fs::create_dir_all(link.parent().unwrap_or(&link))?;
        let depth = 2 + file.matches('/').count();
        let relative = format!("{}blobs/{}", "../".repeat(depth), etag.0);
        let blob = self.blob(etag);
        match link_or_copy(Path::new(&relative), &blob, &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && link.is_file() => {}
            // A link whose blob someone deleted.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&link)?;
                link_or_copy(Path::new(&relative), &blob, &link)?;
            }
            done => done?,
        }
        Ok(link)
    }

    /// Waits for other processes to leave the content `etag` alone; `None` once `progress` has stood still
    /// for `stall`.
    pub(super) fn lock(
        &self,
        etag: &Etag,
        stall: Duration,
        progress: impl Fn() -> u64,
    ) -> io::Result<Option<File>> {
        fs::create_dir_all(&self.locks)?;
        let path = self.locks.join(format!("{}.lock", etag.0));
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        let mut seen = (progress(), Instant::now());
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Some(lock)),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) => {}
            }
            let now = progress();
            if now != seen.0 {
                seen = (now, Instant::now());
            } else if seen.1.elapsed() >= stall {
                return Ok(None);
            }
            std::thread::sleep(POLL.min(stall));
        }
    }
}

#[cfg(unix)]
fn link_or_copy(relative: &Path, _blob: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(relative, link)
}

#[cfg(not(unix))]
fn link_or_copy(_relative: &Path, blob: &Path, link: &Path) -> io::Result<()> {
    fs::hard_link(blob, link).or_else(|_| fs::copy(blob, link).map(drop))
}

fn percent_encoded(file: &str) -> String {
    let mut url = String::with_capacity(file.len());
    for byte in file.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-' | b'~') {
            url.push(byte as char);
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_text_becomes_a_file_name_only_if_plain() {
        assert_eq!(Etag::new("W/\"abc-1\""), Some(Etag("abc-1".into())));
        for hostile in ["", "\"\"", "../../x", "a/b", "a\\b", "a.lock", "a:b", "a\0"] {
            assert_eq!(Etag::new(hostile), None, "{hostile:?} is no etag");
        }
        for hostile in ["", "main", "../../../x", "0123456789abcdefg", &"a".repeat(65)] {
            assert_eq!(Commit::new(hostile), None, "{hostile:?} is no commit");
        }
    }

    #[test]
    fn odd_file_names_are_encoded_in_urls() {
        assert_eq!(percent_encoded("1_Pooling/a b?#%.json"), "1_Pooling/a%20b%3F%23%25.json");
    }
}
