//! Sets of tenants.

use std::collections::BTreeSet;

use super::TenantId;

/// A set of tenants, told by its members or, as nobody knows all that there will be, by those that it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantSet {
    AllBut(BTreeSet<TenantId>),
    Only(BTreeSet<TenantId>),
}

impl TenantSet {
    /// Returns the set of all tenants.
    #[must_use]
    pub const fn everybody() -> Self {
        Self::AllBut(BTreeSet::new())
    }

    /// Returns the set of one tenant.
    #[must_use]
    pub fn one(tenant_id: TenantId) -> Self {
        Self::Only(BTreeSet::from([tenant_id]))
    }

    /// Returns whether a tenant is in it.
    #[must_use]
    pub fn contains(&self, tenant_id: TenantId) -> bool {
        match self {
            Self::AllBut(others) => !others.contains(&tenant_id),
            Self::Only(members) => members.contains(&tenant_id),
        }
    }

    /// Returns whether every tenant is in it, whoever may come.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        matches!(self, Self::AllBut(others) if others.is_empty())
    }
}
