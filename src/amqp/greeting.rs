//! What a broker says of itself before anybody has named a user: its product and its version. The client library reads
//! it and keeps it to itself.

use std::io;

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use lapin::protocol::connection::{AMQPMethod, Start};
use lapin::protocol::{AMQPClass, parse_class};
use lapin::tcp::{AMQPUriTcpExt as _, OwnedTLSConfig};
use lapin::types::AMQPValue;
use lapin::uri::AMQPUri;

use super::connection::Connector;
use super::error::AmqpError;
use super::settings::AmqpSettings;

/// Asks for AMQP 0-9-1.
const HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";

/// The type of a frame that holds a method.
const METHOD: u8 = 1;

/// The largest greeting that is read, in bytes; RabbitMQ's has some 500.
const MOST: usize = 64 << 10;

/// Characters of a product's name, and of a version, that are shown.
const NAME: usize = 100;

/// The product and the version of the first broker that answers, such as `RabbitMQ 4.1.3`.
///
/// # Errors
/// No broker answers, or it does not speak AMQP 0-9-1.
pub async fn server_version(settings: &AmqpSettings) -> Result<String, AmqpError> {
    let connector = Connector::new(settings, "status")?;
    let mut last = AmqpError::setting("amqp.urls", "names no broker");
    for url in &connector.urls {
        let asking = greeting(connector.uri(url), connector.tls());
        let said = match tokio::time::timeout(connector.timeout, asking).await {
            Ok(Ok(version)) => return Ok(version),
            Ok(Err(error)) => error.to_string(),
            Err(_) => connector.silence(),
        };
        last = AmqpError::Unreachable { broker: url.authority(), said };
    }
    Err(last)
}

async fn greeting(uri: AMQPUri, tls: OwnedTLSConfig) -> io::Result<String> {
    let runtime = lapin::runtime::default_runtime().map_err(io::Error::other)?;
    let mut stream = uri.connect_with_config_async(tls.as_ref(), &runtime).await?;
    stream.write_all(HEADER).await?;
    stream.flush().await?;
    let mut head = [0; 7];
    stream.read_exact(&mut head).await?;
    let [kind, _, _, size @ ..] = head;
    let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
    if kind != METHOD || size > MOST {
        return Err(no_broker());
    }
    let mut payload = vec![0; size];
    stream.read_exact(&mut payload).await?;
    named(&payload)
}

/// What a greeting says, from the payload of its frame.
fn named(payload: &[u8]) -> io::Result<String> {
    let Ok((_, AMQPClass::Connection(AMQPMethod::Start(Start { server_properties, .. })))) = parse_class(payload)
    else {
        return Err(no_broker());
    };
    let property = |name| match server_properties.inner().get(name) {
        Some(AMQPValue::LongString(text)) => {
            let text = text.to_string();
            Some(text.chars().filter(|character| !character.is_control()).take(NAME).collect::<String>())
        }
        _ => None,
    };
    let product = property("product").unwrap_or_else(|| "AMQP broker".to_owned());
    Ok(property("version").map_or_else(|| product.clone(), |version| format!("{product} {version}")))
}

fn no_broker() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what answers there does not speak AMQP 0-9-1")
}
