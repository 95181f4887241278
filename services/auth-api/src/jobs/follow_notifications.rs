//! Hears from the database what changed, and looks itself every second in case a notice was lost.

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;

use crate::domain::{
    Identity, key_rotation,
    notification::{Listener, Notification},
};

const PERIOD: Duration = Duration::from_secs(1);

/// Runs until it is dropped.
pub async fn run(identity: Arc<Identity>) {
    let mut second = tokio::time::interval(PERIOD);
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        match Listener::connect(&identity.db).await {
            Ok(mut listener) => {
                // Whatever happened while nobody listened counts as changed.
                identity.clients.forget_all();
                follow(&identity, &mut listener, &mut second).await;
                tracing::warn!("the connection for notices was lost");
            }
            Err(error) => {
                tracing::warn!(%error, "no connection for notices");
                look(&identity).await;
            }
        }
    }
}

async fn follow(identity: &Identity, listener: &mut Listener, second: &mut tokio::time::Interval) {
    loop {
        tokio::select! {
            notification = listener.next() => match notification {
                Some(Notification::Feed) => look(identity).await,
                Some(Notification::Client(client_id)) => identity.clients.forget(&client_id),
                Some(Notification::Keys) => {
                    if let Err(error) = key_rotation::reload(identity).await {
                        tracing::warn!(%error, "the signing keys could not be loaded");
                    }
                }
                None => return,
            },
            _ = second.tick() => look(identity).await,
        }
    }
}

async fn look(identity: &Identity) {
    if let Err(error) = identity.feeds.refresh(&identity.db).await {
        tracing::warn!(%error, "the feeds could not be looked at");
    }
}
