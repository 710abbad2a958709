//! Who accounts and end users are: look-ups by key, never a scan of a table that grows with Dify's use.
//!
//! Session ids have no index of their own; what looks them up is bounded by the tenant and by a number of answers.

use uuid::Uuid;

use super::{Client, PostgresError};

/// A row of `accounts`: id, name, e-mail.
pub type AccountRow = (Uuid, String, String);
/// A row of `end_users`: id, type, session id.
pub type EndUserRow = (Uuid, String, String);

/// Returns whether the database says who is a member of which tenant. Dify's does; one that holds copies of a few
/// tables may not, and then accounts are not told apart by tenant.
async fn knows_members(client: &Client) -> Result<bool, PostgresError> {
    let row = client.query_one("SELECT to_regclass('tenant_account_joins') IS NOT NULL", &[]).await?;
    Ok(row.try_get(0)?)
}

/// Accounts that are members of a tenant by their ids, in no order; see [`knows_members`].
///
/// # Errors
/// [`PostgresError`] if the database cannot be asked. So for every function here.
pub async fn accounts(client: &Client, tenant: Uuid, ids: &[Uuid]) -> Result<Vec<AccountRow>, PostgresError> {
    let rows = if knows_members(client).await? {
        let statement = "SELECT id, name, email FROM accounts WHERE id = ANY($2) AND EXISTS (SELECT FROM \
                         tenant_account_joins j WHERE j.account_id = accounts.id AND j.tenant_id = $1)";
        client.query(statement, &[&tenant, &ids]).await?
    } else {
        client.query("SELECT id, name, email FROM accounts WHERE id = ANY($1)", &[&ids]).await?
    };
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}

/// End users of a tenant by their ids, in no order.
///
/// # Errors
/// See [`accounts`].
pub async fn end_users(client: &Client, tenant: Uuid, ids: &[Uuid]) -> Result<Vec<EndUserRow>, PostgresError> {
    let statement = "SELECT id, type, session_id FROM end_users WHERE id = ANY($2) AND tenant_id = $1";
    let rows = client.query(statement, &[&tenant, &ids]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}

/// Ids of the end users of a tenant with exactly this session id, at most `limit`.
///
/// # Errors
/// See [`accounts`].
pub async fn end_users_of_session(
    client: &Client,
    tenant: Uuid,
    session_id: &str,
    limit: i64,
) -> Result<Vec<Uuid>, PostgresError> {
    let statement = "SELECT id FROM end_users WHERE tenant_id = $1 AND session_id = $2 LIMIT $3";
    let rows = client.query(statement, &[&tenant, &session_id, &limit]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Ids of the end users of a tenant whose session id holds a text, without regard to case, at most `limit`.
///
/// # Errors
/// See [`accounts`].
pub async fn end_users_matching(
    client: &Client,
    tenant: Uuid,
    text: &str,
    limit: i64,
) -> Result<Vec<Uuid>, PostgresError> {
    let statement =
        "SELECT id FROM end_users WHERE tenant_id = $1 AND strpos(lower(session_id), lower($2)) > 0 LIMIT $3";
    let rows = client.query(statement, &[&tenant, &text, &limit]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Returns the account with exactly this e-mail. Where the database says who is a member of which tenant, a member of
/// the tenant.
///
/// # Errors
/// See [`accounts`].
pub async fn account_of_email(client: &Client, tenant: Uuid, email: &str) -> Result<Option<Uuid>, PostgresError> {
    let row = if knows_members(client).await? {
        let statement = "SELECT a.id FROM accounts a JOIN tenant_account_joins j ON j.account_id = a.id \
                         WHERE a.email = $1 AND j.tenant_id = $2 LIMIT 1";
        client.query_opt(statement, &[&email, &tenant]).await?
    } else {
        client.query_opt("SELECT id FROM accounts WHERE email = $1 LIMIT 1", &[&email]).await?
    };
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}

/// Returns every account that is a member of a tenant, in no order; none where the database does not say who is.
///
/// # Errors
/// See [`accounts`].
pub async fn members(client: &Client, tenant: Uuid) -> Result<Vec<AccountRow>, PostgresError> {
    if !knows_members(client).await? {
        return Ok(Vec::new());
    }
    let statement = "SELECT a.id, a.name, a.email FROM accounts a \
                     JOIN tenant_account_joins j ON j.account_id = a.id WHERE j.tenant_id = $1";
    let rows = client.query(statement, &[&tenant]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}
