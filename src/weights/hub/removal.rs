//! Taking a model out of the cache.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::Hub;
use super::cache::RepoCache;
use crate::id::ByteSize;
use crate::weights::model_id::ModelId;

/// What the cache holds of one model, all its revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedModel {
    folder: PathBuf,
    locks: PathBuf,
    size: ByteSize,
    revisions: usize,
}

impl CachedModel {
    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it takes on disk.
    pub fn size(&self) -> ByteSize {
        self.size
    }

    /// How many commits of it there are.
    pub fn revisions(&self) -> usize {
        self.revisions
    }

    /// Deletes it. Links are deleted, never followed: what they lead to outside stays.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.folder)?;
        match fs::remove_dir_all(&self.locks) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Hub {
    /// What the cache holds of `id`, whatever its revision, complete or not; `None` where that is nothing.
    ///
    /// # Errors
    ///
    /// For a cache that cannot be read, and for a folder that is a link: what is elsewhere is not the cache's.
    pub fn find_cached(&self, id: &ModelId) -> io::Result<Option<CachedModel>> {
        let (folder, locks) = RepoCache::new(&self.config.cache_dir, id).folders();
        match fs::symlink_metadata(&folder) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                let reason = format!("{} is no folder of the cache's own", folder.display());
                return Err(io::Error::new(ErrorKind::InvalidInput, reason));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let revisions = folders_in(&folder.join("snapshots"))?;
        let size = size_of(&folder)?;
        Ok(Some(CachedModel { folder, locks, size, revisions }))
    }
}

/// How many folders `folder` holds, links aside; none where it is not there.
fn folders_in(folder: &Path) -> io::Result<usize> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut folders = 0;
    for entry in entries {
        folders += usize::from(entry?.file_type()?.is_dir());
    }
    Ok(folders)
}

/// The bytes of all files under `folder`, links aside.
fn size_of(folder: &Path) -> io::Result<ByteSize> {
    let (mut size, mut folders) = (ByteSize::ZERO, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                size = size.saturating_add(ByteSize::new(entry.metadata()?.len()));
            }
        }
    }
    Ok(size)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::weights::HubConfig;

    #[test]
    fn a_model_goes_with_all_its_revisions_and_nothing_else_does() {
        let (cache, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (hub, id) = (Hub::new(HubConfig::new(cache.path())), "org/name".parse::<ModelId>().unwrap());
        assert_eq!(hub.find_cached(&id).unwrap(), None);
        let ours = cache.path().join("models--org--name");
        for folder in ["blobs", "snapshots/aaaaaaa", "snapshots/bbbbbbb"] {
            fs::create_dir_all(ours.join(folder)).unwrap();
        }
        let kept = [cache.path().join("models--org--name2"), cache.path().join(".locks/models--org--name2")];
        let locks = cache.path().join(".locks/models--org--name");
        kept.iter().chain([&locks]).for_each(|folder| fs::create_dir_all(folder).unwrap());
        let precious = outside.path().join("precious");
        fs::write(&precious, "x".repeat(999)).unwrap();
        fs::write(ours.join("blobs/one"), "12345").unwrap();
        symlink("../../blobs/one", ours.join("snapshots/aaaaaaa/config.json")).unwrap();
        symlink(&precious, ours.join("snapshots/aaaaaaa/evil")).unwrap();
        symlink(outside.path(), ours.join("snapshots/evil")).unwrap();
        fs::write(ours.join("snapshots/stray"), "").unwrap();
        let found = hub.find_cached(&"org/name@refs/pr/1".parse().unwrap()).unwrap().unwrap();
        assert_eq!((found.size(), found.folder()), (ByteSize::new(5), ours.as_path()));
        assert_eq!(found.revisions(), 2, "what is no folder of the cache's own is none");
        found.remove().unwrap();
        assert!(!ours.exists() && !locks.exists(), "the model and its locks are gone");
        assert!(precious.exists() && kept.iter().all(|folder| folder.exists()), "all else is there");
    }

    #[test]
    fn a_link_in_the_cache_s_place_is_not_followed() {
        let (cache, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("precious"), "x").unwrap();
        symlink(outside.path(), cache.path().join("models--org--name")).unwrap();
        let hub = Hub::new(HubConfig::new(cache.path()));
        let error = hub.find_cached(&"org/name".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("no folder of the cache's own"), "{error}");
        assert!(outside.path().join("precious").exists());
    }
}
