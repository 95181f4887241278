//! GitHub: the proof of ownership, both registrations, minting and what ends it.

use secrecy::ExposeSecret;
use simulator::{Fault, FaultKind, github::OrgRole, github_private_key_pem};

use super::*;
use crate::{
    clients::providers::github::GithubApp,
    domain::provider::{CredentialKind, Narrowing},
};

fn app(sim: &Simulator) -> GithubSettings {
    let registered = &sim.settings().github_app;
    let url = Url::parse(sim.github_url()).unwrap();
    GithubSettings {
        browser_url: url.clone(),
        api_url: url,
        client_id: registered.client.id.clone(),
        client_secret: registered.client.secret.as_str().into(),
        app: Some(GithubApp {
            id: registered.id.to_string(),
            slug: registered.slug.clone(),
            private_key_pem: github_private_key_pem().into(),
        }),
        use_pkce: true,
        scopes: Vec::new(),
    }
}

fn oauth_app(sim: &Simulator) -> GithubSettings {
    let client = &sim.settings().github_oauth_app;
    GithubSettings {
        client_id: client.id.clone(),
        client_secret: client.secret.as_str().into(),
        app: None,
        scopes: vec!["repo".to_owned(), "read:org".to_owned()],
        ..app(sim)
    }
}

fn start_app() -> World {
    World::start(Platform::Github, |sim| (Some(app(sim)), None, None))
}

/// Installs the app on the organization; the installation's number.
async fn install(world: &World) -> String {
    let back = world
        .consent(
            AuthorizationStep::Install,
            &[("decision", "approve"), ("user", "alice"), ("account", "example-corp")],
        )
        .await;
    back["installation_id"].clone()
}

#[tokio::test]
async fn an_owner_connects_in_one_hop() {
    let world = start_app();
    let answer = [("decision", "approve"), ("user", "alice"), ("account", "example-corp")];
    let back = world.consent(AuthorizationStep::Install, &answer).await;
    let tokens = world.exchange(AuthorizationStep::Install, &back["code"]).await.unwrap();
    assert!(tokens.credentials[0].access_token.expose_secret().starts_with("ghu_"));
    assert!(tokens.credentials[0].refresh_expires_at.is_some());
    let infos =
        world.provider().get_installation_info(&tokens, Some(&back["installation_id"])).await.unwrap();
    assert_eq!(infos.len(), 1);
    assert_eq!(infos[0].external_org_name.as_deref(), Some("example-corp"));
    assert_eq!(infos[0].external_install_id.as_ref(), back.get("installation_id"));
    assert!(infos[0].metadata["github_user_id"].is_string());
}

#[tokio::test]
async fn s15_a_member_who_sees_an_installation_does_not_own_it() {
    let world = start_app();
    let number = install(&world).await;
    let tokens = world.authorize(&[("decision", "approve"), ("user", "bob")]).await;
    let provider = world.provider();
    let claimed = provider.get_installation_info(&tokens, Some(&number)).await;
    assert_eq!(claimed.unwrap_err(), ProviderError::NotOwner);
    assert_eq!(provider.get_installation_info(&tokens, None).await.unwrap(), []);
    let unknown = provider.get_installation_info(&tokens, Some("999999")).await;
    assert_eq!(unknown.unwrap_err(), ProviderError::NotOwner);
}

#[tokio::test]
async fn s15_the_installation_is_found_on_any_page() {
    let world = start_app();
    {
        let mut state = world.sim.world();
        state.github.options.page_size = 100;
        let alice = state.github.account_id("alice").unwrap();
        for index in 0..230 {
            let org = state.github.add_org(&format!("org-{index}"), &[(alice, OrgRole::Member)]);
            state.github.install(org, None, 1);
        }
    }
    let number = install(&world).await;
    let tokens = world.authorize(&[("decision", "approve"), ("user", "alice")]).await;
    let infos = world.provider().get_installation_info(&tokens, Some(&number)).await.unwrap();
    assert_eq!(infos[0].external_org_name.as_deref(), Some("example-corp"));
}

#[tokio::test]
async fn installation_tokens_are_minted_whole_or_narrowed_in_both_forms() {
    let world = start_app();
    let number = install(&world).await;
    for is_stateless in [false, true] {
        world.sim.world().github.options.stateless_tokens = is_stateless;
        let minted = world.provider().mint_token(&number, &Narrowing::default()).await.unwrap();
        assert_eq!(minted.kind, CredentialKind::Installation);
        assert!(minted.access_token.expose_secret().starts_with("ghs_"));
        assert_eq!(minted.access_token.expose_secret().len() > 255, is_stateless);
        assert!(
            minted.token_expires_at.is_some() && minted.scopes.iter().any(|scope| scope == "contents:read")
        );
    }
    let narrowing = Narrowing {
        permissions: [("contents".to_owned(), "read".to_owned())].into(),
        ..Narrowing::default()
    };
    let narrowed = world.provider().mint_token(&number, &narrowing).await.unwrap();
    assert!(narrowed.scopes.contains(&"contents:read".to_owned()));
    let too_much = Narrowing {
        permissions: [("administration".to_owned(), "write".to_owned())].into(),
        ..Narrowing::default()
    };
    assert_eq!(world.provider().mint_token(&number, &too_much).await.unwrap_err(), ProviderError::NotGranted);
}

