from importlib import import_module

from configs import dify_config


def load(path):
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


class DifyCoreRepositoryFactory:
    @classmethod
    def create_workflow_execution_repository(cls, session_factory, user, app_id, triggered_from):
        found = load(
            getattr(
                dify_config,
                "CORE_WORKFLOW_EXECUTION_REPOSITORY",
                "core.repositories.sqlalchemy_workflow_execution_repository.SQLAlchemyWorkflowExecutionRepository",
            )
        )
        return found(session_factory=session_factory, user=user, app_id=app_id, triggered_from=triggered_from)

    @classmethod
    def create_workflow_node_execution_repository(cls, session_factory, user, app_id, triggered_from):
        found = load(
            getattr(
                dify_config,
                "CORE_WORKFLOW_NODE_EXECUTION_REPOSITORY",
                "core.repositories.sqlalchemy_workflow_node_execution_repository."
                "SQLAlchemyWorkflowNodeExecutionRepository",
            )
        )
        return found(session_factory=session_factory, user=user, app_id=app_id, triggered_from=triggered_from)
