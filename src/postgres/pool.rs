//! Sessions: a bounded pool of them, each in UTC and with a statement timeout.

use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use tokio_postgres::SimpleQueryMessage;

use super::error::{PostgresError, connecting};
use super::settings::PostgresSettings;
use super::tls;

/// A session, given back to the pool when dropped.
pub type Client = deadpool_postgres::Client;

/// A small selection of a large table must not tempt the planner into sorting it, or into reading all of it.
const WALK_SESSION: &str = " -c default_transaction_read_only=on -c enable_seqscan=off -c enable_bitmapscan=off \
     -c enable_sort=off -c enable_incremental_sort=off -c enable_hashjoin=off -c enable_mergejoin=off \
     -c max_parallel_workers_per_gather=0 -c jit=off";

/// Dify's database.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    server: String,
    connect_timeout: u32,
}

/// What every session of difylog is marked with once it is open.
const MARK: &str = "difylog.session";

/// Refuses what lies between and pools transactions. One that was told to ignore `options` lets a session begin without its
/// settings: instants would be shifted, and statements run without a limit. One that has them as defaults of the role gives a
/// session of the server to several clients: then a new session bears the mark of an earlier one.
fn keeps_settings(statement_timeout: u32, is_walk: bool) -> Hook {
    // One of them stands for all that a walk's session is opened with.
    let sorts = if is_walk { "current_setting('enable_sort')" } else { "'off'" };
    Hook::async_fn(move |client, _| {
        Box::pin(async move {
            let asked = format!(
                "SELECT current_setting('TimeZone') || ' ' || (SELECT setting FROM pg_settings \
                 WHERE name = 'statement_timeout') || ' ' || {sorts}, coalesce(current_setting('{MARK}', true), ''), \
                 set_config('{MARK}', 'opened', false)"
            );
            let answers = client.simple_query(&asked).await.map_err(HookError::Backend)?;
            let row = answers.iter().find_map(|answer| match answer {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            });
            let wanted = format!("UTC {} off", u64::from(statement_timeout) * 1_000);
            match row.map(|row| (row.get(0), row.get(1))) {
                Some((Some(settings), Some(""))) if settings == wanted => Ok(()),
                Some((Some(settings), _)) if settings == wanted => {
                    Err(HookError::message("nothing; a new session of it is one that another client had before"))
                }
                _ => Err(HookError::message("nothing; the session does not have the settings that it was opened with")),
            }
        })
    })
}

impl Database {
    /// Reads the CA file; connects to nothing yet.
    ///
    /// # Errors
    /// [`PostgresError::Settings`] that names the key.
    pub fn open(settings: &PostgresSettings) -> Result<Self, PostgresError> {
        Self::open_with(settings, "")
    }

    /// As [`Self::open`], for [`super::Walk`]s: every session is read-only, and its plans keep to the indexes. PostgreSQL
    /// 13 or later.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn for_walks(settings: &PostgresSettings) -> Result<Self, PostgresError> {
        Self::open_with(settings, WALK_SESSION)
    }

    fn open_with(settings: &PostgresSettings, more: &str) -> Result<Self, PostgresError> {
        let mut config = settings.url.config().clone();
        if let Some(password) = &settings.password {
            config.password(password);
        }
        let timeout = Duration::from_secs(settings.connect_timeout_seconds.get().into());
        let session = format!(
            "{} -c timezone=UTC -c statement_timeout={}s -c client_encoding=UTF8{more}",
            config.get_options().unwrap_or_default(),
            settings.statement_timeout_seconds
        );
        config.options(session.trim_start()).application_name("difylog").connect_timeout(timeout);
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let pool = Pool::builder(Manager::from_config(config, tls::connector(settings)?, manager))
            .max_size(settings.pool_size.get())
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(timeout))
            .recycle_timeout(Some(timeout))
            .post_create(keeps_settings(settings.statement_timeout_seconds.get(), !more.is_empty()))
            .build()
            .map_err(|error| PostgresError::Settings(format!("pool_size: {error}")))?;
        Ok(Self { pool, server: settings.url.authority(), connect_timeout: settings.connect_timeout_seconds.get() })
    }

    /// Returns a session; waits for one if all are lent.
    ///
    /// # Errors
    /// [`PostgresError`] if a new one is needed and cannot be opened.
    pub async fn client(&self) -> Result<Client, PostgresError> {
        let unreachable = |said: String| PostgresError::Unreachable { server: self.server.clone(), said };
        self.pool.get().await.map_err(|error| match error {
            PoolError::PostCreateHook(HookError::Message(said)) => {
                PostgresError::Pooler { server: self.server.clone(), said: said.into_owned() }
            }
            PoolError::PostCreateHook(HookError::Backend(error)) | PoolError::Backend(error) => {
                connecting(self.server.clone(), &error)
            }
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
                unreachable(format!("no answer within postgres.connect_timeout_seconds ({})", self.connect_timeout))
            }
            other => unreachable(other.to_string()),
        })
    }

    /// Host, port and database, for messages.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }
}
