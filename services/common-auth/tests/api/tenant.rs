//! For which organization a caller may speak.

use common_auth::{Orgs, Principal, Service, Tenant, TenantError};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::helpers::{ALICE, ORG, OTHER_ORG, World};

async fn service(orgs: Value) -> Principal {
    let world = World::new().await;
    let token = world.issuer.service("indexer", "x").claim("orgs", orgs).sign();
    world.accept(&token).await.principal.clone()
}

#[tokio::test]
async fn a_user_speaks_for_the_organization_of_the_token() {
    let world = World::new().await;
    let alice = world.accept(&world.issuer.user(ALICE, ORG).sign()).await.principal.clone();
    assert_eq!(alice.tenant(None).unwrap().org_id(), ORG);
    assert_eq!(alice.tenant(Some(ORG)).unwrap().org_id(), ORG);
    assert_eq!(alice.tenant(Some(OTHER_ORG)), Err(TenantError::NotFound));
}

#[tokio::test]
async fn a_users_orgs_claim_widens_nothing() {
    let world = World::new().await;
    let token = world.issuer.user(ALICE, ORG).claim("orgs", json!(["*", OTHER_ORG])).sign();
    let alice = world.accept(&token).await.principal.clone();
    assert_eq!(alice.tenant(Some(OTHER_ORG)), Err(TenantError::NotFound));
}

#[tokio::test]
async fn a_service_of_the_platform_names_any_organization() {
    let everywhere = service(json!(["*"])).await;
    assert_eq!(everywhere.tenant(Some(ORG)).unwrap().org_id(), ORG);
    assert_eq!(everywhere.tenant(Some(OTHER_ORG)).unwrap().org_id(), OTHER_ORG);
    assert_eq!(everywhere.tenant(None), Err(TenantError::Missing));
}

#[tokio::test]
async fn a_bound_service_names_one_of_its_own() {
    let bound = service(json!([ORG])).await;
    assert_eq!(bound.tenant(None).unwrap().org_id(), ORG);
    assert_eq!(bound.tenant(Some(ORG)).unwrap().org_id(), ORG);
    assert_eq!(bound.tenant(Some(OTHER_ORG)), Err(TenantError::NotFound));
    let twice = service(json!([ORG, OTHER_ORG])).await;
    assert_eq!(twice.tenant(None), Err(TenantError::Missing));
    assert_eq!(twice.tenant(Some(OTHER_ORG)).unwrap().org_id(), OTHER_ORG);
    assert_eq!(twice.tenant(Some(Uuid::now_v7())), Err(TenantError::NotFound));
}

#[tokio::test]
async fn a_service_without_organizations_speaks_for_none() {
    for orgs in [json!([]), json!(null), json!(["everything", "**", ""])] {
        let nowhere = service(orgs).await;
        assert_eq!(nowhere.tenant(Some(ORG)), Err(TenantError::NotFound));
        assert_eq!(nowhere.tenant(None), Err(TenantError::Missing));
        assert!(
            matches!(nowhere, Principal::Service(Service { orgs: Orgs::Only(orgs), .. }) if orgs.is_empty())
        );
    }
}

#[test]
fn a_row_names_its_organization() {
    assert_eq!(Tenant::of_record(ORG).org_id(), ORG);
}
