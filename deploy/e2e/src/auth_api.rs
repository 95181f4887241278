//! auth-api, one method per endpoint.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    claims,
    http::{Answer, Peer},
    settings::{ClientCredentials, Person},
};

/// auth-api at its base URL, with its admin port.
#[derive(Clone)]
pub struct AuthApi {
    pub peer: Peer,
    pub admin: Peer,
}

/// What a login brought.
#[derive(Clone, Debug)]
pub struct Session {
    pub access_token: String,
    pub refresh_token: String,
    pub user_id: Uuid,
    /// The session cookie as `name=value`.
    pub cookie: String,
    pub answer: Answer,
}

impl Session {
    /// What the access token says.
    pub fn token(&self) -> Result<claims::Token> {
        claims::decode(&self.access_token)
    }
}

impl AuthApi {
    /// `POST /auth/login`, whatever comes of it.
    pub async fn try_login(&self, person: &Person) -> Result<Answer> {
        let body = json!({ "email": person.email, "password": person.password });
        self.peer.post("/auth/login").json(&body).send().await
    }

    /// `POST /auth/login`, which has to succeed.
    pub async fn login(&self, person: &Person) -> Result<Session> {
        let answer = self.try_login(person).await?.expect(200)?;
        let cookie = answer
            .header("set-cookie")
            .and_then(|cookie| cookie.split(';').next())
            .context("the login set no cookie")?
            .to_owned();
        Ok(Session {
            access_token: answer.text_at("/access_token")?.to_owned(),
            refresh_token: answer.text_at("/refresh_token")?.to_owned(),
            user_id: Uuid::parse_str(answer.text_at("/user/id")?)?,
            cookie,
            answer,
        })
    }

    /// `POST /auth/refresh`.
    pub async fn refresh(&self, refresh_token: &str) -> Result<Answer> {
        self.peer.post("/auth/refresh").json(&json!({ "refresh_token": refresh_token })).send().await
    }

    /// `POST /auth/logout` with the access token of the session.
    pub async fn logout(&self, access_token: &str) -> Result<Answer> {
        self.peer.post("/auth/logout").bearer(access_token).json(&json!({})).send().await
    }

    /// `POST /oauth/token` for a client, with form credentials as spec 000 shows; all its scopes where `scope` is absent.
    pub async fn client_credentials(
        &self,
        client: &ClientCredentials,
        scope: Option<&str>,
    ) -> Result<Answer> {
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", client.client_id.as_str()),
            ("client_secret", client.client_secret.as_str()),
        ];
        form.extend(scope.map(|scope| ("scope", scope)));
        self.peer.post("/oauth/token").form(&form).send().await
    }

    /// A service token, which has to be given.
    pub async fn service_token(&self, client: &ClientCredentials, scope: Option<&str>) -> Result<String> {
        let answer = self.client_credentials(client, scope).await?.expect(200)?;
        Ok(answer.text_at("/access_token")?.to_owned())
    }

    /// `POST /oauth/revoke`, on behalf of a client.
    pub async fn revoke(&self, client: &ClientCredentials, token: &str) -> Result<Answer> {
        let call = self.peer.post("/oauth/revoke").basic(&client.client_id, &client.client_secret);
        call.form(&[("token", token)]).send().await
    }

    /// `POST /oauth/introspect`, on behalf of a client.
    pub async fn introspect(&self, client: &ClientCredentials, token: &str) -> Result<Answer> {
        let call = self.peer.post("/oauth/introspect").basic(&client.client_id, &client.client_secret);
        call.form(&[("token", token)]).send().await
    }

    /// `GET /.well-known/jwks.json`.
    pub async fn jwks(&self) -> Result<Answer> {
        self.peer.get("/.well-known/jwks.json").send().await
    }

    /// `GET /api/auth/groups/{id}`.
    pub async fn group(&self, token: Option<&str>, group_id: Uuid) -> Result<Answer> {
        self.peer.get(&format!("/api/auth/groups/{group_id}")).maybe_bearer(token).send().await
    }

    /// `GET /api/auth/groups/{id}/members`.
    pub async fn members(&self, token: Option<&str>, group_id: Uuid) -> Result<Answer> {
        self.peer.get(&format!("/api/auth/groups/{group_id}/members")).maybe_bearer(token).send().await
    }

    /// `POST /api/auth/groups`.
    pub async fn create_group(&self, token: &str, name: &str) -> Result<Answer> {
        let body = json!({ "name": name, "description": "Made by a test." });
        self.peer.post("/api/auth/groups").bearer(token).json(&body).send().await
    }

    /// `POST /api/auth/groups/{id}/members`.
    pub async fn add_member(&self, token: &str, group_id: Uuid, user_id: Uuid) -> Result<Answer> {
        let path = format!("/api/auth/groups/{group_id}/members");
        self.peer.post(&path).bearer(token).json(&json!({ "user_id": user_id })).send().await
    }

    /// `DELETE /api/auth/groups/{id}/members/{user_id}`.
    pub async fn remove_member(&self, token: &str, group_id: Uuid, user_id: Uuid) -> Result<Answer> {
        let path = format!("/api/auth/groups/{group_id}/members/{user_id}");
        self.peer.call(reqwest::Method::DELETE, &path).bearer(token).send().await
    }

    /// A group of Alice's with these people in it, made for one test.
    pub async fn group_of(&self, admin_token: &str, name: &str, members: &[Uuid]) -> Result<Uuid> {
        let created = self.create_group(admin_token, name).await?.expect(201)?;
        let group_id = Uuid::parse_str(created.text_at("/id")?)?;
        for member in members {
            let answer = self.add_member(admin_token, group_id, *member).await?;
            anyhow::ensure!((200..300).contains(&answer.status), "adding a member: {}", answer.text);
        }
        Ok(group_id)
    }
}

/// The `user_id` of a bare array of members.
pub fn member_ids(members: &Answer) -> Result<Vec<Uuid>> {
    let list = members.list_at("")?;
    list.iter()
        .map(|member| {
            let id =
                member["user_id"].as_str().with_context(|| format!("a member without user_id: {member}"))?;
            Ok(Uuid::parse_str(id)?)
        })
        .collect()
}

/// The `kid`s of a key set.
pub fn key_ids(jwks: &Answer) -> Result<Vec<String>> {
    let keys = jwks.list_at("/keys")?;
    Ok(keys.iter().filter_map(|key| key["kid"].as_str()).map(str::to_owned).collect())
}

/// The scopes of a token answer.
pub fn scopes(answer: &Answer) -> Vec<&str> {
    answer
        .body
        .get("scope")
        .and_then(Value::as_str)
        .map(|scope| scope.split(' ').collect())
        .unwrap_or_default()
}
