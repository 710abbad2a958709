"""Settings from environment variables. Every variable is listed in README.md with its meaning."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

logger = logging.getLogger(__name__)

SHADOW, PRIMARY = "shadow", "primary"
SQL, DIFYLOG, DIFYLOG_THEN_SQL = "sql", "difylog", "difylog-then-sql"
MEBIBYTE = 1 << 20


class SettingsError(ValueError):
    """A setting that cannot be used. The text names the variable and never holds its value."""


@dataclass(frozen=True)
class Settings:
    """The settings of this process. Secrets are left out of its representation."""

    enabled: bool = False
    # Whether the operator said so, rather than that it is the default.
    explicit: bool = False
    mode: str = SHADOW
    reads: str = SQL
    deletes: str = "both"
    amqp_url: str = field(default="", repr=False)
    amqp_ca_file: str = ""
    amqp_verify: bool = True
    amqp_exchange: str = "dify.logs"
    amqp_timeout: float = 5.0
    queue_bytes: int = 64 * MEBIBYTE
    event_bytes: int = 16 * MEBIBYTE
    spool_dir: str = ""
    spool_bytes: int = 1024 * MEBIBYTE
    stop_seconds: float = 5.0
    api_url: str = ""
    api_key: str = field(default="", repr=False)
    api_ca_file: str = ""
    api_verify: bool = True
    api_timeout: float = 10.0
    api_bytes: int = 64 * MEBIBYTE
    api_connections: int = 20
    # Why the settings could not be read, and the package stays out.
    problem: str = ""

    @property
    def publishes(self) -> bool:
        """Whether events are published at all."""
        return self.enabled and bool(self.amqp_url)

    @property
    def primary(self) -> bool:
        """Whether PostgreSQL keeps only control rows. Without a broker it keeps everything."""
        return self.publishes and self.mode == PRIMARY

    @property
    def asks_difylog(self) -> bool:
        """Whether reads go to difylog first."""
        return self.enabled and self.reads != SQL and bool(self.api_url)

    @property
    def falls_back(self) -> bool:
        """Whether PostgreSQL answers if difylog does not."""
        return self.reads == DIFYLOG_THEN_SQL


class _Reader:
    """Reads typed values of variables."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str, default: str = "") -> str:
        return self._variables.get(name, "").strip() or default

    def secret(self, *names: str) -> str:
        for name in names:
            if value := self.text(name):
                return value
            if path := self.text(f"{name}_FILE"):
                try:
                    with open(path, encoding="utf-8") as file:
                        return file.read().strip()
                except OSError as error:
                    raise SettingsError(f"{name}_FILE: {path}: {error.strerror}") from None
        return ""

    def flag(self, name: str, default: bool) -> bool:
        value = self.text(name).lower()
        if value in ("true", "1", "yes", "on"):
            return True
        if value in ("false", "0", "no", "off"):
            return False
        if value:
            raise SettingsError(f"{name}: expected true or false")
        return default

    def number(self, name: str, default: float, least: float, most: float, as_type: Callable[[str], Any] = int) -> Any:
        text = self.text(name)
        if not text:
            return default
        try:
            value = as_type(text)
        except ValueError:
            raise SettingsError(f"{name}: expected a number") from None
        if not least <= value <= most:
            raise SettingsError(f"{name}: expected {least} to {most}")
        return value

    def choice(self, name: str, default: str, *choices: str) -> str:
        value = self.text(name, default).lower()
        if value not in choices:
            raise SettingsError(f"{name}: expected {' or '.join(choices)}")
        return value

    def url(self, name: str, value: str, *schemes: str) -> str:
        if value and (urlsplit(value).scheme not in schemes or not urlsplit(value).hostname):
            raise SettingsError(f"{name}: expected a URL of {' or '.join(schemes)} with a host")
        return value.rstrip("/")


