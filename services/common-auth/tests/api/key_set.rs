//! Which keys of a JWK Set count.

use std::sync::Arc;

use common_auth::testing::TestIssuer;
use josekit::jwk::alg::{
    ec::{EcCurve, EcKeyPair},
    rsa::RsaKeyPair,
};
use serde_json::{Value, json};

use crate::helpers::{Answer, World, impostor, invalid, issuer};

/// The published key of an issuer with other members.
fn key(issuer: &TestIssuer, changes: &[(&str, Value)]) -> Value {
    let mut key = issuer.jwks().pointer("/keys/0").unwrap().as_object().unwrap().clone();
    for (name, value) in changes {
        if value.is_null() {
            key.remove(*name);
        } else {
            key.insert((*name).to_owned(), value.clone());
        }
    }
    Value::Object(key)
}

async fn world_of(keys: Vec<Value>) -> World {
    World::with(|setup| setup.answer = Answer::Keys(json!({ "keys": keys }))).await
}

#[tokio::test]
async fn fitting_keys_count() {
    for changes in [
        vec![],
        vec![("use", json!(null)), ("alg", json!(null))],
        vec![("key_ops", json!(["verify"]))],
        vec![("use", json!(null)), ("key_ops", json!(["sign", "verify"]))],
        vec![("unheard_of", json!({ "x": 1 }))],
    ] {
        let world = world_of(vec![key(&issuer(), &changes)]).await;
        assert_eq!(world.refusal(&world.alice().sign()).await, None, "{changes:?}");
    }
}

#[tokio::test]
async fn keys_for_other_purposes_do_not_count() {
    for changes in [
        vec![("use", json!("enc"))],
        vec![("use", json!("SIG"))],
        vec![("key_ops", json!(["encrypt"]))],
        vec![("key_ops", json!([]))],
        vec![("alg", json!("RS512"))],
        vec![("alg", json!("PS256"))],
        vec![("alg", json!("none"))],
        vec![("kty", json!("oct"))],
        vec![("kty", json!(null))],
        vec![("n", json!(null))],
        vec![("n", json!("!!!"))],
        vec![("n", json!(17))],
        vec![("n", json!(""))],
        vec![("e", json!(null))],
        vec![("kid", json!(null))],
        vec![("kid", json!(""))],
        vec![("kid", json!(5))],
        vec![("use", json!(5))],
    ] {
        // Beside a good one, which it must not spoil.
        let world = world_of(vec![key(&issuer(), &changes), key(&impostor(), &[])]).await;
        assert!(world.manager().has_keys(), "{changes:?}");
        assert_eq!(world.metrics.jwks_keys_left_out.get(), 1, "{changes:?}");
        assert_eq!(world.refusal(&world.alice().sign()).await, invalid("unknown_kid"), "{changes:?}");
        let good = impostor().service("s", "").sign();
        assert_eq!(world.refusal(&good).await, None, "{changes:?}");
    }
}

#[tokio::test]
async fn short_and_elliptic_keys_do_not_count() {
    let mut small = RsaKeyPair::generate(1024).unwrap().to_jwk_public_key();
    small.set_key_id("small");
    let mut curve = EcKeyPair::generate(EcCurve::P256).unwrap().to_jwk_public_key();
    curve.set_key_id("curve");
    let others = [small, curve].map(|key| Value::Object(key.into()));
    let world = world_of([others.to_vec(), vec![key(&issuer(), &[])]].concat()).await;
    for kid in ["small", "curve"] {
        assert!(world.manager().key(kid).is_none(), "{kid}");
        let token = world.alice().header("kid", json!(kid)).sign();
        assert_eq!(world.refusal(&token).await, invalid("unknown_kid"), "{kid}");
    }
    assert_eq!(world.refusal(&world.alice().sign()).await, None);
}

#[tokio::test]
async fn the_first_of_two_keys_with_one_id_counts() {
    let (first, second) = (issuer(), impostor());
    let same_id = key(&second, &[("kid", json!(first.kid()))]);
    let world = world_of(vec![key(&first, &[]), same_id.clone()]).await;
    assert_eq!(world.metrics.jwks_keys_left_out.get(), 1);
    assert_eq!(world.refusal(&world.alice().sign()).await, None);
    let of_the_second = second.service("s", "").header("kid", json!(first.kid())).sign();
    assert_eq!(world.refusal(&of_the_second).await, invalid("signature"));
    // The first that is fit, that is.
    let world = world_of(vec![key(&first, &[("use", json!("enc"))]), same_id]).await;
    assert_eq!(world.refusal(&of_the_second).await, None);
}

#[tokio::test]
async fn a_huge_set_is_cut_off() {
    let many = (0..100).map(|n| key(&issuer(), &[("kid", json!(format!("k{n}")))])).collect();
    let world = world_of(many).await;
    assert!(world.manager().key("k63").is_some());
    assert!(world.manager().key("k64").is_none());
    assert_eq!(world.metrics.jwks_keys_left_out.get(), 36);
}

#[tokio::test]
async fn a_key_that_changes_under_its_id_is_another_key() {
    let world = World::new().await;
    let token = world.alice().sign();
    assert_eq!(world.refusal(&token).await, None);
    let before = world.manager().key(&world.issuer.kid()).unwrap();
    world.keys.answer(Answer::Keys(json!({ "keys": [key(&issuer(), &[])] })));
    world.manager().fetch(false).await.unwrap();
    assert!(Arc::ptr_eq(&before, &world.manager().key(&world.issuer.kid()).unwrap()));
    let swapped = key(&impostor(), &[("kid", json!(world.issuer.kid()))]);
    world.keys.answer(Answer::Keys(json!({ "keys": [swapped] })));
    world.manager().fetch(false).await.unwrap();
    assert!(before.is_withdrawn());
    assert_eq!(world.refusal(&token).await, invalid("signature"));
}
