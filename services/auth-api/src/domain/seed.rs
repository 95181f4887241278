//! The demo data: two organizations, three people, two groups and the six clients. Nothing of it exists unless asked for.

use common_auth::{Orgs, Principal, Service, Tenant, TenantError};
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Identity,
    change::{Change, ChangeKind},
    client::{self, ClientCredentials},
    feed,
    grant::CLIENT_CREDENTIALS,
    group::{self, GroupError, GroupRole},
    password::PasswordError,
    role::Role,
    user::Email,
};
use crate::store::{
    self, StoreError, Transaction, client::ClientRecord, group::GroupRecord, notification::Notification,
    org::OrgRecord, user::UserRecord,
};

/// A person of the demo.
struct Person {
    variable: &'static str,
    email: &'static str,
    username: &'static str,
    password: &'static str,
    role: Role,
}

/// An organization of the demo with its app and its one group.
struct DemoOrg {
    /// What its variables begin with.
    prefix: &'static str,
    name: &'static str,
    app: &'static str,
    group: &'static str,
    people: &'static [Person],
}

/// A client of the platform.
struct DemoClient {
    client_id: &'static str,
    name: &'static str,
    scopes: &'static [&'static str],
    audiences: &'static [&'static str],
    /// Bound to the demo organization alone.
    is_bound: bool,
}

const ORGS: [DemoOrg; 2] = [
    DemoOrg {
        prefix: "",
        name: "Example Corp",
        app: "Example App",
        group: "General",
        people: &[
            Person {
                variable: "ALICE",
                email: "alice.admin@example.com",
                username: "alice",
                password: "SecurePass123!Admin",
                role: Role::Admin,
            },
            Person {
                variable: "BOB",
                email: "bob.member@example.com",
                username: "bob",
                password: "SecurePass123!Member",
                role: Role::Member,
            },
        ],
    },
    DemoOrg {
        prefix: "CAROL_",
        name: "Other Org",
        app: "Other App",
        group: "Other General",
        people: &[Person {
            variable: "CAROL",
            email: "carol.owner@other.example",
            username: "carol",
            password: "SecurePass123!Owner",
            role: Role::Owner,
        }],
    },
];

const CLIENTS: [DemoClient; 6] = [
    DemoClient {
        client_id: "chat-api-service",
        name: "chat-api",
        scopes: &["groups:read", "revocations:read", "tokens:introspect"],
        audiences: &["auth-api"],
        is_bound: false,
    },
    DemoClient {
        client_id: "oauth-integrations-service",
        name: "oauth-integrations",
        scopes: &["revocations:read", "tokens:introspect", "runtime:notify"],
        audiences: &["auth-api", "mozaiks-runtime"],
        is_bound: false,
    },
    DemoClient {
        client_id: "oauth-relay-service",
        name: "oauth-relay",
        scopes: &["revocations:read"],
        audiences: &["auth-api"],
        is_bound: false,
    },
    DemoClient {
        client_id: "mozaiks-runtime-service",
        name: "mozaiks-runtime",
        scopes: &[
            "revocations:read",
            "messages:read",
            "messages:send",
            "integrations:read",
            "integrations:token:read",
            "relay:wait",
        ],
        audiences: &["auth-api", "chat-api", "oauth-integrations", "oauth-relay"],
        is_bound: false,
    },
    DemoClient {
        client_id: "indexer-worker",
        name: "Indexer",
        scopes: &["integrations:read", "integrations:token:read"],
        audiences: &["oauth-integrations"],
        is_bound: true,
    },
    DemoClient {
        client_id: "dashboard-api",
        name: "Dashboard",
        scopes: &["integrations:read"],
        audiences: &["oauth-integrations"],
        is_bound: true,
    },
];

