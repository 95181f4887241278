//! What was asked of the providers, and every secret that went over the wire.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use actix_web::{HttpMessage, HttpRequest};
use serde::{Deserialize, Serialize};

/// Whom a call went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// github.com and api.github.com.
    Github,
    /// auth.atlassian.com and api.atlassian.com.
    Atlassian,
    /// slack.com.
    Slack,
}

/// One request to a provider.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    pub provider: Provider,
    /// Method and path pattern, as `POST /login/oauth/access_token`.
    pub endpoint: String,
    /// The path as it was sent, without its query.
    pub path: String,
    /// The providers' time in seconds since 1970.
    pub at: i64,
    /// What the endpoint took it for, as `refresh_token`; empty until it was processed, and where there is nothing to say.
    pub note: String,
    /// The status of the answer, once there was one.
    pub status: Option<u16>,
}

/// The log of calls and the canaries.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    calls: Mutex<Vec<Call>>,
    canaries: Mutex<BTreeSet<String>>,
}

/// Where in the log the present call stands.
#[derive(Clone, Copy)]
pub(crate) struct CallNumber(usize);

impl Journal {
    pub(crate) fn enter(&self, call: Call) -> CallNumber {
        let mut calls = lock(&self.calls);
        calls.push(call);
        CallNumber(calls.len() - 1)
    }

    pub(crate) fn leave(&self, number: CallNumber, status: u16) {
        if let Some(call) = lock(&self.calls).get_mut(number.0) {
            call.status = Some(status);
        }
    }

    /// Says what the present call was taken for.
    pub(crate) fn note(&self, request: &HttpRequest, note: &str) {
        let Some(number) = request.extensions().get::<CallNumber>().copied() else { return };
        if let Some(call) = lock(&self.calls).get_mut(number.0) {
            note.clone_into(&mut call.note);
        }
    }

    /// Remembers a secret, and gives it back.
    pub(crate) fn secret(&self, secret: impl Into<String>) -> String {
        let secret = secret.into();
        // What is shorter may be part of any text.
        if secret.len() >= 12 {
            lock(&self.canaries).insert(secret.clone());
        }
        secret
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        lock(&self.calls).clone()
    }

    pub(crate) fn canaries(&self) -> Vec<String> {
        lock(&self.canaries).iter().cloned().collect()
    }

    /// How often each endpoint was called.
    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for call in lock(&self.calls).iter() {
            *counts.entry(call.endpoint.clone()).or_default() += 1;
        }
        counts
    }

    /// Forgets the calls; the canaries stay.
    pub(crate) fn clear(&self) {
        lock(&self.calls).clear();
    }
}

/// A lock that does not mind a panic of another holder.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
