"""`API_WORKFLOW_RUN_REPOSITORY`: runs, counts and statistics are asked of difylog.

Whatever is not defined here is Dify's own: pauses, archives and retention work on the rows of PostgreSQL.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from difylog_dify import deletes, runs
from difylog_dify.client import Forbidden, WrongAnswer
from difylog_dify.events import NEED_TRANSIENT, RUN, need, plain
from difylog_dify.host import accepted, answer, base_class, known
from difylog_dify.records import is_uuid
from difylog_dify.settings import current

__all__ = ["ElasticsearchAPIWorkflowRunRepository"]

_Base: Any = base_class(
    "repositories.sqlalchemy_api_workflow_run_repository:DifyAPISQLAlchemyWorkflowRunRepository",
    "repositories.workflow.run_repository:DifyAPISQLAlchemyWorkflowRunRepository",
)
# What a control row knows of a run that difylog still has as running.
_STATE = ("status", "error", "elapsed_time", "total_tokens", "total_steps", "exceptions_count", "finished_at")


class ElasticsearchAPIWorkflowRunRepository(_Base):  # type: ignore[misc]
    """Reads runs from difylog, from PostgreSQL, or from PostgreSQL if difylog is away, as DIFYLOG_READS says."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **accepted(_Base.__init__, kwargs))

    def get_paginated_workflow_runs(
        self, tenant_id: str, app_id: str, triggered_from: Any, limit: int = 20, last_id: str | None = None,
        status: str | None = None,
    ) -> Any:  # fmt: skip
        """Returns a page of runs, newest first; runs of one timestamp by descending id, none of them left out."""
        from libs.infinite_scroll_pagination import InfiniteScrollPagination

        triggers = [triggered_from] if isinstance(triggered_from, str) else list(triggered_from)
        triggers = [str(plain(trigger)) for trigger in triggers]
        status = plain(status)

        def sql() -> Any:
            return super(ElasticsearchAPIWorkflowRunRepository, self).get_paginated_workflow_runs(
                tenant_id, app_id, triggered_from, limit, last_id, status
            )

        def ask() -> Any:
            data, has_more = runs.page(tenant_id, app_id, triggers, status, limit, last_id)
            return InfiniteScrollPagination(data=data, limit=limit, has_more=has_more)

        if not _askable(tenant_id, app_id, last_id) or any("," in text for text in (*triggers, status or "")):
            return sql()
        return answer(ask, sql)

    def get_workflow_run_by_id(self, tenant_id: str, app_id: str, run_id: str) -> Any:
        """Returns the run, if all three ids fit, or None."""
        sql = super().get_workflow_run_by_id
        if not _askable(tenant_id, app_id, run_id):
            return sql(tenant_id, app_id, run_id)
        return known(
            lambda: _newest(runs.by_id(run_id, tenant_id, app_id), lambda: sql(tenant_id, app_id, run_id)),
            lambda: sql(tenant_id, app_id, run_id),
        )

    def get_workflow_run_by_id_without_tenant(self, run_id: str) -> Any:
        """Returns the run, whichever tenant's, or None. The caller sees to isolation, as with Dify's own method."""
        sql = super().get_workflow_run_by_id_without_tenant
        if not _askable(run_id):
            return sql(run_id)

        def ask() -> Any:
            try:
                return runs.by_id(run_id, None)
            except Forbidden:
                # The key is no admin's: PostgreSQL's row says whose run it is.
                row = sql(run_id)
                return runs.by_id(run_id, str(row.tenant_id)) if row is not None else None

        return known(lambda: _newest(ask(), lambda: sql(run_id)), lambda: sql(run_id))

    def get_workflow_run_by_id_and_tenant_id(self, tenant_id: str, run_id: str) -> Any:
        """Returns the tenant's run or None; in versions of Dify that ask for it."""

        def sql() -> Any:
            base = super(ElasticsearchAPIWorkflowRunRepository, self).get_workflow_run_by_id_and_tenant_id
            return base(tenant_id, run_id)

        if not _askable(tenant_id, run_id):
            return sql()
        return known(lambda: _newest(runs.by_id(run_id, tenant_id), sql), sql)

    def get_workflow_runs_count(
        self, tenant_id: str, app_id: str, triggered_from: str, status: str | None = None, time_range: str | None = None
    ) -> dict[str, int]:
        """Returns the number of runs by status."""

        def sql() -> Any:
            return super(ElasticsearchAPIWorkflowRunRepository, self).get_workflow_runs_count(
                tenant_id, app_id, triggered_from, status, time_range
            )

        trigger, state = str(plain(triggered_from)), plain(status)
        if not _askable(tenant_id, app_id) or any(not text or "," in text for text in (trigger, state or "-")):
            return sql()  # type: ignore[no-any-return]
        return answer(lambda: runs.counts(tenant_id, app_id, trigger, state, time_range), sql)

    def get_daily_runs_statistics(self, *args: Any, **kwargs: Any) -> Any:
        """Returns runs per local day."""
        sql = super().get_daily_runs_statistics
        return self._statistic("daily-conversations", "runs", "runs", _integer, sql, *args, **kwargs)

    def get_daily_terminals_statistics(self, *args: Any, **kwargs: Any) -> Any:
        """Returns distinct users per local day."""
        sql = super().get_daily_terminals_statistics
        return self._statistic("daily-terminals", "terminal_count", "terminal_count", _integer, sql, *args, **kwargs)

    def get_daily_token_cost_statistics(self, *args: Any, **kwargs: Any) -> Any:
        """Returns tokens per local day, as Decimal."""
        sql = super().get_daily_token_cost_statistics
        return self._statistic("token-costs", "token_count", "token_count", _decimal, sql, *args, **kwargs)

    def get_average_app_interaction_statistics(self, *args: Any, **kwargs: Any) -> Any:
        """Returns runs per user and local day, to two decimals."""
        sql = super().get_average_app_interaction_statistics
        name = "interactions"
        return self._statistic("average-app-interactions", name, name, _number, sql, *args, **kwargs)

    @staticmethod
    def _statistic(
        statistic: str, name: str, answered: str, convert: Any, sql: Any, tenant_id: str, app_id: str,
        triggered_from: Any, start_date: datetime | None = None, end_date: datetime | None = None,
        timezone: str = "UTC",
    ) -> Any:  # fmt: skip
        trigger = str(plain(triggered_from))

        def from_sql() -> Any:
            return sql(tenant_id, app_id, triggered_from, start_date, end_date, timezone)

        try:
            bounds = {"start": runs.local_minute(start_date, timezone), "end": runs.local_minute(end_date, timezone)}
        except (ValueError, KeyError, OSError):
            # Seconds, or a zone that only the database knows.
            return from_sql()
        if not _askable(tenant_id, app_id) or not trigger or "," in trigger:
            return from_sql()

        def ask() -> Any:
            days = runs.daily(statistic, tenant_id, app_id, trigger, bounds, timezone)
            return [{"date": day["date"], name: convert(day.get(answered))} for day in days]

        return answer(ask, from_sql)

    def delete_runs_by_ids(self, run_ids: Sequence[str]) -> int:
        """Deletes runs from difylog and PostgreSQL; returns the larger of both counts."""
        deleted = deletes.runs(self._session_maker, run_ids, related=False)
        return max(int(super().delete_runs_by_ids(run_ids)), deleted)

    def delete_runs_by_app(self, tenant_id: str, app_id: str, batch_size: int = 1000) -> int:
        """Deletes the runs of an app from difylog and PostgreSQL; returns the larger of both counts."""
        deleted = deletes.of_app(tenant_id, app_id, "workflow-runs")
        return max(int(super().delete_runs_by_app(tenant_id, app_id, batch_size)), deleted)

    def delete_runs_with_related(self, runs: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        """Deletes runs and what belongs to them from difylog, and then from PostgreSQL as Dify's own method does."""
        base = super().delete_runs_with_related
        deletes.of_rows(runs, related=True)
        return base(runs, *args, **kwargs)

    def delete_runs_with_related_by_ids(self, run_ids: Sequence[str], *args: Any, **kwargs: Any) -> Any:
        """As `delete_runs_with_related`, for versions of Dify that have ids only."""
        base = super().delete_runs_with_related_by_ids
        deletes.runs(self._session_maker, run_ids, related=True)
        return base(run_ids, *args, **kwargs)


def _askable(*ids: str | None) -> bool:
    # An id that is none gets Dify's own answer; it never becomes part of a path.
    return current().asks_difylog and all(value is None or is_uuid(value) for value in ids)


def _newest(found: Any, sql: Any) -> Any:
    """Returns `found`, with the state of PostgreSQL's row where that has gone on: events take a moment."""
    if found is None or need(RUN, {"status": plain(found.status)}) != NEED_TRANSIENT:
        return found
    row = sql()
    if row is None or plain(row.status) == plain(found.status):
        return found
    if not current().primary:
        return row
    for column in _STATE:
        setattr(found, column, getattr(row, column))
    return found


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise WrongAnswer("a day has no number")
    return value


def _decimal(value: Any) -> Decimal:
    try:
        return Decimal(value if isinstance(value, str) else "-")
    except InvalidOperation:
        raise WrongAnswer("a day has no number") from None


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise WrongAnswer("a day has no number")
    return float(value)
