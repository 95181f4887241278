//! The tokens of installations, encrypted: what is handed out, and who may renew it.

mod change;
mod lease;

use common_auth::Tenant;
use time::OffsetDateTime;
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

pub use self::{
    change::{Backoff, Refusal, forget_refusal, mark_failed, mark_refused, refuse, save_refreshed},
    lease::{DueRecord, LeaseRecord, StandingRecord, acquire_lease, find_standing, insert_empty, list_due},
};
use super::{Executor, StoreError, execute, query};

/// One of the credentials of an installation.
#[derive(Clone, Copy, Debug)]
pub struct CredentialKey<'a> {
    pub installation_id: Uuid,
    pub kind: &'a str,
}

/// Who asks for which token.
#[derive(Clone, Copy, Debug)]
pub struct HandOutQuery<'a> {
    pub platform: &'a str,
    pub installation_id: Option<Uuid>,
    /// The first of these that an installation has.
    pub kinds: &'a [&'a str],
    /// How long the token has to last at least.
    pub min_ttl_seconds: f64,
    /// Whether the stored token is wanted, and not one made to measure.
    pub is_stored_wanted: bool,
    /// The row to write into the audit.
    pub audit: &'a HandOutAudit<'a>,
}

/// What is written down of a hand-out.
#[derive(Clone, Copy, Debug)]
pub struct HandOutAudit<'a> {
    pub id: Uuid,
    pub client_id: &'a str,
    pub reason: &'a str,
    pub request_id: Option<&'a str>,
}

/// An installation that may be meant, with the credential that may be handed out.
#[derive(Clone, Debug)]
pub struct HandOutRecord {
    pub installation_id: Uuid,
    pub status: String,
    pub status_reason: Option<String>,
    pub external_org_id: Option<String>,
    pub external_install_id: Option<String>,
    /// None: the installation has no such credential.
    pub kind: Option<String>,
    pub access_token_encrypted: Option<String>,
    pub token_expires_at: Option<OffsetDateTime>,
    pub scopes: Vec<String>,
    pub refused_reason: Option<String>,
    /// By the database's clock.
    pub now: OffsetDateTime,
    /// The token is good, and the hand-out is in the audit.
    pub is_handed_out: bool,
}

/// A credential, encrypted.
#[derive(Clone, Debug)]
pub struct SealedCredential {
    pub kind: &'static str,
    pub access_token_encrypted: String,
    pub refresh_token_encrypted: Option<String>,
    pub token_expires_at: Option<OffsetDateTime>,
    pub refresh_expires_at: Option<OffsetDateTime>,
    pub absolute_expires_at: Option<OffsetDateTime>,
    pub scopes: Vec<String>,
    pub key_id: String,
}

/// A row of `installation_credentials`, as far as it takes to use it.
#[derive(Clone, Debug)]
pub struct CredentialRecord {
    pub kind: String,
    pub access_token_encrypted: Option<String>,
    pub refresh_token_encrypted: Option<String>,
    pub token_expires_at: Option<OffsetDateTime>,
    pub refresh_expires_at: Option<OffsetDateTime>,
    pub absolute_expires_at: Option<OffsetDateTime>,
    pub scopes: Vec<String>,
    pub credential_version: i64,
    pub refused_reason: Option<String>,
}

/// What may be handed out to a service, and its row in the audit, in one statement. More than one record: the service has to say
/// which. A record that is not handed out says why by its fields.
pub async fn hand_out(
    db: &impl Executor,
    tenant: &Tenant,
    wish: &HandOutQuery<'_>,
) -> Result<Vec<HandOutRecord>, StoreError> {
    let sql = "WITH found AS ( \
                 SELECT DISTINCT ON (i.id) i.id, i.status, i.status_reason, i.external_org_id, i.external_install_id, \
                        c.kind, c.access_token_encrypted, c.token_expires_at, c.scopes, c.refused_reason \
                 FROM oauth_installations i LEFT JOIN installation_credentials c \
                   ON c.org_id = i.org_id AND c.installation_id = i.id AND c.kind = ANY($4) \
                      AND (c.access_token_encrypted IS NOT NULL OR c.refused_reason IS NOT NULL OR c.kind = 'installation') \
                 WHERE i.org_id = $1 AND i.platform = $2 AND ($3::uuid IS NULL OR i.id = $3) \
                   AND i.revoked_at IS NULL AND i.status <> 'pending_approval' \
                 ORDER BY i.id, array_position($4, c.kind) LIMIT 20 \
               ), handed AS ( \
                 INSERT INTO token_hand_outs (id, client_id, org_id, installation_id, kind, reason, request_id) \
                 SELECT $5::uuid, $6::text, $1::uuid, id, kind, $7::text, $8::text FROM found \
                 WHERE $10 AND (SELECT count(*) FROM found) = 1 AND status = 'active' AND refused_reason IS NULL \
                   AND access_token_encrypted IS NOT NULL \
                   AND (token_expires_at IS NULL OR token_expires_at >= now() + make_interval(secs => $9)) \
                 RETURNING installation_id \
               ) SELECT *, now() AS now, EXISTS (SELECT FROM handed) AS is_handed_out FROM found";
    let audit = wish.audit;
    let parameters: [&(dyn ToSql + Sync); 10] = [
        &tenant.org_id(),
        &wish.platform,
        &wish.installation_id,
        &wish.kinds,
        &audit.id,
        &audit.client_id,
        &audit.reason,
        &audit.request_id,
        &wish.min_ttl_seconds,
        &wish.is_stored_wanted,
    ];
    query(db, sql, &parameters).await?.iter().map(hand_out_from_row).collect()
}

