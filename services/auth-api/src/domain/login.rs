//! Logging in with a password, and logging out.

use std::time::Duration;

use secrecy::SecretString;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Identity,
    audit::{self, Circumstances, Event},
    failure::Limited,
    feed,
    jwks::KeyError,
    key_encryption::OpenError,
    login_attempt::{AttemptError, LoginAttempt},
    network::Network,
    password::{PasswordError, Verdict},
    revocation::Revocation,
    role::Role,
    session,
    token::{
        self, AccessToken, FIRST_PARTY, LOGIN_SCOPE, RefreshToken, TokenUser, USER_AUDIENCES, UserGrant,
    },
    user::Email,
};
use crate::store::{
    self, StoreError, Transaction, family::FamilyRecord, org_member::MembershipRecord, user::UserRecord,
};

/// How often a login waits for the second after a revocation.
const MOST_WAITS: usize = 3;

/// What somebody logs in with.
pub struct Login {
    pub email: String,
    pub password: SecretString,
    pub org_id: Option<Uuid>,
    pub app_id: Option<Uuid>,
}

/// What a login brings.
pub struct LoggedIn {
    pub access_token: AccessToken,
    pub refresh_token: SecretString,
    pub user: TokenUser,
    /// The value of the session cookie.
    pub cookie: SecretString,
    pub session_life: Duration,
}