def read(variables: Mapping[str, str]) -> Settings:
    """Returns the settings that `variables` make.

    Raises SettingsError for the first value that cannot be used.
    """
    reader = _Reader(variables)
    names = ("DIFYLOG_ENABLED", "ELASTICSEARCH_ENABLED")
    explicit = any(reader.text(name) for name in names)
    enabled = reader.flag(names[0], reader.flag(names[1], True))
    api_url = reader.url("DIFYLOG_API_URL", reader.text("DIFYLOG_API_URL"), "http", "https")
    amqp_url = reader.url("DIFYLOG_AMQP_URL", reader.secret("DIFYLOG_AMQP_URL", "AMQP_URL"), "amqp", "amqps")
    settings = Settings(
        enabled=enabled,
        explicit=explicit and enabled,
        mode=reader.choice("DIFYLOG_MODE", SHADOW, SHADOW, PRIMARY),
        reads=reader.choice("DIFYLOG_READS", DIFYLOG_THEN_SQL if api_url else SQL, SQL, DIFYLOG, DIFYLOG_THEN_SQL),
        deletes=reader.choice("DIFYLOG_DELETES", "both", "both", "postgres"),
        amqp_url=amqp_url,
        amqp_ca_file=reader.text("DIFYLOG_AMQP_CA_FILE"),
        amqp_verify=reader.flag("DIFYLOG_AMQP_VERIFY", True),
        amqp_exchange=reader.text("DIFYLOG_AMQP_EXCHANGE", "dify.logs"),
        amqp_timeout=reader.number("DIFYLOG_AMQP_TIMEOUT_SECONDS", 5.0, 0.1, 60, float),
        queue_bytes=reader.number("DIFYLOG_QUEUE_BYTES", 64 * MEBIBYTE, MEBIBYTE, 1 << 40),
        event_bytes=reader.number("DIFYLOG_EVENT_BYTES", 16 * MEBIBYTE, 1024, 128 * MEBIBYTE),
        spool_dir=reader.text("DIFYLOG_SPOOL_DIR", f"/var/tmp/difylog-spool-{os.getuid()}"),  # noqa: S108 - checked
        spool_bytes=reader.number("DIFYLOG_SPOOL_BYTES", 1024 * MEBIBYTE, 0, 1 << 44),
        stop_seconds=reader.number("DIFYLOG_STOP_SECONDS", 5.0, 0, 60, float),
        api_url=api_url,
        api_key=reader.secret("DIFYLOG_API_KEY"),
        api_ca_file=reader.text("DIFYLOG_API_CA_FILE"),
        api_verify=reader.flag("DIFYLOG_API_VERIFY", True),
        api_timeout=reader.number("DIFYLOG_API_TIMEOUT_SECONDS", 10.0, 0.1, 300, float),
        api_bytes=reader.number("DIFYLOG_API_BYTES", 64 * MEBIBYTE, 1 << 16, 1 << 34),
        api_connections=reader.number("DIFYLOG_API_CONNECTIONS", 20, 1, 1000),
    )
    if settings.reads != SQL and not api_url:
        raise SettingsError("DIFYLOG_READS: difylog is to be read, but DIFYLOG_API_URL is not set")
    if api_url and not settings.api_key:
        raise SettingsError("DIFYLOG_API_KEY: DIFYLOG_API_URL is set, and difylog answers nothing without a key")
    return settings


def variables() -> dict[str, str]:
    """Returns the environment over the `.env` file of the working directory, which Dify reads as well."""
    try:
        from dotenv import dotenv_values

        of_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    except (ImportError, OSError, UnicodeDecodeError):
        of_file = {}
    return {**of_file, **os.environ}


_current: Settings | None = None


def current() -> Settings:
    """Returns the settings of this process, read once.

    Settings that cannot be used disable the package and are logged: Dify goes on without it.
    """
    global _current
    if _current is None:
        try:
            _current = read(variables())
        except SettingsError as error:
            _current = Settings(problem=str(error))
            logger.error("difylog stays out, PostgreSQL is used as ever: %s", error)
    return _current


def replace(settings: Settings | None) -> None:
    """Sets the settings of this process; None reads them again when they are next needed."""
    global _current
    _current = settings
