//! Which version of Dify stands behind the bridge, where the shape of an answer depends on it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::answer::PassOnReason;
use super::upstream::{Credentials, Upstream};

/// A path that everybody may ask, and that asks nothing of Dify's servers.
const PATH: &str = "/health";
/// Each of Dify's answers has its version.
pub(super) const HEADER: &str = "x-version";
/// How long a version is believed: so long answers may keep the old shape after Dify was upgraded.
const AGE: Duration = Duration::from_secs(60);

/// Major and minor number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u16, u16);

impl Version {
    /// From this one on the service API answers a run's outputs as an object, and not as the text of the column.
    pub(super) const OUTPUTS_ARE_AN_OBJECT: Self = Self(1, 13);

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        Some(Self(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}

/// Asks Dify for its version, and remembers it for a moment.
pub(super) struct Versions {
    dify: Upstream,
    known: Mutex<Option<(Instant, Version)>>,
}

impl Versions {
    pub(super) const fn new(dify: Upstream) -> Self {
        Self { dify, known: Mutex::new(None) }
    }

    /// Returns the version of the Dify behind the bridge.
    ///
    /// # Errors
    /// [`PassOnReason`] where Dify should answer, because it does not tell.
    pub(super) async fn current(&self) -> Result<Version, PassOnReason> {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, version)) = known
            && Instant::now() < until
        {
            return Ok(version);
        }
        let raw = self.dify.get(PATH, &Credentials::none()).await?;
        let version = raw.headers.get(HEADER).and_then(|value| value.to_str().ok()).and_then(Version::parse);
        let version = version.ok_or(PassOnReason::Dify("Dify does not tell its version"))?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now() + AGE, version));
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (text, is_object) in
            [("1.10.1", false), ("1.9", false), ("1.13.0", true), ("1.13.1-fix1", true), ("2.0.0", true)]
        {
            let version = Version::parse(text).unwrap();
            assert_eq!(version >= Version::OUTPUTS_ARE_AN_OBJECT, is_object, "{text}");
        }
        for text in ["", "1", "nightly", "1.x", "v1.13.0"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
