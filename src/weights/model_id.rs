//! `org/name[@revision]`: a model on a hub.

use std::fmt;
use std::str::FromStr;

use super::plain_name::is_device;

const MAX_PART: usize = 96;

/// A model on a hub, and the revision of it that is meant.
///
/// Only well-formed ids exist: every part can be put into a URL and a path as it is.
///
/// ```
/// use millpond::weights::ModelId;
/// let id: ModelId = "sentence-transformers/all-MiniLM-L6-v2@refs/pr/21".parse().unwrap();
/// assert_eq!((id.name(), id.revision()), ("all-MiniLM-L6-v2", "refs/pr/21"));
/// assert!("../../etc/passwd".parse::<ModelId>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelId {
    repo: String,
    slash: usize,
    revision: Option<String>,
}

/// A text that is no [`ModelId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{id:?} is no model id: {reason}; write org/name or org/name@revision, or the path of a local folder"
)]
pub struct InvalidModelId {
    /// The start of what was given.
    pub id: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl ModelId {
    /// `org/name`.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// Who publishes it.
    pub fn org(&self) -> &str {
        &self.repo[..self.slash]
    }

    /// Its name at the publisher.
    pub fn name(&self) -> &str {
        &self.repo[self.slash + 1..]
    }

    /// The branch, tag or commit; `main` if none was given.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.revision {
            Some(revision) => write!(f, "{}@{revision}", self.repo),
            None => f.write_str(&self.repo),
        }
    }
}

impl FromStr for ModelId {
    type Err = InvalidModelId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason| InvalidModelId { id: text.chars().take(MAX_PART).collect(), reason };
        let (repo, revision) = match text.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision)),
            None => (text, None),
        };
        let (org, name) = repo.split_once('/').ok_or_else(|| refuse("it has no '/'"))?;
        for part in [org, name] {
            check_part(part).map_err(refuse)?;
            // The cache joins org and name with "--": two ids must not share a folder.
            if part.contains("--") {
                return Err(refuse("a part contains '--'"));
            }
        }
        if let Some(revision) = revision {
            if revision.len() > 2 * MAX_PART {
                return Err(refuse("its revision is too long"));
            }
            revision.split('/').try_for_each(check_part).map_err(refuse)?;
        }
        Ok(Self { repo: repo.to_owned(), slash: org.len(), revision: revision.map(str::to_owned) })
    }
}

fn check_part(part: &str) -> Result<(), &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    match part {
        "" => Err("a part is empty"),
        _ if part.len() > MAX_PART => Err("a part is longer than 96 characters"),
        _ if !part.bytes().all(allowed) => {
            Err("a part holds something else than letters, digits, '.', '_' and '-'")
        }
        _ if part.starts_with(['.', '-']) => Err("a part starts with '.' or '-'"),
        _ if part.ends_with('.') => Err("a part ends with '.'"),
        _ if part.contains("..") => Err("a part contains '..'"),
        _ if is_device(part) => Err("a part is the name of a Windows device"),
        _ => Ok(()),
    }
}
