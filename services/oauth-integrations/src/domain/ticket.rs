//! Tickets and sessions: what opens a page for a browser that carries no access token.

use std::time::Duration;

use common_auth::{Tenant, TokenOrigin, User};
use secrecy::SecretString;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Integrations, opaque, provider::Platform, return_to::ReturnTo, state::Wish};
use crate::store::{self, StoreError, ticket::TicketRecord};

/// What connects and disconnects takes this permission of a user.
pub const MANAGE: &str = "integrations:manage";
/// How long a ticket lasts: it is opened, and what it opens is answered, within this.
pub const TICKET_LIFE: Duration = Duration::from_mins(1);
/// How long the page of data sources stays open.
pub const SESSION_LIFE: Duration = Duration::from_mins(15);

/// Tickets and sessions that one user may have at once.
const MOST_PER_USER: i64 = 100;
const INSTALL: &str = "install";
const PAGE: &str = "page";
const SESSION: &str = "session";

/// The user that a ticket or session speaks for.
#[derive(Clone, Debug)]
pub struct Holder {
    pub org_id: Uuid,
    pub user_id: Uuid,
    /// For people to read.
    pub user_name: Option<String>,
    pub app_id: Option<Uuid>,
    /// The access token that it comes from.
    pub origin: TokenOrigin,
    /// Whether the user may connect and disconnect.
    pub can_manage: bool,
}

/// A ticket just made; only its holder has the secret.
#[derive(Debug)]
pub struct Issued {
    pub secret: SecretString,
    pub expires_at: OffsetDateTime,
}

/// Why there is no ticket.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    #[error("the user has too many tickets")]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Holder {
    /// The holder that this user's token makes.
    pub fn of(user: &User, origin: TokenOrigin) -> Self {
        let name = user.email.clone().or_else(|| user.username.clone());
        Self {
            org_id: user.org_id,
            user_id: user.user_id,
            user_name: name,
            app_id: user.app_id,
            origin,
            can_manage: user.permissions.iter().any(|permission| permission == MANAGE),
        }
    }

    /// The organization of the row that the holder was read from.
    pub fn tenant(&self) -> Tenant {
        Tenant::of_record(self.org_id)
    }

    /// Whether the user logged out or lost the right since. Where tokens are checked at auth-api nobody knows; then time alone ends it.
    pub fn is_revoked(&self, integrations: &Integrations) -> bool {
        let watcher = integrations.revocations.as_ref();
        watcher.is_some_and(|watcher| watcher.is_origin_revoked(&self.origin))
    }
}

/// Makes a ticket for connecting one platform.
pub async fn issue_install(integrations: &Integrations, wish: &Wish) -> Result<Issued, TicketError> {
    let record = TicketRecord {
        platform: Some(wish.platform.as_str().to_owned()),
        installation_id: wish.installation_id,
        return_to: wish.return_to.as_ref().map(|address| address.as_str().to_owned()),
        chat_session_id: wish.chat_session_id.clone(),
        correlation_id: wish.correlation_id.clone(),
        ..record(INSTALL, &wish.holder)
    };
    issue(integrations, &record, TICKET_LIFE).await
}

/// What the ticket is for, without using it up: the page that asks may be looked at twice.
pub async fn find_install(
    integrations: &Integrations,
    secret: &SecretString,
) -> Result<Option<Wish>, StoreError> {
    let connection = integrations.db.connection().await?;
    let found = store::ticket::find(&connection, &opaque::digest(secret), INSTALL).await?;
    let wish = found.map(wish).transpose()?;
    Ok(wish.filter(|wish| !wish.holder.is_revoked(integrations)))
}

/// The same, used up.
pub async fn take_install(
    integrations: &Integrations,
    secret: &SecretString,
) -> Result<Option<Wish>, StoreError> {
    let connection = integrations.db.connection().await?;
    let found = store::ticket::take(&connection, &opaque::digest(secret), INSTALL).await?;
    let wish = found.map(wish).transpose()?;
    Ok(wish.filter(|wish| !wish.holder.is_revoked(integrations)))
}

