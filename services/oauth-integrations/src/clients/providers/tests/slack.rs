//! Slack: two chains, rotation on and off, errors with status 200.

use secrecy::ExposeSecret;
use simulator::{Fault, FaultKind};

use super::*;
use crate::domain::provider::CredentialKind;

fn start(rotation: bool, user_scopes: &[&str]) -> World {
    let world = World::start(Platform::Slack, |sim| {
        let url = Url::parse(sim.slack_url()).unwrap();
        let client = &sim.settings().slack;
        let settings = SlackSettings {
            browser_url: url.clone(),
            api_url: url,
            client_id: client.id.clone(),
            client_secret: client.secret.as_str().into(),
            use_pkce: false,
            bot_scopes: vec!["channels:read".to_owned(), "chat:write".to_owned()],
            user_scopes: user_scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        };
        (None, None, Some(settings))
    });
    world.sim.world().slack.options.rotation = rotation;
    world
}

#[tokio::test]
async fn both_chains_come_and_are_renewed_apart() {
    let world = start(true, &["search:read"]);
    let tokens = world.authorize(&[("decision", "approve")]).await;
    let kinds: Vec<_> = tokens.credentials.iter().map(|credential| credential.kind).collect();
    assert_eq!(kinds, [CredentialKind::Bot, CredentialKind::User]);
    for credential in &tokens.credentials {
        assert!(credential.token_expires_at.is_some());
        let old = credential.refresh_token.as_ref().unwrap();
        let renewed = world.provider().refresh_tokens(credential.kind, old).await.unwrap();
        assert_eq!(renewed.credentials.len(), 1);
        assert_eq!(renewed.credentials[0].kind, credential.kind);
        assert_ne!(
            renewed.credentials[0].access_token.expose_secret(),
            credential.access_token.expose_secret()
        );
    }
}

#[tokio::test]
async fn without_rotation_nothing_expires() {
    let world = start(false, &[]);
    let tokens = world.authorize(&[("decision", "approve")]).await;
    let [bot] = tokens.credentials.as_slice() else { panic!("one chain") };
    assert!(bot.token_expires_at.is_none() && bot.refresh_token.is_none());
    assert_eq!(bot.scopes, ["channels:read", "chat:write"]);
    let infos = world.provider().get_installation_info(&tokens, None).await.unwrap();
    assert!(infos[0].external_org_id.starts_with('T'), "{}", infos[0].external_org_id);
    assert!(world.provider().probe(None, Some(bot)).await.unwrap().external_org_name.is_some());
}

#[tokio::test]
async fn a_code_is_good_once() {
    let world = start(false, &[]);
    let back = world.consent(AuthorizationStep::Authorize, &[("decision", "approve")]).await;
    world.exchange(AuthorizationStep::Authorize, &back["code"]).await.unwrap();
    let again = world.exchange(AuthorizationStep::Authorize, &back["code"]).await.unwrap_err();
    assert!(matches!(again, ProviderError::Refused { .. }), "{again}");
}

#[tokio::test]
async fn disconnecting_uninstalls_the_app_even_with_a_token_that_ran_out() {
    for seconds in [0, 43_201] {
        let world = start(true, &[]);
        let mut tokens = world.authorize(&[("decision", "approve")]).await;
        world.sim.advance_clock(seconds);
        if seconds > 0 {
            tokens.credentials[0].token_expires_at = Some(time::OffsetDateTime::UNIX_EPOCH);
        }
        let revocation = world.provider().revoke_tokens(None, &tokens).await.unwrap();
        assert!(revocation.provider_revoked);
        let gone = world.provider().probe(None, tokens.credentials.first()).await.unwrap_err();
        assert!(matches!(gone, ProviderError::Refused { .. }), "{gone}");
        assert_eq!(world.sim.count(Provider::Slack, "POST /api/apps.uninstall", ""), 1);
    }
}

#[tokio::test]
async fn the_providers_wish_for_patience_is_heard() {
    let world = start(true, &[]);
    let tokens = world.authorize(&[("decision", "approve")]).await;
    let old = tokens.credentials[0].refresh_token.as_ref().unwrap();
    world.sim.fault(Fault::once(
        Provider::Slack,
        "oauth.v2.access",
        FaultKind::RateLimited { retry_after: 30 },
    ));
    let error = world.provider().refresh_tokens(CredentialKind::Bot, old).await.unwrap_err();
    let wait = std::time::Duration::from_secs(30);
    assert!(
        matches!(error, ProviderError::Unavailable { retry_after: Some(after), .. } if after == wait),
        "{error}"
    );
    assert!(world.provider().refresh_tokens(CredentialKind::Bot, old).await.is_ok());
}