/// Writes a hand-out of a token down that stands in no row.
pub async fn insert_hand_out(
    db: &impl Executor,
    tenant: &Tenant,
    installation_id: Uuid,
    kind: &str,
    audit: &HandOutAudit<'_>,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO token_hand_outs (id, client_id, org_id, installation_id, kind, reason, request_id) \
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let parameters: [&(dyn ToSql + Sync); 7] = [
        &audit.id,
        &audit.client_id,
        &tenant.org_id(),
        &installation_id,
        &kind,
        &audit.reason,
        &audit.request_id,
    ];
    execute(db, sql, &parameters).await.map(drop)
}

/// Deletes hand-outs whose ids, which grow with time, come before this one; the number of rows.
pub async fn delete_hand_outs_before(db: &impl Executor, id: Uuid, most: i64) -> Result<u64, StoreError> {
    let sql = "DELETE FROM token_hand_outs WHERE id IN ( \
                 SELECT id FROM token_hand_outs WHERE id < $1 ORDER BY id LIMIT $2)";
    execute(db, sql, &[&id, &most]).await
}

/// Writes a credential of a new consent, whatever stood there; whoever renews the old one comes too late.
pub async fn replace(
    db: &impl Executor,
    tenant: &Tenant,
    installation_id: Uuid,
    credential: &SealedCredential,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO installation_credentials AS c (installation_id, kind, org_id, access_token_encrypted, \
                 refresh_token_encrypted, token_expires_at, refresh_expires_at, absolute_expires_at, scopes, key_id) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
               ON CONFLICT (installation_id, kind) DO UPDATE SET \
                 access_token_encrypted = $4, refresh_token_encrypted = $5, token_expires_at = $6, \
                 refresh_expires_at = $7, absolute_expires_at = $8, scopes = $9, key_id = $10, \
                 credential_version = c.credential_version + 1, lease_holder = NULL, lease_until = NULL, \
                 last_refresh_at = NULL, last_refresh_error = NULL, refused_reason = NULL, failures = 0, \
                 next_attempt_at = NULL, created_at = now(), updated_at = now()";
    let parameters: [&(dyn ToSql + Sync); 10] = [
        &installation_id,
        &credential.kind,
        &tenant.org_id(),
        &credential.access_token_encrypted,
        &credential.refresh_token_encrypted,
        &credential.token_expires_at,
        &credential.refresh_expires_at,
        &credential.absolute_expires_at,
        &credential.scopes,
        &credential.key_id,
    ];
    execute(db, sql, &parameters).await.map(drop)
}

/// Deletes every token of an installation. The rows stay for their versions: whoever renews one of them comes too late, also after
/// the next consent.
pub async fn wipe(db: &impl Executor, tenant: &Tenant, installation_id: Uuid) -> Result<(), StoreError> {
    let sql = "UPDATE installation_credentials SET access_token_encrypted = NULL, refresh_token_encrypted = NULL, \
                 token_expires_at = NULL, refresh_expires_at = NULL, absolute_expires_at = NULL, key_id = NULL, \
                 credential_version = credential_version + 1, lease_holder = NULL, lease_until = NULL, \
                 refused_reason = NULL, last_refresh_error = NULL, failures = 0, next_attempt_at = NULL, updated_at = now() \
               WHERE org_id = $1 AND installation_id = $2";
    execute(db, sql, &[&tenant.org_id(), &installation_id]).await.map(drop)
}

/// The credentials of an installation.
pub async fn list(
    db: &impl Executor,
    tenant: &Tenant,
    installation_id: Uuid,
) -> Result<Vec<CredentialRecord>, StoreError> {
    let sql =
        "SELECT * FROM installation_credentials WHERE org_id = $1 AND installation_id = $2 ORDER BY kind";
    let rows = query(db, sql, &[&tenant.org_id(), &installation_id]).await?;
    rows.iter().map(credential_from_row).collect()
}

fn hand_out_from_row(row: &Row) -> Result<HandOutRecord, StoreError> {
    Ok(HandOutRecord {
        installation_id: row.try_get("id")?,
        status: row.try_get("status")?,
        status_reason: row.try_get("status_reason")?,
        external_org_id: row.try_get("external_org_id")?,
        external_install_id: row.try_get("external_install_id")?,
        kind: row.try_get("kind")?,
        access_token_encrypted: row.try_get("access_token_encrypted")?,
        token_expires_at: row.try_get("token_expires_at")?,
        scopes: row.try_get::<_, Option<_>>("scopes")?.unwrap_or_default(),
        refused_reason: row.try_get("refused_reason")?,
        now: row.try_get("now")?,
        is_handed_out: row.try_get("is_handed_out")?,
    })
}

fn credential_from_row(row: &Row) -> Result<CredentialRecord, StoreError> {
    Ok(CredentialRecord {
        kind: row.try_get("kind")?,
        access_token_encrypted: row.try_get("access_token_encrypted")?,
        refresh_token_encrypted: row.try_get("refresh_token_encrypted")?,
        token_expires_at: row.try_get("token_expires_at")?,
        refresh_expires_at: row.try_get("refresh_expires_at")?,
        absolute_expires_at: row.try_get("absolute_expires_at")?,
        scopes: row.try_get("scopes")?,
        credential_version: row.try_get("credential_version")?,
        refused_reason: row.try_get("refused_reason")?,
    })
}
