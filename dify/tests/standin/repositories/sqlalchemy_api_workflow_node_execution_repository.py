from models.workflow import WorkflowNodeExecutionModel as Row
from sqlalchemy import delete, select


class DifyAPISQLAlchemyWorkflowNodeExecutionRepository:
    def __init__(self, session_maker):
        self._session_maker = session_maker

    def get_node_last_execution(self, tenant_id, app_id, workflow_id, node_id):
        conditions = (Row.tenant_id == tenant_id, Row.app_id == app_id, Row.workflow_id == workflow_id)
        stmt = select(Row).where(*conditions, Row.node_id == node_id).order_by(Row.created_at.desc()).limit(1)
        with self._session_maker() as session:
            return session.scalar(stmt)

    def get_executions_by_workflow_run(self, tenant_id, app_id, workflow_run_id):
        stmt = select(Row).where(
            Row.tenant_id == tenant_id, Row.app_id == app_id, Row.workflow_run_id == workflow_run_id
        )
        with self._session_maker() as session:
            return session.scalars(stmt.order_by(Row.created_at)).all()

    def get_execution_by_id(self, execution_id, tenant_id=None):
        stmt = select(Row).where(Row.id == execution_id)
        if tenant_id is not None:
            stmt = stmt.where(Row.tenant_id == tenant_id)
        with self._session_maker() as session:
            return session.scalar(stmt)

    def delete_executions_by_app(self, tenant_id, app_id, batch_size=1000):
        with self._session_maker() as session:
            done = session.execute(delete(Row).where(Row.tenant_id == tenant_id, Row.app_id == app_id)).rowcount
            session.commit()
            return done
