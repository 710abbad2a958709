//! Connections to the broker: TLS, several hosts, and one shared connection that is opened again when it is lost.
//! Never retries by itself; whoever needs a channel decides when to ask again.

use std::time::Duration;

use lapin::tcp::OwnedTLSConfig;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::sync::Mutex;

use super::error::{AmqpError, Reply, reply};
use super::settings::{AmqpSettings, BrokerUrl};

/// What it takes to connect.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) urls: Vec<BrokerUrl>,
    authority: Option<String>,
    heartbeat: u16,
    pub(super) timeout: Duration,
    name: String,
}

impl Connector {
    /// Reads the CA file.
    pub fn new(settings: &AmqpSettings, purpose: &str) -> Result<Self, AmqpError> {
        let authority = settings.ca_file.as_ref().map(|path| {
            std::fs::read_to_string(path)
                .map_err(|error| AmqpError::CaFile { path: path.clone(), said: error.to_string() })
        });
        Ok(Self {
            urls: settings.urls.clone(),
            authority: authority.transpose()?,
            heartbeat: settings.heartbeat_seconds.get(),
            timeout: Duration::from_secs(settings.connect_timeout_seconds.get().into()),
            name: format!("{} {purpose}", settings.connection_name),
        })
    }

    /// Tries each host once.
    pub async fn connect(&self) -> Result<Connection, AmqpError> {
        let mut last = AmqpError::setting("amqp.urls", "names no broker");
        for url in &self.urls {
            match self.connect_to(url).await {
                Ok(connection) => {
                    tracing::info!(broker = url.authority(), connection = self.name, "connected to the broker");
                    return Ok(connection);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(&self, url: &BrokerUrl) -> Result<Connection, AmqpError> {
        let broker = url.authority();
        let properties = ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        let runtime = lapin::runtime::default_runtime().map_err(AmqpError::broker("starting the client"))?;
        let connecting = Connection::connect_uri_with_config(self.uri(url), properties, self.tls(), runtime);
        match tokio::time::timeout(self.timeout, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => {
                let said = error.to_string();
                Err(match reply(&error) {
                    Reply::AccessRefused => AmqpError::AccessRefused { broker, said },
                    _ => AmqpError::Unreachable { broker, said },
                })
            }
            Err(_) => Err(AmqpError::Unreachable { broker, said: self.silence() }),
        }
    }

    /// What is said of a host that does not answer.
    pub(super) fn silence(&self) -> String {
        format!("no answer within amqp.connect_timeout_seconds ({})", self.timeout.as_secs())
    }

    pub(super) fn tls(&self) -> OwnedTLSConfig {
        OwnedTLSConfig { identity: None, cert_chain: self.authority.clone() }
    }

    pub(super) fn uri(&self, url: &BrokerUrl) -> AMQPUri {
        let mut uri = url.uri();
        uri.query.heartbeat = Some(self.heartbeat);
        uri.query.connection_timeout = u64::try_from(self.timeout.as_millis()).ok();
        uri
    }
}

/// How long a dialogue of some steps with the broker may take; one that dies in silence must stop nobody for ever.
const DIALOGUE: Duration = Duration::from_secs(60);

/// Bounds a dialogue with the broker.
pub(super) async fn answered<T>(
    doing: &'static str,
    dialogue: impl Future<Output = Result<T, AmqpError>>,
) -> Result<T, AmqpError> {
    let silence = |_| AmqpError::Broker { doing, said: format!("no answer within {} s", DIALOGUE.as_secs()) };
    tokio::time::timeout(DIALOGUE, dialogue).await.map_err(silence)?
}

/// How long a goodbye waits for its answer.
pub(super) const GOODBYE: Duration = Duration::from_secs(2);

/// One connection, shared by those who open channels on it.
pub(super) struct Link {
    connector: Connector,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// So that an outage is logged once, not per attempt.
    down: bool,
}

impl Link {
    pub fn new(connector: Connector) -> Self {
        Self { connector, state: Mutex::default() }
    }

    /// A new channel; connects first if need be, trying each host once.
    pub async fn channel(&self) -> Result<Channel, AmqpError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = state.connection.take_if(|connection| !connection.status().connected()) {
            tracing::warn!(connection = self.connector.name, "connection to the broker lost");
            drop(connection);
        }
        if state.connection.is_none() {
            match self.connector.connect().await {
                Ok(connection) => *state = State { connection: Some(connection), down: false },
                Err(error) => {
                    if !std::mem::replace(&mut state.down, true) {
                        tracing::error!(%error, connection = self.connector.name, "no broker; trying until there is one");
                    }
                    return Err(error);
                }
            }
        }
        let Some(connection) = &state.connection else {
            return Err(AmqpError::setting("amqp.urls", "names no broker"));
        };
        let opening = tokio::time::timeout(self.connector.timeout, connection.create_channel());
        if let Ok(opened) = opening.await {
            return opened.map_err(AmqpError::broker("opening a channel"));
        }
        // Nobody waits behind a connection that does not answer: the next attempt makes a new one.
        state.connection = None;
        let said = format!("no answer within {} s", self.connector.timeout.as_secs());
        Err(AmqpError::Broker { doing: "opening a channel", said })
    }

    /// Closes the connection, if there is one, within [`GOODBYE`].
    pub async fn close(&self) {
        let goodbye = async {
            let connection = self.state.lock().await.connection.take();
            if let Some(connection) = connection.filter(|connection| connection.status().connected()) {
                // A connection that breaks while it is closed is closed.
                let _ = connection.close(200, "done".into()).await;
            }
        };
        // One whose goodbye is not answered is closed when it is dropped.
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }
}
