//! Who belongs to which organization, and as what.

use common_auth::Tenant;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Executor, StoreError, execute, query, query_one, query_opt};

/// A user's place in an organization.
#[derive(Clone, Debug)]
pub struct MembershipRecord {
    pub org_id: Uuid,
    pub org_name: String,
    pub role: String,
}

/// Every organization of a user, the oldest membership first.
pub async fn list_of_user(db: &impl Executor, user_id: Uuid) -> Result<Vec<MembershipRecord>, StoreError> {
    let sql = "SELECT o.id, o.name, m.role FROM org_members m JOIN orgs o ON o.id = m.org_id \
               WHERE m.user_id = $1 ORDER BY m.joined_at, o.id";
    let rows = query(db, sql, &[&user_id]).await?;
    rows.iter()
        .map(|row| {
            Ok(MembershipRecord { org_id: row.try_get(0)?, org_name: row.try_get(1)?, role: row.try_get(2)? })
        })
        .collect()
}

/// A user's role, kept from changing until the transaction ends: whoever removes a member waits for tokens in the making.
pub async fn find_role_shared(
    db: &impl Executor,
    org_id: Uuid,
    user_id: Uuid,
) -> Result<Option<String>, StoreError> {
    let sql = "SELECT role FROM org_members WHERE org_id = $1 AND user_id = $2 FOR SHARE";
    let row = query_opt(db, sql, &[&org_id, &user_id]).await?;
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}

pub async fn find_role(
    tenant: Tenant,
    db: &impl Executor,
    user_id: Uuid,
) -> Result<Option<String>, StoreError> {
    let sql = "SELECT role FROM org_members WHERE org_id = $1 AND user_id = $2";
    let row = query_opt(db, sql, &[&tenant.org_id(), &user_id]).await?;
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}

/// The number of owners. The rows stay locked, so that two owners removed at once do not leave none.
pub async fn count_owners(tenant: Tenant, db: &impl Executor) -> Result<i64, StoreError> {
    let sql = "SELECT count(*) FROM (SELECT 1 FROM org_members WHERE org_id = $1 AND role = 'owner' FOR UPDATE) AS owners";
    Ok(query_one(db, sql, &[&tenant.org_id()]).await?.try_get(0)?)
}

pub async fn insert(
    db: &impl Executor,
    org_id: Uuid,
    user_id: Uuid,
    role: &str,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO org_members (org_id, user_id, role, joined_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    Ok(execute(db, sql, &[&org_id, &user_id, &role, &now]).await? > 0)
}

/// Removes a member, and with it the memberships in the organization's groups.
pub async fn delete(tenant: Tenant, db: &impl Executor, user_id: Uuid) -> Result<bool, StoreError> {
    let sql = "DELETE FROM org_members WHERE org_id = $1 AND user_id = $2";
    Ok(execute(db, sql, &[&tenant.org_id(), &user_id]).await? > 0)
}
