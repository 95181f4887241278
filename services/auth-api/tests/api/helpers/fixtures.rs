//! The people and clients that only tests need, beside those of `seed-demo`.

use std::collections::HashMap;

use tokio_postgres::Client;
use uuid::Uuid;

use super::database::digest;

/// A client as a test sends it.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    pub id: String,
    pub secret: String,
}

/// Somebody who logs in.
#[derive(Clone, Debug)]
pub struct Person {
    pub id: Uuid,
    pub email: String,
    pub password: String,
}

/// Who exists beside Alice (admin), Bob (member) and Carol (owner of the other organization). All have Bob's password.
const PEOPLE: [(&str, &str, u128); 6] = [
    // A member of both organizations.
    ("dora", DORA, 0xD0),
    // A guest, in no group.
    ("erin", ERIN, 0xE0),
    // A member, disabled.
    ("frank", FRANK, 0xF0),
    // A member without a password.
    ("grace", GRACE, 0x60),
    // In no organization at all.
    ("henry", HENRY, 0x40),
    // The one owner of the demo organization whom the tests know.
    ("olga", OLGA, 0x01),
];
pub const DORA: &str = "dora.both@example.com";
pub const ERIN: &str = "erin.guest@example.com";
pub const FRANK: &str = "frank.disabled@example.com";
pub const GRACE: &str = "grace.passwordless@example.com";
pub const HENRY: &str = "henry.nowhere@example.com";
pub const OLGA: &str = "olga.owner@example.com";

/// Confidential, for auth-api, bound to the demo organization: `groups:read`.
pub const BOUND: &str = "bound-service";
/// The same, bound to Carol's organization.
pub const BOUND_ELSEWHERE: &str = "elsewhere-service";
/// Its tokens are for auth-api and good for nothing there.
pub const WEAK: &str = "weak-service";
/// May use every audience and scope, so that a test can narrow them.
pub const BROAD: &str = "broad-service";
/// Public, with `client_credentials` among its grants all the same.
pub const PUBLIC: &str = "public-app";
/// May not use `client_credentials`.
pub const NO_GRANT: &str = "refresh-only";
pub const DISABLED: &str = "disabled-service";
/// Its id and secret hold what Basic credentials have to escape.
pub const ODD: &str = "odd:client/id+%";
pub const ODD_SECRET: &str = "s:e c%r+e/t=&?";
/// Has two secrets that count and one that expired: the usual one, the new one, the old one.
pub const TWO_SECRETS: &str = "two-secrets";
pub const NEW_SECRET: &str = "aas_new-secret-of-two-secrets-0123456789abcdef";
pub const EXPIRED_SECRET: &str = "aas_expired-secret-of-two-secrets-0123456789";

/// The secret of a client made here.
pub fn secret_of(client_id: &str) -> String {
    if client_id == ODD {
        ODD_SECRET.to_owned()
    } else {
        format!("aas_secret-of-{client_id}-0123456789abcdefghijklm")
    }
}

/// A client made here, with its usual secret.
pub fn credentials(client_id: &str) -> ClientCredentials {
    ClientCredentials { id: client_id.to_owned(), secret: secret_of(client_id) }
}

/// A person's id, which is the same in every run.
pub fn person_id(email: &str) -> Uuid {
    let known = PEOPLE.iter().find(|(_, address, _)| *address == email);
    let (_, _, number) = known.unwrap_or_else(|| panic!("nobody has the address {email}"));
    // The form of a UUIDv7, since such are the ids of the service.
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | number)
}

/// Writes them down.
pub async fn insert(client: &Client, seed: &HashMap<String, String>) {
    let id = |name: &str| Uuid::parse_str(&seed[name]).expect("an id");
    for (username, email, _) in PEOPLE {
        let sql = "INSERT INTO users (id, email, username, password_hash, created_at, updated_at) \
                   SELECT $1, $2, $3, password_hash, now(), now() FROM users WHERE id = $4";
        client.execute(sql, &[&person_id(email), &email, &username, &id("BOB_ID")]).await.expect("a user");
    }
    let (org, other_org) = (id("ORG_ID"), org_of(client, id("CAROL_GROUP_ID")).await);
    let memberships = [
        (org, DORA, "member"),
        (other_org, DORA, "guest"),
        (org, ERIN, "guest"),
        (org, FRANK, "member"),
        (org, GRACE, "member"),
        (org, OLGA, "owner"),
    ];
    for (org, email, role) in memberships {
        let sql = "INSERT INTO org_members (org_id, user_id, role, joined_at) VALUES ($1, $2, $3, now())";
        client.execute(sql, &[&org, &person_id(email), &role]).await.expect("a membership");
    }
    client.execute("UPDATE users SET disabled_at = now() WHERE email = $1", &[&FRANK]).await.expect("frank");
    client.execute("UPDATE users SET password_hash = NULL WHERE email = $1", &[&GRACE]).await.expect("grace");
    insert_clients(client, org, other_org).await;
}

async fn org_of(client: &Client, group_id: Uuid) -> Uuid {
    client.query_one("SELECT org_id FROM groups WHERE id = $1", &[&group_id]).await.expect("a group").get(0)
}

async fn insert_clients(client: &Client, org: Uuid, other_org: Uuid) {
    // Id, scopes, audiences, the one organization.
    let clients = [
        (BOUND, "groups:read", "auth-api", Some(org)),
        (BOUND_ELSEWHERE, "groups:read", "auth-api", Some(other_org)),
        (WEAK, "messages:read", "auth-api", None),
        (BROAD, "groups:read messages:read messages:send", "auth-api chat-api oauth-integrations", None),
        (PUBLIC, "groups:read", "auth-api", None),
        (NO_GRANT, "groups:read", "auth-api", None),
        (DISABLED, "groups:read", "auth-api", None),
        (ODD, "groups:read", "auth-api", None),
        (TWO_SECRETS, "groups:read", "auth-api", None),
    ];
    for (id, scopes, audiences, org) in clients {
        let sql = "INSERT INTO clients (client_id, name, is_public, grant_types, scopes, audiences, all_orgs, org_ids, created_at) \
                   VALUES ($1, $1, $2, $3, string_to_array($4, ' '), string_to_array($5, ' '), $6, $7, now())";
        let grant = if id == NO_GRANT { "refresh_token" } else { "client_credentials" };
        let orgs: Vec<Uuid> = org.into_iter().collect();
        client
            .execute(sql, &[&id, &(id == PUBLIC), &vec![grant], &scopes, &audiences, &orgs.is_empty(), &orgs])
            .await
            .expect("a client");
        if id != PUBLIC {
            insert_secret(client, id, &secret_of(id), "NULL").await;
        }
    }
    insert_secret(client, TWO_SECRETS, NEW_SECRET, "now() + interval '1 day'").await;
    insert_secret(client, TWO_SECRETS, EXPIRED_SECRET, "now() - interval '1 second'").await;
    client
        .execute("UPDATE clients SET disabled_at = now() WHERE client_id = $1", &[&DISABLED])
        .await
        .expect("a client");
}

async fn insert_secret(client: &Client, client_id: &str, secret: &str, expires_at: &str) {
    let sql = format!(
        "INSERT INTO client_secrets (id, client_id, digest, created_at, expires_at) VALUES ($1, $2, $3, now(), {expires_at})"
    );
    client.execute(&sql, &[&Uuid::now_v7(), &client_id, &digest(secret)]).await.expect("a secret");
}
