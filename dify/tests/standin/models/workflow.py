import json
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import String, func
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import Base, uuid_column
from models.enums import ExecutionOffLoadType


class WorkflowNodeExecutionTriggeredFrom(StrEnum):
    SINGLE_STEP = "single-step"
    WORKFLOW_RUN = "workflow-run"


class WorkflowRun(Base):
    __tablename__ = "workflow_runs"
    id: Mapped[str] = uuid_column(key=True)
    tenant_id: Mapped[str] = uuid_column()
    app_id: Mapped[str] = uuid_column()
    workflow_id: Mapped[str] = uuid_column()
    type: Mapped[str]
    triggered_from: Mapped[str]
    version: Mapped[str]
    graph: Mapped[str | None]
    inputs: Mapped[str | None]
    status: Mapped[str]
    outputs: Mapped[str | None] = mapped_column(default="{}")
    error: Mapped[str | None]
    elapsed_time: Mapped[float] = mapped_column(default=0)
    total_tokens: Mapped[int] = mapped_column(default=0)
    total_steps: Mapped[int] = mapped_column(default=0)
    created_by_role: Mapped[str]
    created_by: Mapped[str] = uuid_column()
    created_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())
    finished_at: Mapped[datetime | None]
    exceptions_count: Mapped[int] = mapped_column(default=0)

    @property
    def inputs_dict(self) -> Any:
        return json.loads(self.inputs) if self.inputs else {}


class WorkflowNodeExecutionModel(Base):
    __tablename__ = "workflow_node_executions"
    id: Mapped[str] = uuid_column(key=True)
    tenant_id: Mapped[str] = uuid_column()
    app_id: Mapped[str] = uuid_column()
    workflow_id: Mapped[str] = uuid_column()
    triggered_from: Mapped[str]
    workflow_run_id: Mapped[str | None] = uuid_column(nullable=True)
    index: Mapped[int]
    predecessor_node_id: Mapped[str | None]
    node_execution_id: Mapped[str | None]
    node_id: Mapped[str]
    node_type: Mapped[str]
    title: Mapped[str]
    inputs: Mapped[str | None]
    process_data: Mapped[str | None]
    outputs: Mapped[str | None]
    status: Mapped[str]
    error: Mapped[str | None]
    elapsed_time: Mapped[float] = mapped_column(default=0)
    execution_metadata: Mapped[str | None]
    created_at: Mapped[datetime]
    created_by_role: Mapped[str]
    created_by: Mapped[str] = uuid_column()
    finished_at: Mapped[datetime | None]
    offload_data: Mapped[list["WorkflowNodeExecutionOffload"]] = relationship(
        primaryjoin="WorkflowNodeExecutionModel.id == foreign(WorkflowNodeExecutionOffload.node_execution_id)",
        lazy="selectin",
    )

    @property
    def execution_metadata_dict(self) -> Any:
        return json.loads(self.execution_metadata) if self.execution_metadata else {}

    @property
    def inputs_truncated(self) -> bool:
        return any(row.type_ == ExecutionOffLoadType.INPUTS for row in self.offload_data)

    def load_full_inputs(self, session: Any, storage: Any) -> Any:
        raise AssertionError("asks Dify's file storage")


class WorkflowNodeExecutionOffload(Base):
    __tablename__ = "workflow_node_execution_offload"
    id: Mapped[str] = uuid_column(key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())
    tenant_id: Mapped[str] = uuid_column()
    app_id: Mapped[str] = uuid_column()
    node_execution_id: Mapped[str | None] = uuid_column(nullable=True)
    type_: Mapped[str] = mapped_column("type", String(20))
    file_id: Mapped[str] = uuid_column()


class WorkflowAppLog(Base):
    __tablename__ = "workflow_app_logs"
    id: Mapped[str] = uuid_column(key=True)
    tenant_id: Mapped[str] = uuid_column()
    app_id: Mapped[str] = uuid_column()
    workflow_id: Mapped[str] = uuid_column()
    workflow_run_id: Mapped[str] = uuid_column()
    created_from: Mapped[str]
    created_by_role: Mapped[str]
    created_by: Mapped[str] = uuid_column()
    created_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())
