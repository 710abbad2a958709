//! Names of workspaces, apps and accounts, carried from Dify's PostgreSQL into the store's state, so that an archive without PostgreSQL
//! still has them.

use std::collections::BTreeMap;

use super::LifeError;
use crate::domain::TenantId;
use crate::postgres::{Client, Database, names, people};
use crate::store::kept_names::{KeptAccount, KeptApp, KeptNames};
use crate::store::{StateStore, StoreError};

/// Workspaces of one question.
const PAGE: usize = 500;
/// Tries to write an entry that others write as well.
const TRIES: usize = 5;

/// What was carried over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CarriedNames {
    pub workspaces: u64,
    pub apps: u64,
    pub accounts: u64,
    /// Workspaces of which something was new.
    pub renewed: u64,
}

/// Carries over the names of these tenants, or of all if there are none. Returns how many there are. Names of what Dify has
/// deleted stay as they were. It may be repeated at any time, and run beside itself.
///
/// # Errors
/// [`LifeError`] if either side cannot be used; what was carried over until then stays.
pub async fn carry(
    database: &Database,
    state: &dyn StateStore,
    tenants: &[TenantId],
) -> Result<CarriedNames, LifeError> {
    let client = database.client().await?;
    let only: Vec<_> = tenants.iter().map(|id| id.uuid()).collect();
    let (mut carried, mut after) = (CarriedNames::default(), None);
    loop {
        let page = names::workspaces_after(&client, after, &only, i64::try_from(PAGE).unwrap_or(i64::MAX)).await?;
        let is_last = page.len() < PAGE;
        for (id, name) in page {
            after = Some(id);
            let now = of_tenant(&client, TenantId::new(id), name).await?;
            carried.workspaces += 1;
            carried.apps += now.apps.len() as u64;
            carried.accounts += now.accounts.len() as u64;
            carried.renewed += u64::from(put(state, TenantId::new(id), &now).await?);
        }
        if is_last {
            return Ok(carried);
        }
    }
}

async fn of_tenant(client: &Client, tenant_id: TenantId, name: String) -> Result<KeptNames, LifeError> {
    let apps = names::all_apps(client, tenant_id.uuid()).await?;
    let app = |(id, name, mode, icon): names::AppNameRow| {
        (id, KeptApp { name: name.into(), mode: mode.into(), icon: icon.map(Into::into) })
    };
    let members = people::members(client, tenant_id.uuid()).await?;
    let account = |(id, name, email): people::AccountRow| (id, KeptAccount { name: name.into(), email: email.into() });
    Ok(KeptNames {
        workspace: Some(name.into()),
        apps: apps.into_iter().map(app).collect::<BTreeMap<_, _>>(),
        accounts: members.into_iter().map(account).collect(),
    })
}

/// Returns whether something was new.
async fn put(state: &dyn StateStore, tenant_id: TenantId, now: &KeptNames) -> Result<bool, LifeError> {
    let key = KeptNames::key(tenant_id);
    for _ in 0..TRIES {
        let entry = state.state(&key).await?;
        let version = entry.as_ref().map(|entry| entry.version);
        // An entry that cannot be read is of no use to anybody.
        let known = entry.and_then(|entry| serde_json::from_value::<KeptNames>(entry.value).ok()).unwrap_or_default();
        let mut renewed = known.clone();
        renewed.renew(now.clone());
        if version.is_some() && renewed == known {
            return Ok(false);
        }
        let value = serde_json::to_value(&renewed).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        if state.put_state(&key, &value, version).await?.is_some() {
            return Ok(true);
        }
    }
    Err(StoreError::Unavailable(format!("{key}: others write it all the time; try again")).into())
}

/// Removes the names that were carried over of a tenant. Returns whether there were any.
///
/// # Errors
/// [`LifeError`] if the store cannot be used.
pub async fn forget(state: &dyn StateStore, tenant_id: TenantId) -> Result<bool, LifeError> {
    let key = KeptNames::key(tenant_id);
    for _ in 0..TRIES {
        let Some(entry) = state.state(&key).await? else { return Ok(false) };
        if state.delete_state(&key, entry.version).await? {
            return Ok(true);
        }
    }
    Err(StoreError::Unavailable(format!("{key}: others write it all the time; try again")).into())
}
