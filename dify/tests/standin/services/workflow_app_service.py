import json

from models.workflow import WorkflowAppLog
from sqlalchemy import select


class WorkflowAppService:
    def get_paginate_workflow_app_logs(
        self, *, session, app_model, keyword=None, status=None, created_at_before=None, created_at_after=None, page=1,
        limit=20, detail=False, created_by_end_user_session_id=None, created_by_account=None,
    ):  # fmt: skip
        rows = session.scalars(select(WorkflowAppLog).where(WorkflowAppLog.app_id == app_model.id)).all()
        return {"page": page, "limit": limit, "total": len(rows), "has_more": False, "data": rows, "by": "sql"}

    def handle_trigger_metadata(self, tenant_id, meta_val):
        return json.loads(meta_val) if meta_val else {}
