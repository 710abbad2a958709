"""Settings: defaults, secrets, faults."""

from pathlib import Path

import pytest

from difylog_dify import settings


def test_without_any_variable_nothing_is_published_or_read() -> None:
    found = settings.read({})
    assert (found.enabled, found.publishes, found.asks_difylog, found.primary) == (True, False, False, False)


def test_the_promised_name_disables_it() -> None:
    assert not settings.read({"ELASTICSEARCH_ENABLED": "false", "AMQP_URL": "amqp://h"}).publishes
    assert settings.read(
        {"ELASTICSEARCH_ENABLED": "false", "DIFYLOG_ENABLED": "true", "AMQP_URL": "amqp://h"}
    ).publishes


def test_an_api_is_read_with_sql_behind_it_unless_told_otherwise() -> None:
    api = {"DIFYLOG_API_URL": "https://logs:8089/", "DIFYLOG_API_KEY": "k"}
    assert settings.read(api).reads == settings.DIFYLOG_THEN_SQL
    assert settings.read(api).api_url == "https://logs:8089"
    assert settings.read(api | {"DIFYLOG_READS": "sql"}).asks_difylog is False


def test_primary_without_a_broker_keeps_everything_in_postgresql() -> None:
    assert not settings.read({"DIFYLOG_MODE": "primary"}).primary
    assert settings.read({"DIFYLOG_MODE": "primary", "AMQP_URL": "amqps://h/v"}).primary


def test_secrets_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("amqp://u:p@h/v\n")
    found = settings.read({"DIFYLOG_AMQP_URL_FILE": str(tmp_path / "url")})
    assert found.amqp_url == "amqp://u:p@h/v"
    assert "u:p" not in repr(found)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"DIFYLOG_MODE": "hunter2"}, "DIFYLOG_MODE"),
        ({"DIFYLOG_READS": "hunter2"}, "DIFYLOG_READS"),
        ({"DIFYLOG_ENABLED": "hunter2"}, "DIFYLOG_ENABLED"),
        ({"DIFYLOG_QUEUE_BYTES": "hunter2"}, "DIFYLOG_QUEUE_BYTES"),
        ({"DIFYLOG_QUEUE_BYTES": "-5"}, "DIFYLOG_QUEUE_BYTES"),
        ({"DIFYLOG_AMQP_URL": "redis://:hunter2@h"}, "DIFYLOG_AMQP_URL"),
        ({"DIFYLOG_API_URL": "file:///hunter2", "DIFYLOG_API_KEY": "k"}, "DIFYLOG_API_URL"),
        ({"DIFYLOG_API_URL": "http://h"}, "DIFYLOG_API_KEY"),
        ({"DIFYLOG_READS": "difylog"}, "DIFYLOG_API_URL"),
        ({"DIFYLOG_AMQP_URL_FILE": "/nowhere"}, "DIFYLOG_AMQP_URL_FILE"),
    ],
)
def test_a_fault_names_the_variable_and_not_its_value(variables: dict[str, str], named: str) -> None:
    with pytest.raises(settings.SettingsError, match=named) as caught:
        settings.read(variables)
    assert "hunter2" not in str(caught.value)


def test_settings_that_cannot_be_used_leave_dify_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DIFYLOG_MODE", "nonsense")
    settings.replace(None)
    assert not settings.current().enabled
    assert "DIFYLOG_MODE" in caplog.text


def test_dify_s_env_file_counts_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("DIFYLOG_MODE=primary\nDIFYLOG_AMQP_EXCHANGE=of-file\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIFYLOG_AMQP_EXCHANGE", "of-environment")
    found = settings.read(settings.variables())
    assert (found.mode, found.amqp_exchange) == ("primary", "of-environment")
