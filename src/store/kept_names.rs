//! Names of a tenant as they were when they were carried into the store: an entry of its state for each tenant.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::TenantId;

/// What every key begins with.
pub const PREFIX: &str = "names/";

/// An app by its name, mode and icon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptApp {
    pub name: Box<str>,
    pub mode: Box<str>,
    /// A character or its name; `None` where the icon is a picture.
    pub icon: Option<Box<str>>,
}

/// An account that is or was a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAccount {
    pub name: Box<str>,
    pub email: Box<str>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeptNames {
    pub workspace: Option<Box<str>>,
    pub apps: BTreeMap<Uuid, KeptApp>,
    pub accounts: BTreeMap<Uuid, KeptAccount>,
}

impl KeptNames {
    /// Returns the key of a tenant's entry.
    #[must_use]
    pub fn key(tenant_id: TenantId) -> String {
        format!("{PREFIX}{tenant_id}")
    }

    /// Takes over what Dify says now. What Dify no longer has keeps its name: the records of a deleted app stay.
    pub fn renew(&mut self, now: Self) {
        self.workspace = now.workspace.or_else(|| self.workspace.take());
        self.apps.extend(now.apps);
        self.accounts.extend(now.accounts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> KeptApp {
        KeptApp { name: name.into(), mode: "workflow".into(), icon: None }
    }

    #[test]
    fn a_deleted_app_keeps_its_name_and_another_takes_its_new_one() {
        let id = Uuid::from_u128;
        let mut kept = KeptNames { workspace: Some("a".into()), ..KeptNames::default() };
        kept.apps = [(id(1), app("deleted")), (id(2), app("old"))].into();
        let now = KeptNames { apps: [(id(2), app("new"))].into(), ..KeptNames::default() };
        kept.renew(now);
        assert_eq!(kept.workspace.as_deref(), Some("a"));
        assert_eq!(kept.apps, [(id(1), app("deleted")), (id(2), app("new"))].into());
    }

    #[test]
    fn an_entry_is_what_it_was_written_as() {
        let mut kept = KeptNames { workspace: Some("a".into()), ..KeptNames::default() };
        kept.apps.insert(Uuid::from_u128(1), app("a"));
        kept.accounts.insert(Uuid::from_u128(2), KeptAccount { name: "n".into(), email: "n@x".into() });
        let value = serde_json::to_value(&kept).unwrap();
        assert_eq!(serde_json::from_value::<KeptNames>(value).unwrap(), kept);
        assert_eq!(serde_json::from_str::<KeptNames>("{}").unwrap(), KeptNames::default());
    }
}
