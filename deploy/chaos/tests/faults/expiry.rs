//! A token ends when it says so, give or take the leeway, and the answer tells why.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chaos::{Options, World};
use e2e::wait;

/// The shortest life that auth-api gives.
const LIFETIME: i64 = 10;
/// The most that clocks may differ.
const LEEWAY: i64 = 60;

#[tokio::test]
#[ignore = "starts processes: make chaos"]
async fn an_expired_token_is_refused_by_name() {
    let options = Options::default().auth_api("ACCESS_TOKEN_TTL_SECONDS", &LIFETIME.to_string());
    let world = World::start(options).await.unwrap();
    let (stack, group_id) = (world.stack.clone(), world.stack.settings.group_id);
    let session = stack.auth.login(&stack.settings.bob).await.unwrap();
    assert_eq!(session.answer.body["expires_in"], LIFETIME);
    let expires = session.token().unwrap().number("exp").unwrap();
    let limit = Duration::from_secs((LIFETIME + LEEWAY + 2).unsigned_abs());
    let token = &session.access_token;
    wait::until(limit, "the token ends", async || {
        Ok(stack.chat.history(token, group_id, "limit=1").await?.status != 200)
    })
    .await
    .unwrap();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    assert!(now >= expires, "refused {} s before its end", expires - now);
    println!("refused {} s after exp", now - expires);

    let refused = stack.chat.history(token, group_id, "").await.unwrap();
    let refused = refused.expect_error(401, "token_expired").unwrap();
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    stack.auth.group(Some(token), group_id).await.unwrap().expect_error(401, "token_expired").unwrap();
    let renewed = stack.auth.refresh(&session.refresh_token).await.unwrap().expect(200).unwrap();
    let renewed = renewed.text_at("/access_token").unwrap();
    stack.chat.history(renewed, group_id, "").await.unwrap().expect(200).unwrap();
    world.end().await.unwrap();
}
