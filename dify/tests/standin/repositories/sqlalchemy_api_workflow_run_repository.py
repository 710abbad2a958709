from libs.infinite_scroll_pagination import InfiniteScrollPagination
from models.workflow import WorkflowRun
from sqlalchemy import delete, func, select


class DifyAPISQLAlchemyWorkflowRunRepository:
    """Answers from SQL; `asked` tells tests which methods were used."""

    def __init__(self, session_maker):
        self._session_maker = session_maker
        self.asked = []

    def get_paginated_workflow_runs(self, tenant_id, app_id, triggered_from, limit=20, last_id=None, status=None):
        self.asked.append("page")
        stmt = select(WorkflowRun).where(WorkflowRun.tenant_id == tenant_id, WorkflowRun.app_id == app_id)
        with self._session_maker() as session:
            rows = session.scalars(stmt.order_by(WorkflowRun.created_at.desc()).limit(limit + 1)).all()
        return InfiniteScrollPagination(data=rows[:limit], limit=limit, has_more=len(rows) > limit)

    def get_workflow_run_by_id(self, tenant_id, app_id, run_id):
        self.asked.append("by_id")
        return self._one(WorkflowRun.tenant_id == tenant_id, WorkflowRun.app_id == app_id, WorkflowRun.id == run_id)

    def get_workflow_run_by_id_without_tenant(self, run_id):
        self.asked.append("without_tenant")
        return self._one(WorkflowRun.id == run_id)

    def _one(self, *conditions):
        with self._session_maker() as session:
            return session.scalar(select(WorkflowRun).where(*conditions))

    def get_workflow_runs_count(self, tenant_id, app_id, triggered_from, status=None, time_range=None):
        self.asked.append("count")
        with self._session_maker() as session:
            total = session.scalar(select(func.count(WorkflowRun.id)).where(WorkflowRun.tenant_id == tenant_id))
        return {"total": total}

    def get_daily_runs_statistics(
        self, tenant_id, app_id, triggered_from, start_date=None, end_date=None, timezone="UTC"
    ):
        self.asked.append("daily")
        return [{"date": "sql", "runs": 0}]

    get_daily_terminals_statistics = get_daily_token_cost_statistics = get_daily_runs_statistics
    get_average_app_interaction_statistics = get_daily_runs_statistics

    def delete_runs_by_ids(self, run_ids):
        with self._session_maker() as session:
            done = session.execute(delete(WorkflowRun).where(WorkflowRun.id.in_(run_ids))).rowcount
            session.commit()
            return done

    def delete_runs_by_app(self, tenant_id, app_id, batch_size=1000):
        with self._session_maker() as session:
            stmt = delete(WorkflowRun).where(WorkflowRun.tenant_id == tenant_id, WorkflowRun.app_id == app_id)
            done = session.execute(stmt).rowcount
            session.commit()
            return done

    def create_workflow_pause(self, workflow_run_id, state_owner_user_id, state, pause_reasons):
        row = self._one(WorkflowRun.id == workflow_run_id)
        if row is None:
            raise ValueError(f"WorkflowRun not found: {workflow_run_id}")
        return row.status
