//! Atlassian: one grant over sites, rotation with leeway, no revocation.

use secrecy::ExposeSecret;

use super::*;
use crate::domain::provider::CredentialKind;

fn start() -> World {
    World::start(Platform::Jira, |sim| {
        let url = |text: &str| Url::parse(text).unwrap();
        let client = &sim.settings().atlassian;
        let settings = AtlassianSettings {
            browser_url: url(sim.atlassian_url()),
            api_url: url(sim.atlassian_url()),
            client_id: client.id.clone(),
            client_secret: client.secret.as_str().into(),
            use_pkce: true,
            scopes: ["read:jira-work", "read:me", "offline_access"].map(str::to_owned).to_vec(),
        };
        (None, Some(settings), None)
    })
}

#[tokio::test]
async fn a_site_is_connected_with_its_ends_in_sight() {
    let world = start();
    let sites = ["11111111-aaaa-4bbb-8ccc-000000000001", "11111111-aaaa-4bbb-8ccc-000000000002"];
    let tokens = world.authorize(&[("decision", "approve"), ("site", sites[0]), ("site", sites[1])]).await;
    let credential = &tokens.credentials[0];
    assert!(credential.refresh_token.is_some() && credential.absolute_expires_at.is_some());
    assert!(credential.refresh_expires_at < credential.absolute_expires_at);
    let infos = world.provider().get_installation_info(&tokens, None).await.unwrap();
    assert_eq!(infos.len(), 1);
    assert_eq!(
        (infos[0].external_org_id.as_str(), infos[0].aliases.as_slice()),
        (sites[0], &sites.map(str::to_owned)[..])
    );
    assert_eq!(infos[0].external_org_name.as_deref(), Some("example-corp, example-labs"));
    assert!(infos[0].metadata["account_id"].is_string(), "{}", infos[0].metadata);
    assert!(world.provider().probe(None, Some(credential)).await.unwrap().external_org_name.is_some());
}

#[tokio::test]
async fn a_used_refresh_token_counts_within_the_leeway_and_then_no_more() {
    let world = start();
    let tokens = world.authorize(&[("decision", "approve")]).await;
    let old = tokens.credentials[0].refresh_token.clone().unwrap();
    let provider = world.provider();
    let renewed = provider.refresh_tokens(CredentialKind::User, &old).await.unwrap();
    assert!(renewed.credentials[0].absolute_expires_at.is_none(), "the family's end stays as it was");
    assert!(provider.refresh_tokens(CredentialKind::User, &old).await.is_ok());
    world.sim.advance_clock(601);
    let late = provider.refresh_tokens(CredentialKind::User, &old).await.unwrap_err();
    assert_eq!(late, ProviderError::refused("invalid_grant"));
}

#[tokio::test]
async fn an_answer_without_a_refresh_token_is_a_success() {
    let world = start();
    let tokens = world.authorize(&[("decision", "approve")]).await;
    world.sim.world().atlassian.options.omit_refresh_token = true;
    let old = tokens.credentials[0].refresh_token.clone().unwrap();
    let renewed = world.provider().refresh_tokens(CredentialKind::User, &old).await.unwrap();
    assert!(renewed.credentials[0].refresh_token.is_none());
    assert!(!renewed.credentials[0].access_token.expose_secret().is_empty());
}

#[tokio::test]
async fn consent_for_no_site_is_said_clearly() {
    let world = start();
    let tokens = world.authorize(&[("decision", "approve")]).await;
    let error = world.provider().get_installation_info(&tokens, None).await.unwrap_err();
    assert_eq!(error, ProviderError::NothingGranted);
}

#[tokio::test]
async fn a_grant_is_ended_by_a_person_only() {
    let world = start();
    let tokens = world.authorize(&[("decision", "approve")]).await;
    let revocation = world.provider().revoke_tokens(None, &tokens).await.unwrap();
    assert!(!revocation.provider_revoked && revocation.help_url.is_some());
}
