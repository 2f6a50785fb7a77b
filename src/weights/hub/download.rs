//! One file from the hub into the cache.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::cache::{Commit, Etag, RepoCache};
use super::config::HubConfig;
use super::error::HubError;
use super::http::{Answer, Http};
use super::{DownloadProgress, with_retries};
use crate::id::ByteSize;
use crate::weights::digest::Sha256;

const BUFFER: usize = 128 * 1024;

/// One file of one commit, and where it goes.
pub(super) struct Download<'a> {
    pub(super) http: &'a Http,
    pub(super) config: &'a HubConfig,
    pub(super) cache: &'a RepoCache,
    pub(super) commit: &'a Commit,
    pub(super) model: &'a str,
    pub(super) file: &'a str,
    pub(super) progress: &'a dyn DownloadProgress,
}

impl Download<'_> {
    /// The file's place in the snapshot, downloaded into it unless it is there.
    pub(super) fn run(&self) -> Result<PathBuf, HubError> {
        let place = self.cache.snapshot(self.commit).join(self.file);
        if place.is_file() {
            return Ok(place);
        }
        with_retries(&self.config.retry, || self.attempt())
    }

    /// 1. Ask for the file; the answer's headers name its content.
    /// 2. Take the lock of that content. If it is there by now, go to 5.
    /// 3. Complete the partial file and check its digest.
    /// 4. Move it to its name.
    /// 5. Link it into the snapshot.
    fn attempt(&self) -> Result<PathBuf, HubError> {
        let what = self.what();
        let disk = HubError::disk(&what);
        let answer = self.http.get(&self.cache.file_url(self.file), 0, &what)?; // 1
        let (etag, size) = self.describe(&answer)?;
        let blob = self.cache.blob(&etag);
        let partial = blob.with_extension("incomplete");
        fs::create_dir_all(blob.parent().unwrap_or(&blob)).map_err(&disk)?;
        let held = self.cache.lock(&etag, self.config.stall_timeout, || len(&partial)).map_err(&disk)?; // 2
        let Some(_held) = held else { return Err(HubError::Locked { what: self.what() }) };
        if !blob.is_file() {
            self.complete(&partial, &etag, size, answer)?; // 3
            self.verify(&partial, &etag)?;
            fs::rename(&partial, &blob).map_err(&disk)?; // 4
        }
        self.cache.link(self.commit, self.file, &etag).map_err(&disk) // 5
    }

    fn describe(&self, answer: &Answer) -> Result<(Etag, u64), HubError> {
        // Files of two commits in one snapshot would be a model that never existed.
        if let Some(commit) = &answer.commit
            && Commit::new(commit).as_ref() != Some(self.commit)
        {
            return Err(HubError::Moved { model: self.model.to_owned() });
        }
        let etag =
            answer.etag.as_deref().and_then(Etag::new).ok_or_else(|| self.refuse("it has no usable etag"))?;
        let (_, sent) = answer.extent().ok_or_else(|| self.refuse("it is a part that does not say which"))?;
        match (answer.linked_size, sent) {
            (Some(linked), Some(sent)) if linked != sent => Err(self.refuse("its two lengths differ")),
            (Some(size), _) | (None, Some(size)) => Ok((etag, size)),
            (None, None) => Err(self.refuse("it has no length")),
        }
    }

    /// Brings the partial file to `size` bytes, from where an earlier attempt left it if the host can.
    fn complete(&self, partial: &Path, etag: &Etag, size: u64, answer: Answer) -> Result<(), HubError> {
        let what = self.what();
        let disk = HubError::disk(&what);
        let file = OpenOptions::new().create(true).append(true).open(partial).map_err(&disk)?;
        let mut have = file.metadata().map_err(&disk)?.len();
        self.progress.started(self.file, ByteSize::new(size));
        self.progress.advanced(self.file, ByteSize::new(have.min(size)));
        let answer = match have {
            0 => answer,
            _ if have < size => {
                drop(answer);
                self.resume(have, etag, size)?
            }
            _ if have == size => return self.finish(&file, have, size),
            _ => answer,
        };
        match answer.extent() {
            Some((start, _)) if start == have => {}
            Some((0, _)) => {
                have = 0;
                file.set_len(0).map_err(&disk)?;
            }
            _ => return Err(self.refuse("it is not the part that was asked for")),
        }
        let mut body = answer.into_reader().take(size - have);
        have = self.copy(&mut body, &file, have)?;
        self.finish(&file, have, size)
    }

    /// The rest of the file from byte `have` on; the whole file where the host cannot begin in the middle.
    fn resume(&self, have: u64, etag: &Etag, size: u64) -> Result<Answer, HubError> {
        let (url, what) = (self.cache.file_url(self.file), self.what());
        let answer = match self.http.get(&url, have, &what) {
            Err(HubError::Status { status: 416, .. }) => self.http.get(&url, 0, &what)?,
            answer => answer?,
        };
        let (same_etag, same_size) = self.describe(&answer)?;
        let same = same_etag == *etag && same_size == size;
        if same { Ok(answer) } else { Err(HubError::Moved { model: self.model.to_owned() }) }
    }

    /// Copies `body` to the end of `file`, which has `have` bytes; returns how many it has then.
    fn copy(&self, body: &mut impl Read, mut file: &File, mut have: u64) -> Result<u64, HubError> {
        let what = self.what();
        let mut buffer = vec![0; BUFFER];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => return Ok(have),
                Ok(n) => {
                    file.write_all(&buffer[..n]).map_err(HubError::disk(&what))?;
                    have += n as u64;
                    self.progress.advanced(self.file, ByteSize::new(have));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The body was cut: what there is of it stays for the next attempt.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(have),
                Err(error) => {
                    let detail = error.kind().to_string();
                    return Err(HubError::Network { what, attempts: 1, detail });
                }
            }
        }
    }

    fn finish(&self, file: &File, have: u64, size: u64) -> Result<(), HubError> {
        if have < size {
            return Err(HubError::Truncated { what: self.what(), got: have, expected: size });
        }
        file.sync_all().map_err(HubError::disk(&self.what()))?;
        self.progress.finished(self.file);
        Ok(())
    }

    /// Checks the content against its etag where that is a digest (large files; small ones carry git's). What
    /// fails is deleted: neither continuing nor keeping it can help.
    fn verify(&self, partial: &Path, etag: &Etag) -> Result<(), HubError> {
        let what = self.what();
        let disk = HubError::disk(&what);
        let Some(announced) = etag.sha256() else { return Ok(()) };
        if Sha256::of_file(partial).map_err(&disk)? == announced {
            return Ok(());
        }
        fs::remove_file(partial).map_err(&disk)?;
        Err(HubError::Corrupt { what: self.what() })
    }

    fn refuse(&self, detail: &'static str) -> HubError {
        HubError::BadReply { what: self.what(), detail }
    }

    fn what(&self) -> String {
        format!("{}/{}", self.model, self.file)
    }
}

fn len(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}
