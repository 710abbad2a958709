//! Which apps of a tenant a question may be about.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::AppId;

/// The apps of a tenant whose records a question may see, whatever it asks for. The default holds every app. A scope of no
/// app cannot be made: an empty list of ids is no demand to a store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppScope(Option<Arc<BTreeSet<AppId>>>);

impl AppScope {
    /// Every app.
    pub const ALL: Self = Self(None);

    /// Returns the scope of these apps alone; `None` of an empty set.
    #[must_use]
    pub fn only(apps: BTreeSet<AppId>) -> Option<Self> {
        (!apps.is_empty()).then(|| Self(Some(Arc::new(apps))))
    }

    /// Returns the apps in ascending order; `None`: every one.
    #[must_use]
    pub fn apps(&self) -> Option<&BTreeSet<AppId>> {
        self.0.as_deref()
    }

    /// Returns whether records of an app may be seen.
    #[must_use]
    pub fn holds(&self, app_id: AppId) -> bool {
        self.0.as_ref().is_none_or(|apps| apps.contains(&app_id))
    }

    /// Returns the apps that a question must still be held to which names `asked`; none where that one is in the scope.
    pub(super) fn beside(&self, asked: Option<AppId>) -> Option<&BTreeSet<AppId>> {
        self.apps().filter(|apps| asked.is_none_or(|asked| !apps.contains(&asked)))
    }
}