/// Why seeding failed.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Group(#[from] GroupError),
    #[error(transparent)]
    Tenant(#[from] TenantError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("a demo address is no address")]
    Email(#[from] super::user::InvalidEmail),
}

impl DemoClient {
    /// The client as it is stored, bound to an organization or free to work for all.
    fn record(&self, org_id: Option<Uuid>) -> ClientRecord {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        ClientRecord {
            client_id: self.client_id.to_owned(),
            name: self.name.to_owned(),
            is_public: false,
            grant_types: vec![CLIENT_CREDENTIALS.to_owned()],
            scopes: names(self.scopes),
            audiences: names(self.audiences),
            all_orgs: org_id.is_none(),
            org_ids: org_id.into_iter().collect(),
            is_disabled: false,
        }
    }
}

/// One of the platform's own services, which work for every organization.
pub(super) fn platform_service(client_id: &str) -> Option<ClientRecord> {
    let service = CLIENTS.iter().find(|client| client.client_id == client_id && !client.is_bound)?;
    Some(service.record(None))
}

/// Variables and their values, as a shell reads them.
pub type Variables = Vec<(String, String)>;

/// Makes whatever of the demo data is missing. `known_secret` gives the secret that a client had, by the name of its variable; it
/// is kept where it is still good, else the client gets a new one.
pub async fn seed(
    identity: &Identity,
    known_secret: impl Fn(&str) -> Option<SecretString>,
) -> Result<Variables, SeedError> {
    let mut variables = Variables::new();
    for demo in &ORGS {
        let hashes = hash_missing_passwords(identity, demo).await?;
        seed_org(identity, demo, &hashes, &mut variables).await?;
    }
    let org_id = variables.first().and_then(|(_, value)| Uuid::try_parse(value).ok()).unwrap_or_default();
    for demo in &CLIENTS {
        seed_client(identity, demo, org_id, &known_secret, &mut variables).await?;
    }
    Ok(variables)
}

/// Hashes outside the transaction, which a row lock would make long.
async fn hash_missing_passwords(
    identity: &Identity,
    demo: &DemoOrg,
) -> Result<Vec<Option<String>>, SeedError> {
    let mut hashes = Vec::with_capacity(demo.people.len());
    for person in demo.people {
        let email: Email = person.email.parse()?;
        let known = store::user::find_by_email(&identity.db.connection().await?, email.as_str()).await?;
        hashes.push(match known {
            Some(_) => None,
            None => Some(identity.passwords.hash(person.password.into()).await?),
        });
    }
    Ok(hashes)
}

async fn seed_org(
    identity: &Identity,
    demo: &DemoOrg,
    hashes: &[Option<String>],
    variables: &mut Variables,
) -> Result<(), SeedError> {
    let mut connection = identity.db.connection().await?;
    let transaction = connection.transaction().await?;
    store::org::lock_names(&transaction).await?;
    let now = store::clock(&transaction).await?;
    let mut changes = Vec::new();
    let org = find_or_insert_org(&transaction, demo, now).await?;
    let tenant = tenant_of(org.id)?;
    let app_id = store::app::find(&transaction, org.id, None).await?.unwrap_or_default();
    let mut people = Vec::new();
    for (person, hash) in demo.people.iter().zip(hashes) {
        let user_id = find_or_insert_user(&transaction, person, hash.clone(), now).await?;
        if store::org_member::insert(&transaction, org.id, user_id, person.role.name(), now).await? {
            let change = Change::of_user(ChangeKind::OrgMemberAdded, org.id, user_id);
            changes.push(change.with_role(person.role.name()));
        }
        people.push((person, user_id));
    }
    let group_id = find_or_insert_group(tenant, &transaction, demo, &people, now, &mut changes).await?;
    feed::publish(transaction, identity, Vec::new(), changes).await?;

    let mut add = |name: &str, value: String| variables.push((format!("{}{name}", demo.prefix), value));
    add("ORG_ID", org.id.to_string());
    add("APP_ID", app_id.to_string());
    add("GROUP_ID", group_id.to_string());
    for (person, user_id) in people {
        variables.push((format!("{}_ID", person.variable), user_id.to_string()));
        variables.push((format!("{}_EMAIL", person.variable), person.email.to_owned()));
        variables.push((format!("{}_PASSWORD", person.variable), person.password.to_owned()));
    }
    Ok(())
}

async fn find_or_insert_org(
    transaction: &Transaction<'_>,
    demo: &DemoOrg,
    now: OffsetDateTime,
) -> Result<OrgRecord, StoreError> {
    if let Some(org) = store::org::find_by_name(transaction, demo.name).await? {
        return Ok(org);
    }
    let org = OrgRecord { id: Uuid::now_v7(), name: demo.name.to_owned() };
    store::org::insert(transaction, &org, now).await?;
    store::app::insert(transaction, Uuid::now_v7(), org.id, demo.app, now).await?;
    Ok(org)
}

async fn find_or_insert_user(
    transaction: &Transaction<'_>,
    person: &Person,
    password_hash: Option<String>,
    now: OffsetDateTime,
) -> Result<Uuid, StoreError> {
    if let Some(user) = store::user::find_by_email(transaction, person.email).await? {
        return Ok(user.id);
    }
    let user = UserRecord {
        id: Uuid::now_v7(),
        email: person.email.to_owned(),
        username: person.username.to_owned(),
        password_hash,
        is_disabled: false,
    };
    store::user::insert(transaction, &user, now).await?;
    Ok(user.id)
}

async fn find_or_insert_group(
    tenant: Tenant,
    transaction: &Transaction<'_>,
    demo: &DemoOrg,
    people: &[(&Person, Uuid)],
    now: OffsetDateTime,
    changes: &mut Vec<Change>,
) -> Result<Uuid, SeedError> {
    let org_id = tenant.org_id();
    let known = store::group::list(tenant, transaction, None, 1).await?.into_iter().next();
    let group_id = if let Some(group) = known {
        group.id
    } else {
        let group = GroupRecord {
            id: Uuid::now_v7(),
            org_id,
            name: demo.group.to_owned(),
            description: String::new(),
            created_by: people.first().map(|(_, user_id)| *user_id),
            created_at: now,
            updated_at: now,
        };
        store::group::insert(tenant, transaction, &group).await?;
        changes.push(Change::of_group(ChangeKind::GroupCreated, org_id, group.id));
        group.id
    };
    for (_, user_id) in people {
        let role = GroupRole::Member;
        if store::group::find_member(tenant, transaction, group_id, *user_id).await?.is_none() {
            group::add(tenant, transaction, group_id, *user_id, role, now).await?;
            let change = Change::of_member(ChangeKind::MemberAdded, org_id, group_id, *user_id);
            changes.push(change.with_role(role.name()));
        }
    }
    Ok(group_id)
}

async fn seed_client(
    identity: &Identity,
    demo: &DemoClient,
    org_id: Uuid,
    known_secret: &impl Fn(&str) -> Option<SecretString>,
    variables: &mut Variables,
) -> Result<(), SeedError> {
    let prefix = demo.client_id.to_ascii_uppercase().replace('-', "_");
    let variable = format!("{prefix}_CLIENT_SECRET");
    let mut connection = identity.db.connection().await?;
    let transaction = connection.transaction().await?;
    let now = store::clock(&transaction).await?;
    store::client::upsert(&transaction, &demo.record(demo.is_bound.then_some(org_id)), now).await?;
    let mounted = identity.settings.client_secrets.of(demo.client_id);
    let secret = match mounted.cloned().or_else(|| known_secret(&variable)) {
        Some(secret) if mounted.is_some() => {
            let digest = client::secret_digest(&secret);
            let id = Uuid::now_v7();
            store::client::insert_absent_secret(&transaction, demo.client_id, id, &digest, now).await?;
            secret
        }
        Some(secret) if is_live(identity, demo.client_id, &secret, now).await? => secret,
        _ => {
            let secret = client::new_secret();
            let digest = client::secret_digest(&secret);
            store::client::insert_secret(&transaction, demo.client_id, Uuid::now_v7(), &digest, now).await?;
            // Two live ones: what runs with the old one goes on until it is given the new one.
            store::client::delete_old_secrets(&transaction, demo.client_id, 2).await?;
            secret
        }
    };
    store::notification::notify(&transaction, &Notification::Client(demo.client_id.to_owned())).await?;
    transaction.commit().await?;
    variables.push((format!("{prefix}_CLIENT_ID"), demo.client_id.to_owned()));
    variables.push((variable, secret.expose_secret().to_owned()));
    Ok(())
}

async fn is_live(
    identity: &Identity,
    client_id: &str,
    secret: &SecretString,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let credentials = ClientCredentials { client_id: client_id.to_owned(), secret: Some(secret.clone()) };
    Ok(identity.clients.find_proven(&identity.db, &credentials, now).await?.is_some())
}

/// The operator who seeds may work for every organization.
fn tenant_of(org_id: Uuid) -> Result<Tenant, TenantError> {
    let operator = Service { client_id: "auth-api".to_owned(), scopes: Vec::new(), orgs: Orgs::All };
    Principal::Service(operator).tenant(Some(org_id))
}
