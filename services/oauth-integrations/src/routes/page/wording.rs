//! What the pages say, in one place.

use crate::domain::{
    installation::{Installation, Status},
    provider::Platform,
    result::Outcome,
};

/// A platform's name as people write it.
pub(in crate::routes) fn name(platform: Platform) -> &'static str {
    match platform {
        Platform::Github => "GitHub",
        Platform::Jira => "Jira and Confluence",
        Platform::Slack => "Slack",
    }
}

/// What a connected account is called there.
pub(in crate::routes) fn account_noun(platform: Platform) -> &'static str {
    match platform {
        Platform::Github => "account",
        Platform::Jira => "site",
        Platform::Slack => "workspace",
    }
}

/// The state of a connection in one word or two.
pub(in crate::routes) fn status(status: Status) -> &'static str {
    match status {
        Status::Active => "Connected",
        Status::NeedsReconnect => "Reconnect needed",
        Status::Suspended => "Suspended",
        Status::PendingApproval => "Waiting for approval",
        Status::Revoked => "Disconnected",
    }
}

/// What is wrong with a connection and what to do about it; none where all is well.
pub(in crate::routes) fn trouble(installation: &Installation) -> Option<String> {
    let name = name(installation.platform);
    let noun = account_noun(installation.platform);
    let reason = installation.status_reason.as_deref();
    Some(match (installation.status, reason) {
        (Status::Active, Some("grant_ends_soon")) => {
            format!(
                "The consent given at {name} ends soon. Reconnect before it does, and nothing is interrupted."
            )
        }
        (Status::Active, Some("renewal_fails")) => {
            format!(
                "{name} has not renewed the access for a while, so nothing can use it now. It is tried again by itself. If it stays so, reconnect or tell an administrator."
            )
        }
        (Status::Active | Status::Revoked, _) => return None,
        (Status::PendingApproval, _) => {
            format!(
                "An owner of the {noun} at {name} has been asked. Nothing is to be done here until the owner says yes."
            )
        }
        (Status::Suspended, _) => {
            format!(
                "An owner of the {noun} suspended the app at {name}. The owner can lift the suspension in its settings there."
            )
        }
        (Status::NeedsReconnect, Some("uninstalled")) => {
            format!("The app was removed from the {noun} at {name}. Reconnect to install it again.")
        }
        (Status::NeedsReconnect, Some("access_revoked")) => {
            format!("The consent was withdrawn at {name}. Reconnect to give it again.")
        }
        (Status::NeedsReconnect, Some("grant_expired")) => {
            format!(
                "The consent given at {name} has ended, as it does after some time. Reconnect to give it again."
            )
        }
        (Status::NeedsReconnect, Some("no_refresh_token")) => {
            format!(
                "{name} gave access for a short time only. Reconnect, and allow access while you are away."
            )
        }
        (Status::NeedsReconnect, _) => {
            format!("{name} no longer accepts the access that was given. Reconnect to give it again.")
        }
    })
}

/// The heading of a result page, and the sentence beneath it.
pub(in crate::routes) fn outcome(
    outcome: Outcome,
    platform: Platform,
    account: Option<&str>,
) -> (String, String) {
    let name = name(platform);
    let noun = account_noun(platform);
    let which = account.map_or_else(|| format!("Your {noun}"), |account| format!("The {noun} {account}"));
    let (heading, sentence) = match outcome {
        Outcome::Connected => {
            (format!("{name} connected"), format!("{which} is connected. You can close this page or go on."))
        }
        Outcome::PendingApproval => (
            "Waiting for approval".to_owned(),
            format!(
                "An owner of the {noun} at {name} has been asked. It is connected as soon as the owner says yes."
            ),
        ),
        Outcome::Denied => (
            format!("{name} not connected"),
            "You did not give consent, so nothing was connected. Start again if that was a mistake."
                .to_owned(),
        ),
        Outcome::AlreadyConnected => (
            format!("{name} not connected"),
            format!(
                "This {noun} is connected to another organization. It has to be disconnected there first."
            ),
        ),
        Outcome::NotOwner => (
            format!("{name} not connected"),
            format!("Only an owner of the {noun} at {name} can connect it. Ask one to do it."),
        ),
        Outcome::NothingGranted => (
            format!("{name} not connected"),
            format!("No {noun} was chosen at {name}. Start again and choose one."),
        ),
        Outcome::SeveralAccounts => (
            format!("{name} not connected"),
            format!("You own several at {name}. Start again and choose one {noun}."),
        ),
        Outcome::OtherAccount => (
            format!("{name} not reconnected"),
            format!(
                "You chose another {noun} than the one to be reconnected. Start again and choose the same one."
            ),
        ),
        Outcome::Gone => (
            format!("{name} not reconnected"),
            "The connection was removed in the meantime. Connect it anew.".to_owned(),
        ),
        Outcome::Suspended => (
            format!("{name} not connected"),
            format!(
                "The app is suspended at {name}. An owner of the {noun} can lift that in its settings there."
            ),
        ),
        Outcome::Refused => (
            format!("{name} not connected"),
            format!("{name} refused. Start again; if it stays so, tell an administrator."),
        ),
        Outcome::Misconfigured => (
            format!("{name} not connected"),
            format!("This service is not set up correctly at {name}. Tell an administrator."),
        ),
        Outcome::Unavailable => (
            format!("{name} not connected"),
            format!("{name} did not answer as expected. Wait a moment, then start again."),
        ),
    };
    (heading, sentence)
}
