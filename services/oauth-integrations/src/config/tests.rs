use super::*;

const KEYS: &str = "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const BASE: [(&str, &str); 5] = [
    ("AUTH_API_ISSUER", "http://auth-api:8000"),
    ("CLIENT_SECRET", "s"),
    ("POSTGRES_PASSWORD", "p"),
    ("TOKEN_ENCRYPTION_KEYS", KEYS),
    ("OAUTH_CALLBACK_BASE", "https://connect.example.com"),
];

fn config<'a>(extra: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Config, ConfigError> {
    let extra: Vec<_> = extra.into_iter().collect();
    let base = BASE.into_iter().filter(|(name, _)| extra.iter().all(|(other, _)| other != name));
    Config::from_pairs(base.chain(extra.iter().copied()))
}

#[test]
fn the_defaults_and_five_values_are_enough() {
    let config = config([]).unwrap();
    assert_eq!((config.port, config.admin_port), (8010, 9010));
    assert_eq!(config.public_origin(), "https://connect.example.com");
    assert!(
        config.provider.github.is_none() && config.provider.jira.is_none() && config.provider.slack.is_none()
    );
}

#[test]
fn a_bad_value_is_named_in_one_sentence() {
    for (variable, value, reason) in [
        ("PORT", "http", "invalid digit"),
        ("LOG_FORMAT", "xml", "json"),
        ("ALLOWED_ORIGINS", "https://a.example/path", "origin"),
        ("TRUSTED_PROXIES", "10.0.0.0/40", "networks"),
        ("MAX_LIVE_STATES_PER_ORG", "0", "1"),
        ("OAUTH_CALLBACK_BASE", "http://connect.example.com", "https"),
        ("OAUTH_CALLBACK_BASE", "https://connect.example.com/oauth", "path"),
        ("OAUTH_CALLBACK_BASE", "https://connect.example.com?x=1", "plain"),
        ("OAUTH_CALLBACK_BASE", "https://me@connect.example.com", "plain"),
        ("OAUTH_CALLBACK_BASE", "https://:pass@connect.example.com", "plain"),
        ("PUBLIC_URL", "https://other.example.com", "cookie"),
        ("GITHUB_API_URL", "http://github.internal", "https"),
        ("SLACK_BROWSER_URL", "ftp://slack.com", "http"),
    ] {
        let error = config([(variable, value)]).unwrap_err().to_string();
        assert!(error.starts_with(variable) && error.contains(reason), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn plain_http_is_for_loopback_or_by_an_explicit_word() {
    for url in ["http://127.0.0.1:18101", "http://localhost:18101", "http://[::1]:1"] {
        assert!(config([("GITHUB_API_URL", url)]).is_ok(), "{url}");
        assert!(config([("OAUTH_CALLBACK_BASE", url)]).is_ok(), "{url}");
    }
    let cluster = [("SLACK_API_URL", "http://simulator:18103"), ("ALLOW_INSECURE_PROVIDERS", "true")];
    assert!(config(cluster).is_ok());
}

#[test]
fn half_of_a_providers_credentials_is_an_error_and_empty_ones_are_none() {
    let error = config([("SLACK_CLIENT_ID", "x")]).unwrap_err();
    assert_eq!(error, ConfigError::Missing("SLACK_CLIENT_SECRET".to_owned()));
    let config = config([("SLACK_CLIENT_ID", ""), ("SLACK_CLIENT_SECRET", "")]).unwrap();
    assert!(config.provider.slack.is_none());
}

#[test]
fn a_github_app_needs_its_slug_and_key() {
    let app = [("GITHUB_CLIENT_ID", "c"), ("GITHUB_CLIENT_SECRET", "s"), ("GITHUB_APP_ID", "1")];
    assert_eq!(config(app).unwrap_err(), ConfigError::Missing("GITHUB_APP_SLUG".to_owned()));
    let error = config(
        app.into_iter()
            .chain([("GITHUB_APP_SLUG", "demo"), ("GITHUB_PRIVATE_KEY_PATH", "/nonexistent/key.pem")]),
    );
    assert!(error.unwrap_err().to_string().starts_with("GITHUB_PRIVATE_KEY_PATH"));
}

#[test]
fn secrets_do_not_print_and_are_never_repeated() {
    let printed = format!("{:?}", config([("CLIENT_SECRET", "hunter2")]).unwrap());
    assert!(!printed.contains("hunter2"), "{printed}");
    let error = config([("TOKEN_ENCRYPTION_KEYS", "k1:hunter2")]).unwrap_err().to_string();
    assert!(error.starts_with("TOKEN_ENCRYPTION_KEYS") && !error.contains("hunter2"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let error = Config::from_pairs(BASE.into_iter().filter(|(name, _)| *name != "TOKEN_ENCRYPTION_KEYS"));
    assert_eq!(error.unwrap_err(), ConfigError::Missing("TOKEN_ENCRYPTION_KEYS".to_owned()));
}

#[test]
fn the_limits_leave_an_answer_within_two_seconds() {
    assert!(POOL_WAIT_LIMIT + CONNECT_LIMIT + STATEMENT_LIMIT < Duration::from_secs(2));
}

#[test]
fn every_variable_is_in_the_table() {
    let table = Config::markdown();
    assert!(table.contains("| `TOKEN_ENCRYPTION_KEYS` | required |"), "{table}");
    assert!(table.contains("| `PORT` | `8010` |"), "{table}");
    assert!(table.contains("| `GITHUB_APP_SLUG` | none |"), "{table}");
}
