//! Connections to the broker: TLS, several hosts, and one shared connection that is opened again when it is lost.
//! Never retries by itself; the caller decides when to ask again.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use lapin::tcp::OwnedTLSConfig;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, Event};
use tokio::sync::{Mutex, watch};
use tokio_util::task::AbortOnDropHandle;

use super::error::AmqpError;
use super::settings::{AmqpSettings, BrokerUrl};

/// What it takes to connect.
#[derive(Clone)]
pub(super) struct Connector {
    urls: Vec<BrokerUrl>,
    authority: Option<String>,
    heartbeat: u16,
    timeout: Duration,
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

    /// Tries each host once. Returns the connection, and where it leads.
    pub async fn connect(&self) -> Result<(Connection, &BrokerUrl), AmqpError> {
        let mut last = AmqpError::setting("amqp.urls", "names no broker");
        for url in &self.urls {
            match self.connect_to(url).await {
                Ok(connection) => {
                    tracing::info!(broker = url.authority(), connection = self.name, "connected to the broker");
                    return Ok((connection, url));
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
            Ok(Err(error)) => Err(AmqpError::connecting(broker, url.is_tls(), &error)),
            Err(_) => {
                let said = format!("no answer within amqp.connect_timeout_seconds ({})", self.timeout.as_secs());
                let remedy =
                    "check host and port in amqp.urls, and the firewalls between; a port for TLS needs amqps://";
                Err(AmqpError::Unreachable { broker, said, remedy })
            }
        }
    }

    fn tls(&self) -> OwnedTLSConfig {
        OwnedTLSConfig { identity: None, cert_chain: self.authority.clone() }
    }

    fn uri(&self, url: &BrokerUrl) -> AMQPUri {
        let mut uri = url.uri();
        uri.query.heartbeat = Some(self.heartbeat);
        uri.query.connection_timeout = u64::try_from(self.timeout.as_millis()).ok();
        uri
    }
}

/// How long a dialogue of some steps with the broker may take; one that dies in silence must not block its caller for ever.
const DIALOGUE: Duration = Duration::from_secs(60);

/// Bounds a dialogue with the broker.
pub(super) async fn answered<T>(
    doing: &'static str,
    dialogue: impl Future<Output = Result<T, AmqpError>>,
) -> Result<T, AmqpError> {
    let silence = |_| AmqpError::Broker { doing, said: format!("no answer within {} s", DIALOGUE.as_secs()) };
    tokio::time::timeout(DIALOGUE, dialogue).await.map_err(silence)?
}

/// How long the end of a connection waits for the broker.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// One connection, shared by those who open channels on it.
pub(super) struct Link {
    connector: Connector,
    state: Mutex<State>,
    /// Why the broker blocks publishers on the connection, while it does.
    blocked: watch::Sender<Option<String>>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// Hears of blocks, as long as the connection is used.
    _hearing: Option<AbortOnDropHandle<()>>,
    /// `host:port` and the virtual host.
    to: Option<(String, String)>,
    /// So that an outage is logged once, not per attempt.
    down: bool,
}

impl Link {
    pub fn new(connector: Connector) -> Self {
        Self { connector, state: Mutex::default(), blocked: watch::Sender::new(None) }
    }

    /// Returns why the broker blocks publishers on the connection, while it does. A broker says so only when something
    /// is published.
    pub fn blocked(&self) -> watch::Receiver<Option<String>> {
        self.blocked.subscribe()
    }

    /// Returns `host:port` and the virtual host of the connection, if there is one.
    pub async fn connected_to(&self) -> Option<(String, String)> {
        self.state.lock().await.to.clone()
    }

    /// Returns the brokers, for messages.
    pub fn broker(&self) -> String {
        self.connector.urls.iter().map(BrokerUrl::authority).collect::<Vec<_>>().join(" or ")
    }

    /// Returns a new channel; connects first if need be, trying each host once.
    pub async fn channel(&self) -> Result<Channel, AmqpError> {
        Ok(self.channel_and_frame_max().await?.0)
    }

    /// Returns a new channel, and the longest frame that its connection carries; 0: any.
    pub async fn channel_and_frame_max(&self) -> Result<(Channel, u32), AmqpError> {
        let mut state = self.state.lock().await;
        if state.connection.as_ref().is_some_and(|connection| !connection.status().connected()) {
            tracing::warn!(connection = self.connector.name, "connection to the broker lost");
            *state = State { down: state.down, ..State::default() };
            self.blocked.send_replace(None);
        }
        if state.connection.is_none() {
            match self.connector.connect().await {
                Ok((connection, url)) => {
                    let to = Some((url.authority(), url.virtual_host().to_owned()));
                    let hearing = hear(connection.events_listener(), self.blocked.clone(), self.connector.name.clone());
                    let hearing = Some(AbortOnDropHandle::new(tokio::spawn(hearing)));
                    *state = State { connection: Some(connection), _hearing: hearing, to, down: false };
                }
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
        // The client sends nothing at all while it is blocked; a new connection would be blocked as well.
        if let Some(said) = self.blocked.borrow().clone() {
            return Err(AmqpError::Blocked { broker: self.broker(), said });
        }
        let frame_max = connection.configuration().frame_max();
        let opening = tokio::time::timeout(self.connector.timeout, connection.create_channel());
        if let Ok(opened) = opening.await {
            return opened.map(|channel| (channel, frame_max)).map_err(AmqpError::broker("opening a channel"));
        }
        // Nothing waits behind a connection that does not answer: the next attempt makes a new one.
        *state = State::default();
        self.blocked.send_replace(None);
        let said = format!("no answer within {} s", self.connector.timeout.as_secs());
        Err(AmqpError::Broker { doing: "opening a channel", said })
    }

    /// Closes the connection, if there is one, within [`CLOSE_TIMEOUT`].
    pub async fn close(&self) {
        let closed = async {
            let connection = self.state.lock().await.connection.take();
            if let Some(connection) = connection.filter(|connection| connection.status().connected()) {
                // A connection that breaks while it is closed is closed.
                let _ = connection.close(200, "done".into()).await;
            }
        };
        // One whose end is not answered is closed when it is dropped.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
    }
}

/// Logs when the broker begins and ends to block publishers, and keeps its reason.
async fn hear(events: impl Stream<Item = Event>, blocked: watch::Sender<Option<String>>, connection: String) {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Event::ConnectionBlocked(reason) => {
                tracing::warn!(
                    connection,
                    reason,
                    "the broker blocks publishers: it is short of memory or disk; what is to be published waits"
                );
                blocked.send_replace(Some(reason));
            }
            Event::ConnectionUnblocked => {
                tracing::info!(connection, "the broker takes messages of publishers again");
                blocked.send_replace(None);
            }
            _ => {}
        }
    }
}
