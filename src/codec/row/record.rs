//! Cells to records: which columns each table has, which are needed, and what stands for those that are not there.

use super::{Column, Row, VARCHAR};
use crate::domain::{AppLog, Kind, NodeExecution, NodeStatus, Offload, Record, Refusal, RunStatus, WorkflowRun};

/// The longest `type` of an offload: `varchar(20)`.
const OFFLOAD_TYPE: usize = 20;

impl Row<'_> {
    pub(in crate::codec) fn take_record(&mut self, kind: Kind) -> Result<Record, Refusal> {
        Ok(match kind {
            Kind::WorkflowRun => Record::Run(Box::new(self.take_run()?)),
            Kind::NodeExecution => Record::Node(Box::new(self.take_node()?)),
            Kind::AppLog => Record::AppLog(Box::new(self.take_app_log()?)),
            Kind::Offload => Record::Offload(Box::new(self.take_offload()?)),
        })
    }

    pub(in crate::codec) fn take_run(&mut self) -> Result<WorkflowRun, Refusal> {
        Ok(WorkflowRun {
            id: self.id(Column::Id)?,
            tenant_id: self.id(Column::TenantId)?,
            app_id: self.id(Column::AppId)?,
            workflow_id: self.id(Column::WorkflowId)?,
            r#type: self.text(Column::Type)?,
            triggered_from: self.text(Column::TriggeredFrom)?,
            version: self.text(Column::Version)?,
            graph: self.payload(Column::Graph)?,
            inputs: self.payload(Column::Inputs)?,
            status: RunStatus::from(&*self.text(Column::Status)?),
            outputs: self.payload(Column::Outputs)?,
            error: self.long_text(Column::Error)?,
            elapsed_time: self.seconds(Column::ElapsedTime)?,
            total_tokens: self.count(Column::TotalTokens)?,
            total_steps: self.count(Column::TotalSteps)?,
            created_by_role: self.text(Column::CreatedByRole)?,
            created_by: self.id(Column::CreatedBy)?,
            created_at: self.timestamp(Column::CreatedAt)?,
            finished_at: self.optional_timestamp(Column::FinishedAt)?,
            exceptions_count: self.count(Column::ExceptionsCount)?,
        })
    }

    pub(in crate::codec) fn take_node(&mut self) -> Result<NodeExecution, Refusal> {
        Ok(NodeExecution {
            id: self.id(Column::Id)?,
            tenant_id: self.id(Column::TenantId)?,
            app_id: self.id(Column::AppId)?,
            workflow_id: self.id(Column::WorkflowId)?,
            triggered_from: self.text(Column::TriggeredFrom)?,
            workflow_run_id: self.optional_id(Column::WorkflowRunId)?,
            index: {
                let index = self.optional_integer(Column::Index)?;
                self.needed(Column::Index, index)?
            },
            predecessor_node_id: self.optional_text(Column::PredecessorNodeId, VARCHAR)?,
            node_execution_id: self.optional_text(Column::NodeExecutionId, VARCHAR)?,
            node_id: self.text(Column::NodeId)?,
            node_type: self.text(Column::NodeType)?,
            title: self.text(Column::Title)?,
            inputs: self.payload(Column::Inputs)?,
            process_data: self.payload(Column::ProcessData)?,
            outputs: self.payload(Column::Outputs)?,
            status: NodeStatus::from(&*self.text(Column::Status)?),
            error: self.long_text(Column::Error)?,
            elapsed_time: self.seconds(Column::ElapsedTime)?,
            execution_metadata: self.payload(Column::ExecutionMetadata)?,
            created_at: self.timestamp(Column::CreatedAt)?,
            created_by_role: self.text(Column::CreatedByRole)?,
            created_by: self.id(Column::CreatedBy)?,
            finished_at: self.optional_timestamp(Column::FinishedAt)?,
        })
    }

    fn take_app_log(&mut self) -> Result<AppLog, Refusal> {
        Ok(AppLog {
            id: self.id(Column::Id)?,
            tenant_id: self.id(Column::TenantId)?,
            app_id: self.id(Column::AppId)?,
            workflow_id: self.id(Column::WorkflowId)?,
            workflow_run_id: self.id(Column::WorkflowRunId)?,
            created_from: self.text(Column::CreatedFrom)?,
            created_by_role: self.text(Column::CreatedByRole)?,
            created_by: self.id(Column::CreatedBy)?,
            creator: self.optional_text(Column::Creator, VARCHAR)?,
            created_at: self.timestamp(Column::CreatedAt)?,
        })
    }

    fn take_offload(&mut self) -> Result<Offload, Refusal> {
        Ok(Offload {
            id: self.id(Column::Id)?,
            tenant_id: self.id(Column::TenantId)?,
            app_id: self.id(Column::AppId)?,
            node_execution_id: self.optional_id(Column::NodeExecutionId)?,
            r#type: {
                let r#type = self.optional_text(Column::Type, OFFLOAD_TYPE)?;
                self.needed(Column::Type, r#type)?
            },
            file_id: self.id(Column::FileId)?,
            created_at: self.timestamp(Column::CreatedAt)?,
        })
    }
}
