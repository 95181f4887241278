//! One method per endpoint.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    answer::{Answer, Ask},
    app::{Session, TestApp},
    fixtures::{ClientCredentials, Person},
};

impl TestApp {
    /// `POST /auth/login`, which has to succeed.
    pub async fn login(&self, person: &Person) -> Session {
        let answer = self.try_login(person).await.expect(200);
        Session::of(answer)
    }

    /// `POST /auth/login`, whatever comes of it.
    pub async fn try_login(&self, person: &Person) -> Answer {
        self.login_with(&json!({ "email": person.email, "password": person.password })).await
    }

    /// `POST /auth/login` with this body.
    pub async fn login_with(&self, body: &Value) -> Answer {
        self.post("/auth/login").json(body).ask().await
    }

    /// `POST /auth/refresh`.
    pub async fn refresh(&self, refresh_token: &str) -> Answer {
        self.post("/auth/refresh").json(&json!({ "refresh_token": refresh_token })).ask().await
    }

    /// `POST /auth/logout`.
    pub async fn logout(&self, access_token: &str) -> Answer {
        self.post("/auth/logout").bearer_auth(access_token).json(&json!({})).ask().await
    }

    /// `GET /auth/me`.
    pub async fn me(&self, access_token: &str) -> Answer {
        self.get("/auth/me").bearer_auth(access_token).ask().await
    }

    /// `POST /oauth/token` with this form.
    pub async fn token(&self, form: &[(&str, &str)]) -> Answer {
        self.post("/oauth/token").form(form).ask().await
    }

    /// The client credentials grant with more fields, by HTTP Basic.
    pub async fn grant(&self, client: &ClientCredentials, fields: &[(&str, &str)]) -> Answer {
        let form: Vec<(&str, &str)> =
            [("grant_type", "client_credentials")].iter().chain(fields).copied().collect();
        self.post("/oauth/token").basic_auth(&client.id, Some(&client.secret)).form(&form).ask().await
    }

    /// A service's token with everything it may have.
    pub async fn service_token(&self, client: &ClientCredentials) -> String {
        self.grant(client, &[]).await.expect(200).text_at("/access_token").to_owned()
    }

    /// A service's token with this scope.
    pub async fn scoped_token(&self, client: &ClientCredentials, scope: &str) -> String {
        self.grant(client, &[("scope", scope)]).await.expect(200).text_at("/access_token").to_owned()
    }

    /// `POST /oauth/introspect` by a client.
    pub async fn introspect(&self, client: &ClientCredentials, token: &str) -> Answer {
        let request = self.post("/oauth/introspect").basic_auth(&client.id, Some(&client.secret));
        request.form(&[("token", token)]).ask().await
    }

    /// `POST /oauth/revoke` by a client.
    pub async fn revoke(&self, client: &ClientCredentials, token: &str) -> Answer {
        let request = self.post("/oauth/revoke").basic_auth(&client.id, Some(&client.secret));
        request.form(&[("token", token)]).ask().await
    }

    /// `GET /.well-known/jwks.json`.
    pub async fn jwks(&self) -> Answer {
        self.get("/.well-known/jwks.json").ask().await
    }

    /// The ids of the published keys, sorted.
    pub async fn kids(&self) -> Vec<String> {
        self.jwks().await.expect(200).each("/keys", "/kid")
    }

    /// `GET /api/auth/groups/{id}`.
    pub async fn group(&self, token: &str, group_id: Uuid) -> Answer {
        self.get(&format!("/api/auth/groups/{group_id}")).bearer_auth(token).ask().await
    }

    /// `GET /api/auth/groups/{id}/members`.
    pub async fn members(&self, token: &str, group_id: Uuid) -> Answer {
        self.get(&format!("/api/auth/groups/{group_id}/members")).bearer_auth(token).ask().await
    }

    /// `POST /api/auth/groups`.
    pub async fn create_group(&self, token: &str, body: &Value) -> Answer {
        self.post("/api/auth/groups").bearer_auth(token).json(body).ask().await
    }

    /// `POST /api/auth/groups/{id}/members`.
    pub async fn add_member(&self, token: &str, group_id: Uuid, body: &Value) -> Answer {
        self.post(&format!("/api/auth/groups/{group_id}/members")).bearer_auth(token).json(body).ask().await
    }

    /// `DELETE /api/auth/groups/{id}/members/{user_id}`.
    pub async fn remove_member(&self, token: &str, group_id: Uuid, user_id: Uuid) -> Answer {
        self.delete(&format!("/api/auth/groups/{group_id}/members/{user_id}")).bearer_auth(token).ask().await
    }

    /// `DELETE /api/auth/orgs/{id}/members/{user_id}`.
    pub async fn remove_org_member(&self, token: &str, org_id: Uuid, user_id: Uuid) -> Answer {
        self.delete(&format!("/api/auth/orgs/{org_id}/members/{user_id}")).bearer_auth(token).ask().await
    }

    /// `GET /api/auth/directory`.
    pub async fn directory(&self, token: &str, query: &str) -> Answer {
        self.get(&format!("/api/auth/directory?{query}")).bearer_auth(token).ask().await
    }

    /// `GET /api/auth/changes`.
    pub async fn changes(&self, token: &str, query: &str) -> Answer {
        self.get(&format!("/api/auth/changes?{query}")).bearer_auth(token).ask().await
    }

    /// `GET /oauth/revocations`.
    pub async fn revocations(&self, token: &str, query: &str) -> Answer {
        self.get(&format!("/oauth/revocations?{query}")).bearer_auth(token).ask().await
    }

    /// `GET /readyz` of the admin port.
    pub async fn readyz(&self) -> Answer {
        self.admin("/readyz").await
    }

    /// `GET` of the admin port.
    pub async fn admin(&self, path: &str) -> Answer {
        self.http.get(format!("{}{path}", self.admin_url)).ask().await
    }

    /// The value of a metric whose line starts so; 0 where there is none.
    pub async fn metric(&self, start: &str) -> f64 {
        let metrics = self.admin("/metrics").await.expect(200).text;
        let values =
            metrics.lines().filter(|line| line.starts_with(start)).filter_map(|line| line.rsplit_once(' '));
        values.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
    }
}
