from sqlalchemy.orm import Mapped

from models.base import Base, uuid_column


class WorkflowTriggerLog(Base):
    __tablename__ = "workflow_trigger_logs"
    id: Mapped[str] = uuid_column(key=True)
    tenant_id: Mapped[str] = uuid_column()
    app_id: Mapped[str] = uuid_column()
    workflow_run_id: Mapped[str | None] = uuid_column(nullable=True)
    trigger_metadata: Mapped[str]
