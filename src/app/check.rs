//! Tries what the settings name on this machine: addresses, keys, certificates and folders. Changes nothing that stays.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::open_vault;
use crate::config::{Settings, StoreKind};
use crate::http::api::ServeSettings;
use crate::http::console::{self, settings::ConsoleSettings};

/// What was tried, by the name of its setting, and what to say of it: lines if it is well, otherwise what to do.
pub type Checked = (&'static str, Result<Vec<String>, String>);

/// How long a process that holds an address may take to say what it is.
const GREETING: Duration = Duration::from_secs(2);

/// Tries every place that the settings name, beside the servers.
pub async fn check_places(settings: &Settings) -> Vec<Checked> {
    let serve = &settings.serve;
    let mut checked = vec![
        ("http.listen", address(&settings.http.listen).await),
        ("serve.listen", address(&serve.listen).await),
        ("serve.keys", keys(serve)),
    ];
    if let Some(dify) = &serve.dify {
        checked.push(("serve.dify", of_dify(dify).await));
    }
    if serve.tls.is_some() {
        checked.push(("serve.tls", serve.try_certificate().await.map(|()| Vec::new())));
    }
    checked.push(("migrate.rejects_dir", folder(&settings.migrate.rejects_dir)));
    checked.push(("backup", backup(settings).await));
    checked
}

/// Returns whether an address can be listened on, or is held by a difylog that runs.
async fn address(listen: &str) -> Result<Vec<String>, String> {
    if listen.is_empty() {
        return Ok(vec!["nothing is served".to_owned()]);
    }
    match TcpListener::bind(listen).await {
        Ok(_) => Ok(vec![format!("{listen} is free")]),
        Err(error) if error.kind() == ErrorKind::AddrInUse => match is_difylog(listen).await {
            Ok(true) => Ok(vec![format!("{listen} is served by a difylog that runs")]),
            _ => Err(format!("{listen} is in use by another program; end it, or choose another address")),
        },
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
            Err(format!("{listen}: this machine has no such address; use one of its own, or 0.0.0.0 for all"))
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(format!("{listen}: {error}; choose a port above 1023, or give the process the right to it"))
        }
        Err(error) => Err(format!("{listen}: {error}; expected an address and a port, such as 127.0.0.1:8089")),
    }
}

async fn is_difylog(listen: &str) -> io::Result<bool> {
    let asked = async {
        let mut stream = TcpStream::connect(listen).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(4096).read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        Ok(answer.ends_with("\r\n\r\nok\n") || answer.contains("the flow has not turned"))
    };
    tokio::time::timeout(GREETING, asked).await.unwrap_or(Ok(false))
}

/// Returns whether the bridge's Dify is there.
async fn of_dify(settings: &ConsoleSettings) -> Result<Vec<String>, String> {
    let version = console::probe(settings).await?;
    Ok(vec![version.map_or_else(|| "Dify answers".to_owned(), |version| format!("Dify {version} answers"))])
}

fn keys(serve: &ServeSettings) -> Result<Vec<String>, String> {
    if serve.keys.is_empty() && serve.keys_file.is_none() {
        return Ok(vec!["none: `difylog serve` needs one (README, \"Reading the logs\")".to_owned()]);
    }
    let keys = serve.all_keys().map_err(|error| error.to_string())?;
    let admins = keys.iter().filter(|key| key.admin).count();
    Ok(vec![format!("{} keys, {admins} of them for every tenant", keys.len())])
}

async fn backup(settings: &Settings) -> Result<Vec<String>, String> {
    if settings.backup.s3.is_some() {
        let vault = open_vault(settings).map_err(|error| error.to_string())?;
        return vault
            .probe()
            .await
            .map(|()| vec!["the bucket of backup.s3".to_owned()])
            .map_err(|error| error.to_string());
    }
    let mut lines = folder(&settings.backup.dir).map_err(|problem| format!("backup.dir: {problem}"))?;
    if settings.store.kind == StoreKind::Elastic {
        lines.push("the snapshot repository is tried by `difylog backup create`".to_owned());
    }
    Ok(lines)
}

/// Returns whether files can be written into a folder, or it could be created.
fn folder(path: &Path) -> Result<Vec<String>, String> {
    let shown = path.display();
    let there = path.ancestors().find(|folder| folder.exists() || folder.as_os_str().is_empty());
    let there = match there {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !there.is_dir() {
        return Err(format!("{}: is no folder; choose another", there.display()));
    }
    let probe = there.join(format!(".difylog-check-{}", std::process::id()));
    let written = OpenOptions::new().write(true).create_new(true).open(&probe).and_then(|_| fs::remove_file(&probe));
    let advice = "give this user the right to write, or choose another folder";
    written.map_err(|error| format!("{}: {error}; {advice}", there.display()))?;
    Ok(vec![if there == path { format!("{shown}") } else { format!("{shown} will be created when it is needed") }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_free_or_says_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address_of_another = taken.local_addr().unwrap().to_string();
        let answering = tokio::spawn(async move { drop(taken.accept().await) });
        assert!(address(&address_of_another).await.unwrap_err().contains("in use by another program"));
        answering.await.unwrap();
        assert!(address(&address_of_another).await.unwrap()[0].contains("is free"));
        assert!(address("192.0.2.1:1").await.unwrap_err().contains("no such address"));
        assert!(address("nonsense").await.unwrap_err().contains("such as 127.0.0.1:8089"));
        assert!(address("").await.is_ok());
    }

    #[test]
    fn a_folder_is_tried_without_a_trace() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(folder(&file).unwrap_err().contains("is no folder"));
        assert!(folder(&file.join("below")).unwrap_err().contains("is no folder"));
        assert!(folder(parent.path()).is_ok());
        assert!(folder(&parent.path().join("new/folder")).unwrap()[0].contains("will be created"));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
