//! What a key reaches and may do, as it is configured, and the rules of that.

use std::collections::BTreeSet;

use super::settings::Right;
use crate::domain::query::AppScope;
use crate::domain::{AppId, TenantId};

/// Apps of one key: a question names them all.
const MOST_APPS: usize = 1000;

/// See the module.
pub(super) struct Reach<'s> {
    /// What errors name: the setting and whose it is.
    pub place: String,
    pub tenants: &'s [String],
    pub admin: bool,
    /// `None`: every app of its tenants.
    pub apps: Option<&'s [String]>,
    pub rights: &'s [Right],
}

impl Reach<'_> {
    pub(super) fn tenant_ids(&self) -> Result<Vec<TenantId>, String> {
        let parse = |text: &String| text.parse().map_err(|error| format!("{}: tenants: {error}", self.place));
        self.tenants.iter().map(parse).collect()
    }

    pub(super) fn scope(&self) -> Result<AppScope, String> {
        let Some(apps) = self.apps else { return Ok(AppScope::ALL) };
        let broken = |problem: &str| Err(format!("{}: apps: {problem}", self.place));
        if apps.len() > MOST_APPS {
            return broken("at most 1000; leave apps out for every app of the tenants");
        }
        let mut ids = BTreeSet::new();
        for text in apps {
            let id: AppId = text.parse().map_err(|error| format!("{}: apps: {error}", self.place))?;
            if !ids.insert(id) {
                return broken(&format!("{id} is there twice; name each app once"));
            }
        }
        match AppScope::only(ids) {
            Some(_) if self.admin => {
                broken("with admin = true, which reaches every app; name its tenants in the place of admin")
            }
            Some(scope) => Ok(scope),
            None => broken("the list is empty; name the apps, or leave apps out for every app of the tenants"),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let broken = |problem: &str| Err(format!("{}: {problem}", self.place));
        let tenants = self.tenant_ids()?;
        self.scope()?;
        match (self.admin, tenants.is_empty()) {
            (true, false) => broken("admin reaches every tenant; leave tenants out"),
            (false, true) => broken("name its tenants, or set admin = true"),
            _ if self.rights.is_empty() => broken("rights: at least one of read, delete, operate, reveal"),
            (false, _) if self.rights.contains(&Right::Operate) => {
                broken("operate is about the letters of every tenant: set admin = true")
            }
            _ => Ok(()),
        }
    }
}
