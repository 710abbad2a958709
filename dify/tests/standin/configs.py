"""Dify's settings object; tests set and delete its attributes."""

from types import SimpleNamespace

PATHS = {
    "CORE_WORKFLOW_EXECUTION_REPOSITORY": (
        "core.repositories.elasticsearch_workflow_execution_repository.ElasticsearchWorkflowExecutionRepository"
    ),
    "CORE_WORKFLOW_NODE_EXECUTION_REPOSITORY": (
        "core.repositories.elasticsearch_workflow_node_execution_repository.ElasticsearchWorkflowNodeExecutionRepository"
    ),
    "API_WORKFLOW_RUN_REPOSITORY": (
        "repositories.elasticsearch_api_workflow_run_repository.ElasticsearchAPIWorkflowRunRepository"
    ),
    "API_WORKFLOW_NODE_EXECUTION_REPOSITORY": (
        "repositories.elasticsearch_api_workflow_node_execution_repository."
        "ElasticsearchAPIWorkflowNodeExecutionRepository"
    ),
}
dify_config = SimpleNamespace(project=SimpleNamespace(version="stand-in"), **PATHS)
