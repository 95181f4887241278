//! What users and services of the platform rely on, asked of a running stack (`make e2e-local`).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod messages;
mod operations;
mod refusals;
mod sessions;
mod spec_000;
mod tenancy;
mod tokens;

use std::time::Duration;

use e2e::{Session, Stack};
use uuid::Uuid;

/// Within which a revocation or a removal has to bite.
const SOON: Duration = Duration::from_secs(3);

fn stack() -> Stack {
    Stack::from_env().unwrap()
}

async fn alice(stack: &Stack) -> Session {
    stack.auth.login(&stack.settings.alice).await.unwrap()
}

async fn bob(stack: &Stack) -> Session {
    stack.auth.login(&stack.settings.bob).await.unwrap()
}

async fn carol(stack: &Stack) -> Session {
    stack.auth.login(&stack.settings.carol).await.unwrap()
}

/// A group of its own for a test that counts, with Alice and Bob in it, as soon as chat-api knows it.
async fn own_group(stack: &Stack, alice: &Session, name: &str) -> Uuid {
    let bob = stack.settings.bob.user_id.unwrap();
    let group_id = stack.auth.group_of(&alice.access_token, name, &[bob]).await.unwrap();
    e2e::wait::until(SOON, "chat-api knows the new group", async || {
        Ok(stack.chat.group(&alice.access_token, group_id).await?.status == 200)
    })
    .await
    .unwrap();
    group_id
}
