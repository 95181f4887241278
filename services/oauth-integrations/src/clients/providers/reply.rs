//! What is read out of a provider's JSON, whichever form it took that day.

use secrecy::SecretString;
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::{
    clients::http::unreadable,
    domain::provider::{Credential, CredentialKind, ProviderError},
};

/// A life longer than this is a mistake, and would overflow a date.
const LONGEST_LIFE_SECONDS: i64 = 10 * 366 * 86_400;
/// The life of a token that comes with a refresh token and does not say how long it lasts: no provider's is shorter.
const UNSAID_LIFE: Duration = Duration::hours(1);

/// A text, also where it was written as a number. None where it is empty.
pub(super) fn text(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The moment so many seconds after `now`, also where they were written as a text.
pub(super) fn moment_after(now: OffsetDateTime, value: &Value, pointer: &str) -> Option<OffsetDateTime> {
    let seconds = text(value, pointer)?.parse::<i64>().ok()?;
    now.checked_add(Duration::seconds(seconds.clamp(0, LONGEST_LIFE_SECONDS)))
}

/// A token; providers' tokens are opaque, and of any length.
pub(super) fn secret(value: &Value, pointer: &str) -> Option<SecretString> {
    match value.pointer(pointer)? {
        Value::String(token) if !token.is_empty() => Some(SecretString::from(token.as_str())),
        _ => None,
    }
}

/// Scopes, separated by spaces or commas.
pub(super) fn scopes(value: &Value, pointer: &str) -> Vec<String> {
    let listed = value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    listed.split([' ', ',']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
}

/// A token answer of RFC 6749, section 5.1, beneath `pointer`.
pub(super) fn credential(
    kind: CredentialKind,
    value: &Value,
    pointer: &str,
    now: OffsetDateTime,
) -> Result<Credential, ProviderError> {
    let at = |name: &str| format!("{pointer}/{name}");
    let refresh_token = secret(value, &at("refresh_token"));
    let unsaid = refresh_token.as_ref().and_then(|_| now.checked_add(UNSAID_LIFE));
    Ok(Credential {
        kind,
        access_token: secret(value, &at("access_token")).ok_or_else(unreadable)?,
        refresh_token,
        token_expires_at: moment_after(now, value, &at("expires_in")).or(unsaid),
        refresh_expires_at: moment_after(now, value, &at("refresh_token_expires_in")),
        absolute_expires_at: None,
        scopes: scopes(value, &at("scope")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);

    #[test]
    fn a_token_answer_is_read_with_numbers_or_texts() {
        for expires_in in [json!(28800), json!("28800")] {
            let answer = json!({ "access_token": "ghu_1", "refresh_token": "ghr_1", "expires_in": expires_in,
                "refresh_token_expires_in": 15_811_200, "scope": "", "token_type": "bearer", "new": [1] });
            let read = credential(CredentialKind::User, &answer, "", NOW).unwrap();
            assert_eq!(read.access_token.expose_secret(), "ghu_1");
            assert_eq!(read.refresh_token.unwrap().expose_secret(), "ghr_1");
            assert_eq!(read.token_expires_at, Some(datetime!(2026-11-21 20:00 UTC)));
            assert_eq!(read.refresh_expires_at, Some(datetime!(2027-05-23 12:00 UTC)));
            assert!(read.scopes.is_empty());
        }
    }

    #[test]
    fn only_a_token_that_cannot_be_renewed_may_be_without_an_end() {
        let end = |answer| credential(CredentialKind::User, &answer, "", NOW).unwrap().token_expires_at;
        assert_eq!(end(json!({ "access_token": "gho_1" })), None);
        let unclear = json!({ "access_token": "ghu_1", "refresh_token": "ghr_1", "expires_in": {} });
        assert_eq!(end(unclear), Some(datetime!(2026-11-21 13:00 UTC)));
    }

    #[test]
    fn scopes_are_split_at_spaces_and_commas() {
        for scope in ["repo,read:org", "repo read:org", "repo, read:org"] {
            assert_eq!(scopes(&json!({ "scope": scope }), "/scope"), ["repo", "read:org"]);
        }
    }

    #[test]
    fn without_a_token_there_is_no_credential() {
        for answer in
            [json!({}), json!({ "access_token": "" }), json!({ "access_token": 7 }), json!([]), json!(null)]
        {
            assert!(credential(CredentialKind::User, &answer, "", NOW).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_lifetime_overflows(seconds in any::<i64>()) {
            let read = moment_after(NOW, &json!({ "expires_in": seconds }), "/expires_in").unwrap();
            prop_assert!(read >= NOW);
        }
    }
}
