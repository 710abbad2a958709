//! What an operator should know of the payload store before it is used: who else can read it, and whether all hosts have
//! the same one.

use serde_json::json;

use super::holder;
use crate::config::{Settings, StoreKind};
use crate::store::payload::{Folder, PayloadStore};
use crate::store::{StateEntry, StateReader, StateStore, StoreError};
use crate::telemetry::system_clock;

/// State entries of the folders in which workers keep payloads, one per folder.
pub const FOLDERS: &str = "payloads/folder/";

/// Returns warnings about the payload store, none if all is well. `register`: where this folder is noted, so that other
/// hosts see it.
///
/// # Errors
/// In words: the folder or the store's state cannot be used.
pub async fn payload_warnings(
    settings: &Settings,
    payloads: &PayloadStore,
    state: &dyn StateReader,
    register: Option<&dyn StateStore>,
) -> Result<Vec<String>, String> {
    let folder = payloads.local_folder(register.is_some()).await.map_err(|error| error.to_string())?;
    let Some(folder) = folder else { return Ok(Vec::new()) };
    let mut warnings = Vec::new();
    let dir = folder.dir.display();
    if let Some(mode) = folder.open_to_others {
        warnings.push(format!(
            "payloads.dir = {dir} has mode {mode:o}: others on this host may look into it; `chmod -R go-rwx` it, unless \
             that is intended"
        ));
    }
    if settings.store.kind == StoreKind::Elastic {
        warnings.push(format!(
            "payloads.dir = {dir} is a folder of this host: full texts are found by workers and `difylog serve` on other \
             hosts only if it is the same shared folder there; otherwise set [payloads.s3]"
        ));
        match other_folders(state, &folder, register).await {
            Ok(others) => warnings.extend(others),
            Err(error) if register.is_some() => return Err(error.to_string()),
            // `check` says of the store itself what is wrong with it.
            Err(_) => {}
        }
    }
    Ok(warnings)
}

/// Returns the folders that other workers of the same store use.
async fn other_folders(
    state: &dyn StateReader,
    folder: &Folder<'_>,
    register: Option<&dyn StateStore>,
) -> Result<Vec<String>, StoreError> {
    let known = state.states(FOLDERS).await?;
    let own = folder.id.map(|id| format!("{FOLDERS}{id}"));
    if let (Some(own), Some(register)) = (&own, register) {
        let version = known.iter().find(|entry| entry.key == *own).map(|entry| entry.version);
        let value = json!({
            "by": holder(), "dir": folder.dir.display().to_string(), "seen": system_clock()().to_string(),
        });
        // Another worker of the same folder notes the same.
        register.put_state(own, &value, version).await?;
    }
    let others = known.into_iter().filter(|entry| Some(&entry.key) != own.as_ref());
    let warning = |entry: StateEntry| {
        let text = |name| entry.value.get(name).and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned();
        format!(
            "other workers of this store keep full texts in another folder: {} ({}, last started {}); the id of this one \
             is {}, of that one {}",
            text("dir"),
            text("by"),
            text("seen"),
            folder.id.map_or_else(|| "not given yet".to_owned(), |id| id.to_string()),
            entry.key.trim_start_matches(FOLDERS),
        )
    };
    Ok(others.map(warning).collect())
}