#[tokio::test]
async fn suspended_and_uninstalled_are_told_apart() {
    let world = start_app();
    let number = install(&world).await;
    let id = number.parse().unwrap();
    let (provider, everything) = (world.provider(), Narrowing::default());
    assert!(provider.probe(Some(&number), None).await.unwrap().permissions.is_some());
    world.sim.suspend_github_installation(id, true);
    assert_eq!(provider.mint_token(&number, &everything).await.unwrap_err(), ProviderError::Suspended);
    assert_eq!(provider.probe(Some(&number), None).await.unwrap_err(), ProviderError::Suspended);
    world.sim.suspend_github_installation(id, false);
    assert!(provider.mint_token(&number, &everything).await.is_ok());
    let nothing = OAuthTokens { credentials: Vec::new(), metadata: serde_json::Value::Null };
    assert!(provider.revoke_tokens(Some(&number), &nothing).await.unwrap().provider_revoked);
    assert!(provider.revoke_tokens(Some(&number), &nothing).await.unwrap().provider_revoked, "gone is gone");
    assert_eq!(provider.mint_token(&number, &everything).await.unwrap_err(), ProviderError::NotFound);
    assert_eq!(provider.probe(Some(&number), None).await.unwrap_err(), ProviderError::NotFound);
}

#[tokio::test]
async fn a_users_refresh_token_is_good_once() {
    let world = start_app();
    install(&world).await;
    let tokens = world.authorize(&[("decision", "approve"), ("user", "alice")]).await;
    let old = tokens.credentials[0].refresh_token.clone().unwrap();
    let renewed = world.provider().refresh_tokens(CredentialKind::User, &old).await.unwrap();
    assert_ne!(renewed.credentials[0].refresh_token.as_ref().unwrap().expose_secret(), old.expose_secret());
    let again = world.provider().refresh_tokens(CredentialKind::User, &old).await.unwrap_err();
    assert_eq!(again, ProviderError::refused("bad_refresh_token"));
}

#[tokio::test]
async fn an_oauth_app_connects_the_persons_own_account() {
    let world = World::start(Platform::Github, |sim| (Some(oauth_app(sim)), None, None));
    let provider = world.provider();
    assert_eq!(provider.first_step(), AuthorizationStep::Authorize);
    let tokens = world.authorize(&[("decision", "approve"), ("user", "alice")]).await;
    assert_eq!(tokens.credentials[0].scopes, ["repo", "read:org"]);
    let infos = provider.get_installation_info(&tokens, None).await.unwrap();
    assert_eq!(infos[0].external_org_name.as_deref(), Some("alice"));
    assert!(provider.probe(None, tokens.credentials.first()).await.is_ok());
    assert!(provider.revoke_tokens(None, &tokens).await.unwrap().provider_revoked);
    let gone = provider.probe(None, tokens.credentials.first()).await.unwrap_err();
    assert_eq!(gone, ProviderError::refused("token_revoked"));
}

#[tokio::test]
async fn a_code_is_good_once_and_only_with_its_verifier() {
    let world = start_app();
    install(&world).await;
    let back =
        world.consent(AuthorizationStep::Authorize, &[("decision", "approve"), ("user", "alice")]).await;
    let without = world.exchange(AuthorizationStep::Install, &back["code"]).await;
    assert_eq!(without.unwrap_err(), ProviderError::refused("bad_verification_code"));
}

#[tokio::test]
async fn what_goes_wrong_on_the_way_is_transient() {
    let world = start_app();
    let number = install(&world).await;
    for kind in [
        FaultKind::ServerError,
        FaultKind::Html,
        FaultKind::TruncatedJson,
        FaultKind::EmptyBody,
        FaultKind::HugeBody,
    ] {
        world.sim.fault(Fault::once(Provider::Github, "/access_tokens", kind.clone()));
        let error = world.provider().mint_token(&number, &Narrowing::default()).await.unwrap_err();
        assert!(error.is_transient(), "{kind:?}: {error}");
        // In between all is well, or the circuit would open.
        assert!(world.provider().mint_token(&number, &Narrowing::default()).await.is_ok(), "{kind:?}");
    }
    world.sim.fault(Fault::once(
        Provider::Github,
        "/access_tokens",
        FaultKind::RateLimited { retry_after: 7 },
    ));
    let error = world.provider().mint_token(&number, &Narrowing::default()).await.unwrap_err();
    let wait = std::time::Duration::from_secs(7);
    assert!(
        matches!(error, ProviderError::Unavailable { retry_after: Some(after), .. } if after == wait),
        "{error}"
    );
}

#[tokio::test]
async fn s42_a_provider_that_is_down_is_left_alone() {
    let world = start_app();
    let number = install(&world).await;
    world.sim.fault(Fault::always(Provider::Github, "/access_tokens", FaultKind::ServerError));
    for _ in 0..20 {
        let error = world.provider().mint_token(&number, &Narrowing::default()).await.unwrap_err();
        assert!(error.is_transient());
    }
    let calls = world.sim.calls().iter().filter(|call| call.path.ends_with("/access_tokens")).count();
    assert_eq!(calls, 5);
}