/// Why a login is refused.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// An unknown user, a wrong password or a disabled user: it looks and lasts the same from outside.
    #[error("Invalid email or password")]
    InvalidCredentials,
    /// Too many logins failed before: it looks the same whoever it was about.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// The user belongs to several organizations and did not say which.
    #[error("The user belongs to several organizations; name one as org_id")]
    OrgRequired(Vec<MembershipRecord>),
    #[error("The user belongs to no such organization")]
    UnknownOrg,
    #[error("The app is not one of the organization's")]
    InvalidApp,
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Secret(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AttemptError> for LoginError {
    fn from(error: AttemptError) -> Self {
        match error {
            AttemptError::Limited(limited) => Self::Limited(limited),
            AttemptError::Store(error) => Self::Store(error),
        }
    }
}

/// Checks the password, then which organization and app are meant, and starts a family of tokens and a session.
pub async fn log_in(
    identity: &Identity,
    login: Login,
    circumstances: &Circumstances,
) -> Result<LoggedIn, LoginError> {
    let user = check_password(identity, &login, circumstances).await?;
    let (org_id, app_id) = choose_org(identity, &login, &user).await?;
    for _ in 0..MOST_WAITS {
        match start(identity, &user, org_id, app_id, circumstances).await? {
            Started::Done(logged_in) => return Ok(*logged_in),
            Started::TooEarly(pause) => tokio::time::sleep(pause).await,
        }
    }
    Err(StoreError::Unavailable("the user is being revoked again and again".to_owned()).into())
}

/// Ends a login: its refresh token, its sessions and, through the feed, its access tokens.
pub async fn log_out(
    identity: &Identity,
    family_id: Uuid,
    user_id: Uuid,
    circumstances: &Circumstances,
) -> Result<(), StoreError> {
    let mut connection = identity.db.connection().await?;
    let transaction = connection.transaction().await?;
    let now = store::clock(&transaction).await?;
    if !store::family::update_revoked(&transaction, family_id, "logout", now).await? {
        return Ok(());
    }
    let event = Event::new("logout").actor(user_id).target(family_id);
    audit::record(&transaction, event, circumstances, now).await?;
    feed::publish(transaction, identity, vec![Revocation::family(family_id, user_id)], Vec::new()).await
}

/// The user, if the password is right. Every refusal takes the same steps.
async fn check_password(
    identity: &Identity,
    login: &Login,
    circumstances: &Circumstances,
) -> Result<UserRecord, LoginError> {
    let attempt = LoginAttempt::begin(identity, &login.email, Network::of(circumstances.ip)).await?;
    // No connection is held while the password is hashed.
    let user = match login.email.parse::<Email>() {
        Ok(email) => store::user::find_by_email(&identity.db.connection().await?, email.as_str()).await?,
        Err(_) => None,
    };
    let hash = user.as_ref().filter(|user| !user.is_disabled).and_then(|user| user.password_hash.clone());
    let turn = identity.passwords.turn().await?;
    attempt.check()?;
    let verdict = turn.verify(login.password.clone(), hash.clone()).await?;
    match (verdict, user) {
        (Verdict::Right, Some(user)) => {
            attempt.succeed().await?;
            Ok(user)
        }
        (Verdict::RightButOld(new), Some(user)) => {
            attempt.succeed().await?;
            let connection = identity.db.connection().await?;
            let (old, now) = (hash.unwrap_or_default(), identity.clock.now());
            store::user::update_password_hash(&connection, user.id, &old, &new, now).await?;
            Ok(user)
        }
        (_, user) => {
            note_failure(identity, attempt, user, circumstances).await?;
            Err(LoginError::InvalidCredentials)
        }
    }
}

async fn note_failure(
    identity: &Identity,
    attempt: LoginAttempt<'_>,
    user: Option<UserRecord>,
    circumstances: &Circumstances,
) -> Result<(), StoreError> {
    let is_limited = attempt.fail().await?;
    let (connection, now) = (identity.db.connection().await?, identity.clock.now());
    // Whoever has to wait is written down once here, not with each attempt that comes too early.
    for name in ["login"].into_iter().chain(is_limited.then_some("login_limited")) {
        let mut event = Event::new(name).client(FIRST_PARTY).refused();
        if let Some(user) = &user {
            event = event.target(user.id);
        }
        audit::record(&connection, event, circumstances, now).await?;
    }
    Ok(())
}

async fn choose_org(
    identity: &Identity,
    login: &Login,
    user: &UserRecord,
) -> Result<(Uuid, Option<Uuid>), LoginError> {
    let connection = identity.db.connection().await?;
    let orgs = store::org_member::list_of_user(&connection, user.id).await?;
    let org_id = match (login.org_id, orgs.as_slice()) {
        (Some(wish), orgs) => {
            orgs.iter().find(|org| org.org_id == wish).ok_or(LoginError::UnknownOrg)?.org_id
        }
        (None, []) => return Err(LoginError::UnknownOrg),
        (None, [only]) => only.org_id,
        (None, _) => return Err(LoginError::OrgRequired(orgs)),
    };
    let app_id = store::app::find(&connection, org_id, login.app_id).await?;
    if login.app_id.is_some() && app_id.is_none() {
        return Err(LoginError::InvalidApp);
    }
    Ok((org_id, app_id))
}

enum Started {
    Done(Box<LoggedIn>),
    /// The user was revoked within this second.
    TooEarly(Duration),
}

async fn start(
    identity: &Identity,
    user: &UserRecord,
    org_id: Uuid,
    app_id: Option<Uuid>,
    circumstances: &Circumstances,
) -> Result<Started, LoginError> {
    let mut connection = identity.db.connection().await?;
    let transaction = connection.transaction().await?;
    let user =
        lock_user(&transaction, user.id, org_id, app_id).await?.ok_or(LoginError::InvalidCredentials)?;
    let now = store::clock(&transaction).await?;
    if let Some(pause) = pause_before_issue(&transaction, user.id, org_id, now).await? {
        return Ok(Started::TooEarly(pause));
    }
    let family = new_family(identity, &user, now);
    store::family::insert(&transaction, &family).await?;
    let session_life = identity.settings.session_life.min(identity.settings.refresh_absolute);
    let cookie = session::start(&transaction, family.id, now, now + session_life).await?;
    let event = Event::new("login").actor(user.id).client(FIRST_PARTY).org(org_id).target(family.id);
    audit::record(&transaction, event, circumstances, now).await?;
    transaction.commit().await?;
    let audiences = USER_AUDIENCES.map(str::to_owned).to_vec();
    let grant = UserGrant { user: &user, family: &family, scope: LOGIN_SCOPE, audiences, now };
    Ok(Started::Done(Box::new(LoggedIn {
        access_token: token::sign_for_user(identity, grant)?,
        refresh_token: RefreshToken::issue(&identity.secrets, &family, family.generation)?,
        user,
        cookie,
        session_life,
    })))
}

fn new_family(identity: &Identity, user: &TokenUser, now: OffsetDateTime) -> FamilyRecord {
    let nonce: [u8; 32] = rand::random();
    let settings = &identity.settings;
    let expires_at = now + settings.refresh_absolute;
    FamilyRecord {
        id: Uuid::now_v7(),
        user_id: user.id,
        org_id: user.org_id,
        app_id: user.app_id,
        client_id: FIRST_PARTY.to_owned(),
        scope: LOGIN_SCOPE.to_owned(),
        key_id: identity.secrets.primary_id().to_owned(),
        nonce: nonce.to_vec(),
        generation: 1,
        rotated_at: None,
        auth_time: now,
        idle_expires_at: (now + settings.refresh_idle).min(expires_at),
        expires_at,
        created_at: now,
        is_revoked: false,
    }
}

/// The user as it is now, kept as it is until the transaction ends; none where it may not have tokens any more.
///
/// Whoever disables the user or removes the member waits for this transaction, and so takes a later time for its revocation.
pub(super) async fn lock_user(
    transaction: &Transaction<'_>,
    user_id: Uuid,
    org_id: Uuid,
    app_id: Option<Uuid>,
) -> Result<Option<TokenUser>, StoreError> {
    let Some(user) = store::user::find_shared(transaction, user_id).await? else { return Ok(None) };
    let Some(role) = store::org_member::find_role_shared(transaction, org_id, user_id).await? else {
        return Ok(None);
    };
    let role: Role = role.parse().map_err(|_| StoreError::Row("a role is unknown"))?;
    let is_enabled = !user.is_disabled;
    Ok(is_enabled.then_some(TokenUser {
        id: user.id,
        email: user.email,
        username: user.username,
        org_id,
        app_id,
        role,
    }))
}

/// How long to wait until a token can be told from those that a revocation is about.
pub(super) async fn pause_before_issue(
    transaction: &Transaction<'_>,
    user_id: Uuid,
    org_id: Uuid,
    now: OffsetDateTime,
) -> Result<Option<Duration>, StoreError> {
    let subject = user_id.to_string();
    let issued_before = store::revocation::find_issued_before(transaction, &subject, Some(org_id)).await?;
    Ok(issued_before.and_then(|end| Duration::try_from(end - now).ok()).filter(|pause| !pause.is_zero()))
}
