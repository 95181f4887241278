//! What is done ahead of need for all organizations: renewals, warnings, and questions to the providers.

use std::{sync::Arc, time::Duration};

use common_auth::Tenant;
use futures_util::{StreamExt, stream};

use super::{CredentialError, RENEW_AHEAD, check, renew};
use crate::{
    domain::Integrations,
    store::{self, StoreError, credential::DueRecord},
};

/// Credentials and installations looked after by one pass, and of them at the same time.
const BATCH: i64 = 100;
const AT_ONCE: usize = 4;
/// A grant's end is announced so many days before, and so is a refresh token's: one that comes that close could not be used.
const GRANT_WITHIN_DAYS: f64 = 30.0;
const REFRESH_WITHIN_DAYS: f64 = 14.0;
/// So many failures in a row, over some minutes, are no passing trouble any more.
const MANY_FAILURES: i32 = 10;
/// How long a provider's word on a connection is good for.
const PROBE_AFTER: Duration = Duration::from_hours(6);

/// Renews what ends soon and is in use, would end unused, or was cut off at its last renewal; and marks the grants that end, and
/// what cannot be renewed; how many renewals there were.
pub async fn renew_due(integrations: &Arc<Integrations>) -> Result<usize, StoreError> {
    let connection = integrations.db.connection().await?;
    store::installation_status::mark_ends(&connection, GRANT_WITHIN_DAYS, REFRESH_WITHIN_DAYS).await?;
    store::installation_status::mark_failing(&connection, MANY_FAILURES).await?;
    let within = RENEW_AHEAD.as_secs_f64();
    let due = store::credential::list_due(&connection, within, BATCH).await?;
    drop(connection);
    let count = due.len();
    stream::iter(due).for_each_concurrent(AT_ONCE, |record| renew_one(integrations, record)).await;
    Ok(count)
}

/// Asks providers about the connections that nobody has asked about for long; how many there were.
pub async fn reconcile(integrations: &Arc<Integrations>) -> Result<usize, StoreError> {
    let connection = integrations.db.connection().await?;
    let rows =
        store::installation_status::claim_unprobed(&connection, PROBE_AFTER.as_secs_f64(), BATCH).await?;
    drop(connection);
    let count = rows.len();
    stream::iter(rows)
        .for_each_concurrent(AT_ONCE, |row| async move {
            let outcome = check(integrations, &Tenant::of_record(row.org_id), row.id).await;
            match outcome {
                // Revoked meanwhile, or of a platform that is not offered any more.
                Ok(_) | Err(CredentialError::NotConnected | CredentialError::ProviderNotConfigured) => {}
                Err(error) => {
                    tracing::info!(%error, installation_id = %row.id, "a connection could not be asked about");
                }
            }
        })
        .await;
    Ok(count)
}

async fn renew_one(integrations: &Arc<Integrations>, record: DueRecord) {
    let (Ok(platform), Ok(kind)) = (record.platform.parse(), record.kind.parse()) else { return };
    let tenant = Tenant::of_record(record.org_id);
    let due_within = (!record.is_owed).then_some(RENEW_AHEAD);
    renew(integrations, tenant, record.installation_id, platform, kind, due_within).await;
}
