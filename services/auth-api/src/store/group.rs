//! Groups and their members.

use common_auth::Tenant;
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Executor, StoreError, execute, query, query_one, query_opt};

/// A row of `groups`.
#[derive(Clone, Debug)]
pub struct GroupRecord {
    pub id: Uuid,
    pub org_id: Uuid,
    pub name: String,
    pub description: String,
    pub created_by: Option<Uuid>,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

/// A member of a group, with what is shown of the user.
#[derive(Clone, Debug)]
pub struct GroupMemberRecord {
    pub user_id: Uuid,
    pub username: String,
    pub email: String,
    pub role: String,
    pub joined_at: OffsetDateTime,
}

/// A member as the directory lists it.
#[derive(Clone, Debug)]
pub struct DirectoryMemberRecord {
    pub group_id: Uuid,
    pub user_id: Uuid,
    pub role: String,
}

const COLUMNS: &str = "g.id, g.org_id, g.name, g.description, g.created_by, g.created_at, g.updated_at";

/// The organization of a group: all that is told before it is known whether the caller may see more.
pub async fn find_org(db: &impl Executor, group_id: Uuid) -> Result<Option<Uuid>, StoreError> {
    let row = query_opt(db, "SELECT org_id FROM groups WHERE id = $1", &[&group_id]).await?;
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}

pub async fn find(
    tenant: Tenant,
    db: &impl Executor,
    group_id: Uuid,
) -> Result<Option<GroupRecord>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM groups g WHERE g.org_id = $1 AND g.id = $2");
    query_opt(db, &sql, &[&tenant.org_id(), &group_id]).await?.as_ref().map(from_row).transpose()
}

/// The group, if the user still belongs to its organization.
pub async fn find_for_user(
    tenant: Tenant,
    db: &impl Executor,
    group_id: Uuid,
    user_id: Uuid,
) -> Result<Option<GroupRecord>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM groups g JOIN org_members m ON m.org_id = g.org_id AND m.user_id = $3 \
         WHERE g.org_id = $1 AND g.id = $2"
    );
    query_opt(db, &sql, &[&tenant.org_id(), &group_id, &user_id]).await?.as_ref().map(from_row).transpose()
}

/// Groups in the order of their ids, after `after`.
pub async fn list(
    tenant: Tenant,
    db: &impl Executor,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<GroupRecord>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM groups g WHERE g.org_id = $1 AND ($2::uuid IS NULL OR g.id > $2) ORDER BY g.id LIMIT $3"
    );
    query(db, &sql, &[&tenant.org_id(), &after, &limit]).await?.iter().map(from_row).collect()
}

/// The members of these groups, group by group, up to `limit`.
pub async fn list_directory_members(
    tenant: Tenant,
    db: &impl Executor,
    group_ids: &[Uuid],
    limit: i64,
) -> Result<Vec<DirectoryMemberRecord>, StoreError> {
    let sql = "SELECT group_id, user_id, role FROM group_members WHERE org_id = $1 AND group_id = ANY($2) \
               ORDER BY group_id, user_id LIMIT $3";
    let rows = query(db, sql, &[&tenant.org_id(), &group_ids, &limit]).await?;
    rows.iter()
        .map(|row| {
            Ok(DirectoryMemberRecord {
                group_id: row.try_get(0)?,
                user_id: row.try_get(1)?,
                role: row.try_get(2)?,
            })
        })
        .collect()
}

/// The members of a group, the earliest first.
pub async fn list_members(
    tenant: Tenant,
    db: &impl Executor,
    group_id: Uuid,
) -> Result<Vec<GroupMemberRecord>, StoreError> {
    let sql = "SELECT u.id, u.username, u.email, m.role, m.joined_at FROM group_members m \
               JOIN users u ON u.id = m.user_id WHERE m.org_id = $1 AND m.group_id = $2 ORDER BY m.joined_at, u.id";
    query(db, sql, &[&tenant.org_id(), &group_id]).await?.iter().map(member_from_row).collect()
}

pub async fn find_member(
    tenant: Tenant,
    db: &impl Executor,
    group_id: Uuid,
    user_id: Uuid,
) -> Result<Option<GroupMemberRecord>, StoreError> {
    let sql = "SELECT u.id, u.username, u.email, m.role, m.joined_at FROM group_members m \
               JOIN users u ON u.id = m.user_id WHERE m.org_id = $1 AND m.group_id = $2 AND m.user_id = $3";
    query_opt(db, sql, &[&tenant.org_id(), &group_id, &user_id])
        .await?
        .as_ref()
        .map(member_from_row)
        .transpose()
}

/// The groups of a user in the organization.
pub async fn list_ids_of_user(
    tenant: Tenant,
    db: &impl Executor,
    user_id: Uuid,
) -> Result<Vec<Uuid>, StoreError> {
    let sql =
        "SELECT group_id FROM group_members WHERE org_id = $1 AND user_id = $2 ORDER BY group_id FOR UPDATE";
    query(db, sql, &[&tenant.org_id(), &user_id]).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

pub async fn insert(tenant: Tenant, db: &impl Executor, group: &GroupRecord) -> Result<(), StoreError> {
    let sql = "INSERT INTO groups (id, org_id, name, description, created_by, created_at, updated_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 7] = [
        &group.id,
        &tenant.org_id(),
        &group.name,
        &group.description,
        &group.created_by,
        &group.created_at,
        &group.updated_at,
    ];
    execute(db, sql, &parameters).await.map(drop)
}

/// Adds a member or sets its role; the role that it had before, if it was one.
///
/// The foreign key `group_members_in_org` refuses a user of another organization.
pub async fn upsert_member(
    tenant: Tenant,
    db: &impl Executor,
    group_id: Uuid,
    user_id: Uuid,
    role: &str,
    now: OffsetDateTime,
) -> Result<Option<String>, StoreError> {
    let sql = "WITH before AS (SELECT role FROM group_members WHERE group_id = $1 AND user_id = $2), \
               written AS (INSERT INTO group_members (group_id, user_id, org_id, role, joined_at) VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT (group_id, user_id) DO UPDATE SET role = excluded.role RETURNING 1) \
               SELECT (SELECT role FROM before) FROM written";
    let row = query_one(db, sql, &[&group_id, &user_id, &tenant.org_id(), &role, &now]).await?;
    Ok(row.try_get(0)?)
}

pub async fn delete_member(
    tenant: Tenant,
    db: &impl Executor,
    group_id: Uuid,
    user_id: Uuid,
) -> Result<bool, StoreError> {
    let sql = "DELETE FROM group_members WHERE org_id = $1 AND group_id = $2 AND user_id = $3";
    Ok(execute(db, sql, &[&tenant.org_id(), &group_id, &user_id]).await? > 0)
}

fn from_row(row: &Row) -> Result<GroupRecord, StoreError> {
    Ok(GroupRecord {
        id: row.try_get(0)?,
        org_id: row.try_get(1)?,
        name: row.try_get(2)?,
        description: row.try_get(3)?,
        created_by: row.try_get(4)?,
        created_at: row.try_get(5)?,
        updated_at: row.try_get(6)?,
    })
}

fn member_from_row(row: &Row) -> Result<GroupMemberRecord, StoreError> {
    Ok(GroupMemberRecord {
        user_id: row.try_get(0)?,
        username: row.try_get(1)?,
        email: row.try_get(2)?,
        role: row.try_get(3)?,
        joined_at: row.try_get(4)?,
    })
}
