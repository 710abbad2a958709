from models.base import Account, EndUser
from models.workflow import WorkflowAppLog, WorkflowNodeExecutionModel, WorkflowRun

__all__ = ["Account", "EndUser", "WorkflowAppLog", "WorkflowNodeExecutionModel", "WorkflowRun"]
