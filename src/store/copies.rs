//! The port to copies of whole months: what a backup is made of. A copy is complete or not there; what it is for, which
//! copies belong together and which are no longer needed is decided elsewhere.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;

use super::{LogReader, StoreError};
use crate::domain::{Month, Timestamp};

/// Names a copy: the month, and the backup that made it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CopyName {
    pub month: Month,
    pub backup: BackupId,
}

/// Names a backup by the UTC second in which it began, such as `20261125t093000z`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackupId(String);

/// Where a month stands. Two equal marks of a month: nothing was written into it in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark(pub String);

/// Names the place of manifests for which a copy was made: copies of several such places may lie beside each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultId(pub String);

/// A copy that can be read; [`MonthCopies::close`] ends it.
pub struct OpenedCopy {
    pub name: CopyName,
    pub reader: Box<dyn LogReader>,
    /// Where it was put to be read, in the store's own words.
    pub place: String,
    /// The files or indices that it is read from.
    pub parts: BTreeSet<String>,
}

/// A month of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthState {
    pub month: Month,
    /// `None`: it cannot be told whether something is being written right now.
    pub mark: Option<Mark>,
}

/// Makes copies of months, and months of copies. Writing and reading go on meanwhile.
#[async_trait]
pub trait MonthCopies: Send + Sync {
    /// Checks that copies can be made and read here, and prepares what they need (a folder, a repository).
    ///
    /// # Errors
    /// [`StoreError`] with what to do. So for every method here.
    async fn prepare(&self) -> Result<(), StoreError>;

    /// Returns the months that the store has, oldest first.
    async fn months(&self) -> Result<Vec<MonthState>, StoreError>;

    /// Copies a month, each of its files or shards as it is at one moment; complete and durable when it answers. `false`:
    /// the store has no such month, and no copy was made. `vault`: for whom.
    async fn copy(&self, name: &CopyName, vault: &VaultId) -> Result<bool, StoreError>;

    /// Returns the copies there are, complete or not, of this store.
    async fn copies(&self) -> Result<Vec<CopyName>, StoreError>;

    /// Returns whether a copy was made for this vault; `false` also where that is not known.
    async fn is_of(&self, name: &CopyName, vault: &VaultId) -> Result<bool, StoreError>;

    /// Opens a copy to be read, by any number of processes at once. Also removes what a process that died a day ago left of
    /// its own.
    async fn open(&self, name: &CopyName) -> Result<OpenedCopy, StoreError>;

    /// Removes what [`Self::open`] needed. It fails if a part of the copy went meanwhile: what was read may have gaps.
    async fn close(&self, copy: OpenedCopy) -> Result<(), StoreError>;

    /// Makes the place into which months are restored where it is not there, so that difylog's own state can be kept.
    async fn begin_restore(&self) -> Result<(), StoreError>;

    /// Makes a month of the store out of a copy. The store must not have the month.
    async fn restore(&self, name: &CopyName) -> Result<(), StoreError>;

    /// Goes on with a [`Self::restore`] that was cut off: what is there of the month stays as it is.
    async fn resume(&self, name: &CopyName) -> Result<(), StoreError>;

    /// Removes a copy, if it is there.
    async fn delete(&self, name: &CopyName) -> Result<(), StoreError>;
}

impl BackupId {
    /// Returns the name of the backup that begins at an instant.
    #[must_use]
    pub fn at(began: Timestamp) -> Self {
        let text = began.to_string().to_lowercase();
        let second = text.chars().take("2026-11-25t09:30:00".len());
        Self(second.filter(|c| !matches!(c, '-' | ':')).chain(['z']).collect())
    }
}

/// A text that is no name of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a backup (such as 20261125t093000z): `difylog backup list` shows them")]
pub struct InvalidBackupId;

impl FromStr for BackupId {
    type Err = InvalidBackupId;

    fn from_str(text: &str) -> Result<Self, InvalidBackupId> {
        let shape = |(index, byte): (usize, u8)| match index {
            8 => byte == b't',
            15 => byte == b'z',
            _ => byte.is_ascii_digit(),
        };
        if text.len() == 16 && text.bytes().enumerate().all(shape) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidBackupId)
        }
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for CopyName {
    /// `2026-11-20261125t093000z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.month, self.backup)
    }
}

impl FromStr for CopyName {
    type Err = InvalidBackupId;

    fn from_str(text: &str) -> Result<Self, InvalidBackupId> {
        let (month, backup) = text.rsplit_once('-').ok_or(InvalidBackupId)?;
        let name = Self { month: month.parse().map_err(|_| InvalidBackupId)?, backup: backup.parse()? };
        // `2026.11` is a month too, but no name of ours.
        if name.to_string() == text { Ok(name) } else { Err(InvalidBackupId) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_back() {
        let name: CopyName = "2026-11-20261125t093000z".parse().unwrap();
        assert_eq!(
            (name.month.to_string().as_str(), name.backup.to_string().as_str()),
            ("2026-11", "20261125t093000z")
        );
        for wrong in ["", "2026-11", "2026.11-20261125t093000z", "2026-11-20261125T093000Z", "2026-11-2026é125t09300z"]
        {
            assert!(wrong.parse::<CopyName>().is_err(), "{wrong}");
        }
        assert!("../../etc/passwd".parse::<BackupId>().is_err());
        let began = "2026-11-25T09:30:00.729072Z".parse().unwrap();
        assert_eq!(BackupId::at(began), name.backup);
    }
}
