from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PAUSED = "paused"
    PENDING = "pending"
    EXCEPTION = "exception"
    STOPPED = "stopped"
    RETRY = "retry"
    PARTIAL_SUCCEEDED = "partial-succeeded"


@dataclass
class WorkflowExecution:
    id_: str
    workflow_id: str
    started_at: datetime
    workflow_version: str = "draft"
    workflow_type: str = "workflow"
    graph: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] | None = None
    status: Status = Status.RUNNING
    error_message: str = ""
    total_tokens: int = 0
    total_steps: int = 0
    exceptions_count: int = 0
    finished_at: datetime | None = None


@dataclass
class WorkflowNodeExecution:
    id: str
    workflow_id: str
    index: int
    node_id: str
    created_at: datetime
    node_type: str = "code"
    title: str = "Code"
    node_execution_id: str | None = None
    workflow_execution_id: str | None = None
    predecessor_node_id: str | None = None
    inputs: dict[str, Any] | None = None
    process_data: dict[str, Any] | None = None
    outputs: dict[str, Any] | None = None
    status: Status = Status.RUNNING
    error: str | None = None
    elapsed_time: float = 0.0
    metadata: dict[str, Any] | None = None
    finished_at: datetime | None = None