/// Makes a ticket that opens the page of data sources.
pub async fn issue_page(integrations: &Integrations, holder: &Holder) -> Result<Issued, TicketError> {
    issue(integrations, &record(PAGE, holder), TICKET_LIFE).await
}

/// Trades the ticket for a session of the page.
pub async fn open_session(
    integrations: &Integrations,
    secret: &SecretString,
) -> Result<Option<Issued>, TicketError> {
    let connection = integrations.db.connection().await?;
    let Some(ticket) = store::ticket::take(&connection, &opaque::digest(secret), PAGE).await? else {
        return Ok(None);
    };
    drop(connection);
    let holder = holder(&ticket)?;
    if holder.is_revoked(integrations) {
        return Ok(None);
    }
    issue(integrations, &record(SESSION, &holder), SESSION_LIFE).await.map(Some)
}

/// Whose session this is.
pub async fn find_session(
    integrations: &Integrations,
    secret: &SecretString,
) -> Result<Option<Holder>, StoreError> {
    let connection = integrations.db.connection().await?;
    let found = store::ticket::find(&connection, &opaque::digest(secret), SESSION).await?;
    let holder = found.map(|ticket| holder(&ticket)).transpose()?;
    Ok(holder.filter(|holder| !holder.is_revoked(integrations)))
}

async fn issue(
    integrations: &Integrations,
    record: &TicketRecord,
    life: Duration,
) -> Result<Issued, TicketError> {
    let secret = opaque::generate();
    let connection = integrations.db.connection().await?;
    let digest = opaque::digest(&secret);
    let expires_at =
        store::ticket::insert(&connection, &digest, record, life.as_secs_f64(), MOST_PER_USER).await?;
    Ok(Issued { secret, expires_at: expires_at.ok_or(TicketError::TooMany)? })
}

fn record(kind: &'static str, holder: &Holder) -> TicketRecord {
    TicketRecord {
        kind,
        org_id: holder.org_id,
        user_id: holder.user_id,
        user_name: holder.user_name.clone(),
        app_id: holder.app_id,
        origin: write_origin(&holder.origin),
        can_manage: holder.can_manage,
        platform: None,
        installation_id: None,
        return_to: None,
        chat_session_id: None,
        correlation_id: None,
        details: serde_json::Value::Object(serde_json::Map::default()),
    }
}

fn holder(ticket: &TicketRecord) -> Result<Holder, StoreError> {
    Ok(Holder {
        org_id: ticket.org_id,
        user_id: ticket.user_id,
        user_name: ticket.user_name.clone(),
        app_id: ticket.app_id,
        origin: read_origin(ticket.origin.clone())?,
        can_manage: ticket.can_manage,
    })
}

/// The token that a row was made from.
pub(super) fn read_origin(origin: serde_json::Value) -> Result<TokenOrigin, StoreError> {
    serde_json::from_value(origin).map_err(|_| StoreError::Row("a row names no token that it was made from"))
}

/// The same as it is stored; ids always have a JSON form.
pub(super) fn write_origin(origin: &TokenOrigin) -> serde_json::Value {
    serde_json::to_value(origin).unwrap_or_default()
}

fn wish(ticket: TicketRecord) -> Result<Wish, StoreError> {
    let platform: Option<Platform> = ticket.platform.as_deref().and_then(|name| name.parse().ok());
    Ok(Wish {
        holder: holder(&ticket)?,
        platform: platform.ok_or(StoreError::Row("a ticket is for no known platform"))?,
        installation_id: ticket.installation_id,
        return_to: ticket.return_to.map(ReturnTo::of_record),
        chat_session_id: ticket.chat_session_id,
        correlation_id: ticket.correlation_id,
    })
}
