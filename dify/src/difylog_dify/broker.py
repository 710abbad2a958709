"""The publisher: one AMQP connection, messages confirmed one by one, everything bounded in time."""

import contextlib
import logging
import random
import ssl
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from difylog_dify.settings import Settings

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 30
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0


class BrokerDown(Exception):
    """The broker did not confirm; what was being published may or may not have arrived."""


class MessageRefused(Exception):
    """The broker is there and refuses this message, whatever comes with it."""


class Publisher:
    """Publishes to the exchange of native events. Belongs to one thread or greenlet of one process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: Any = None
        self._channel: Any = None
        self._retry_at = 0.0
        self._pause = FIRST_PAUSE
        self._beat_at = 0.0
        self._was_down = False
        # What the thread that connects again has made, as connection and channel.
        self._made: tuple[Any, Any] | None = None
        self._connecting: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Host and port, without credentials."""
        parts = urlsplit(self._settings.amqp_url)
        return f"{parts.hostname}:{parts.port or (5671 if parts.scheme == 'amqps' else 5672)}"

    def ready(self) -> bool:
        """Returns whether a publish is worth trying: there is a connection, or none has failed yet.

        After a failure another thread connects again, after a pause: a broker that accepts connections and never
        answers must not hold up the events that go into the spool meanwhile. Never waits.
        """
        if self._channel is not None or self._retry_at == 0.0:
            return True
        if self._made is not None:
            (self._connection, self._channel), self._made = self._made, None
            self._beat_at = time.monotonic() + HEARTBEAT_SECONDS / 3
            return True
        if time.monotonic() >= self._retry_at and (self._connecting is None or not self._connecting.is_alive()):
            self._connecting = threading.Thread(target=self._connect_again, name="difylog-connect", daemon=True)
            self._connecting.start()
        return False

    def _connect_again(self) -> None:
        try:
            self._made = self._connect()
        except Exception:  # noqa: BLE001 - see publish; the first failure was logged
            self._put_off()

    @property
    def connected(self) -> bool:
        """Returns whether there is a connection."""
        return self._channel is not None

    def publish(self, body: bytes, kind: str, tenant_id: str) -> None:
        """Publishes one message and returns once the broker has confirmed it.

        Waits at most `amqp_timeout` for the connection and again for the confirm. Raises BrokerDown if it cannot be
        known that the message is safe, and MessageRefused if this message will never be taken.
        """
        from amqp import exceptions

        try:
            channel = self._open()
            message = channel.prepare_message(
                body, content_type="application/json", content_encoding="utf-8", properties={"delivery_mode": 2}
            )
            channel.basic_publish(
                message, exchange=self._settings.amqp_exchange, routing_key=f"{kind}.{tenant_id}", mandatory=True,
                timeout=self._settings.amqp_timeout,
            )  # fmt: skip
        except exceptions.PreconditionFailed as error:
            # RabbitMQ's answer to a message above its max_message_size.
            self._lost(error)
            # The broker is well: others are published at once.
            self._retry_at, self._pause = 0.0, FIRST_PAUSE
            raise MessageRefused("PRECONDITION_FAILED") from None
        except Exception as error:  # noqa: BLE001 - sockets, TLS, the protocol and kombu have no common base
            self._lost(error)
            raise BrokerDown(type(error).__name__) from None
        if self._was_down:
            logger.warning("the broker %s takes events again", self.address)
            self._was_down = False
        self._pause = FIRST_PAUSE

    def _open(self) -> Any:
        if self._channel is None:
            self._connection, self._channel = self._connect()
            self._beat_at = time.monotonic() + HEARTBEAT_SECONDS / 3
        return self._channel

    def _connect(self) -> tuple[Any, Any]:
        from kombu.connection import Connection

        timeout = self._settings.amqp_timeout
        connection = Connection(
            self._settings.amqp_url, ssl=self._tls(), heartbeat=HEARTBEAT_SECONDS, connect_timeout=timeout,
            transport_options={
                "confirm_publish": True, "read_timeout": timeout, "write_timeout": timeout,
                "client_properties": {"connection_name": "difylog-dify"},
            },
        )  # fmt: skip
        # Its own `connect` tries twice, with a pause between.
        made = connection.transport.establish_connection()
        return made, made.channel()

    def _tls(self) -> Any:
        if not self._settings.amqp_url.startswith("amqps:"):
            return False
        if not self._settings.amqp_verify:
            return {"cert_reqs": ssl.CERT_NONE}
        host = urlsplit(self._settings.amqp_url).hostname
        options: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": host}
        if self._settings.amqp_ca_file:
            options["ca_certs"] = self._settings.amqp_ca_file
        return options

    def _lost(self, error: Exception) -> None:
        self.close()
        self._put_off()
        if not self._was_down:
            self._was_down = True
            code = getattr(error, "reply_code", "")
            logger.warning(
                "the broker %s does not confirm events (%s %s): they go into the spool%s",
                self.address, type(error).__name__, code, _advice(error),
            )  # fmt: skip

    def _put_off(self) -> None:
        self._retry_at = time.monotonic() + self._pause * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def heartbeat(self) -> None:
        """Sends and checks heartbeats if it is time; a dead connection is closed."""
        if self._channel is None or time.monotonic() < self._beat_at:
            return
        self._beat_at = time.monotonic() + HEARTBEAT_SECONDS / 3
        try:
            self._connection.heartbeat_tick()
            with contextlib.suppress(TimeoutError):
                self._connection.drain_events(timeout=0.001)
        except Exception as error:  # noqa: BLE001 - see publish
            self._lost(error)

    def close(self, *, politely: bool = False) -> None:
        """Closes the connection; politely, if the broker is there to answer, within `amqp_timeout`."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is None:
            return
        with contextlib.suppress(Exception):
            if politely:
                connection.close()
            connection.collect()


def _advice(error: Exception) -> str:
    name = type(error).__name__
    if name == "NotFound" or getattr(error, "reply_code", 0) == 312:
        return "; no queue takes them: start `difylog worker` or run `difylog setup`"
    if name in ("AccessRefused", "NotAllowed"):
        return "; the user may not publish there: check DIFYLOG_AMQP_URL and the user's rights"
    return ""
