//! `auth-api seed-demo`: what it prints, and that it may be run again.

use std::collections::HashMap;

use crate::helpers::{
    TestApp, TestDatabase,
    database::{parse_variables, seed},
    process,
};

const CLIENTS: [&str; 6] = [
    "CHAT_API_SERVICE",
    "OAUTH_INTEGRATIONS_SERVICE",
    "OAUTH_RELAY_SERVICE",
    "MOZAIKS_RUNTIME_SERVICE",
    "INDEXER_WORKER",
    "DASHBOARD_API",
];

async fn run(database: &TestDatabase, known: &HashMap<String, String>) -> HashMap<String, String> {
    let mut settings = process::base_settings();
    settings.extend(database.settings(None));
    for client in CLIENTS {
        let variable: &'static str = Box::leak(format!("{client}_CLIENT_SECRET").into_boxed_str());
        settings.extend(known.get(variable).map(|secret| (variable, secret.clone())));
    }
    let outcome = process::run(&["seed-demo"], &settings).await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    parse_variables(&outcome.stdout)
}

#[tokio::test]
async fn it_prints_every_variable_that_it_owns() {
    let variables = seed().await;
    let people = ["ALICE", "BOB", "CAROL"]
        .iter()
        .flat_map(|person| [format!("{person}_EMAIL"), format!("{person}_PASSWORD")]);
    let clients =
        CLIENTS.iter().flat_map(|client| [format!("{client}_CLIENT_ID"), format!("{client}_CLIENT_SECRET")]);
    let others = ["ORG_ID", "APP_ID", "GROUP_ID", "ALICE_ID", "BOB_ID", "CAROL_GROUP_ID"].map(str::to_owned);
    for variable in people.chain(clients).chain(others) {
        assert!(variables.get(&variable).is_some_and(|value| !value.is_empty()), "{variable}");
    }
    assert_eq!(variables["ALICE_EMAIL"], "alice.admin@example.com");
    assert_eq!(variables["ALICE_PASSWORD"], "SecurePass123!Admin");
    assert_eq!(variables["BOB_EMAIL"], "bob.member@example.com");
    assert_eq!(variables["CAROL_EMAIL"], "carol.owner@other.example");
}

#[tokio::test]
async fn a_second_run_with_the_secrets_changes_nothing() {
    let database = TestDatabase::create().await;
    let counts = "SELECT concat_ws(' ', (SELECT count(*) FROM orgs), (SELECT count(*) FROM users), (SELECT count(*) FROM groups), \
                  (SELECT count(*) FROM group_members), (SELECT count(*) FROM clients), (SELECT count(*) FROM client_secrets), \
                  (SELECT count(*) FROM changes))";
    let before = database.text(counts).await;
    let again = run(&database, seed().await).await;
    assert_eq!(&again, seed().await);
    assert_eq!(database.text(counts).await, before);
}

#[tokio::test]
async fn a_second_run_without_them_makes_new_ones_and_keeps_the_old_alive_for_once() {
    let app = TestApp::spawn().await;
    let first = app.demo_client("chat-api-service").await;
    let second = run(&app.database, &HashMap::new()).await;
    let mut client = first.clone();
    client.secret.clone_from(&second["CHAT_API_SERVICE_CLIENT_SECRET"]);
    assert_ne!(client.secret, first.secret);
    assert_eq!(second["ORG_ID"], seed().await["ORG_ID"]);
    app.service_token(&client).await;
    app.service_token(&first).await;
    run(&app.database, &HashMap::new()).await;
    let live = "SELECT count(*) FROM client_secrets WHERE client_id = 'chat-api-service'";
    assert_eq!(app.database.number(live).await, 2);
}

#[tokio::test]
async fn it_makes_its_own_schema() {
    let database = TestDatabase::empty().await;
    let variables = run(&database, &HashMap::new()).await;
    assert_eq!(
        database.text("SELECT id::text FROM orgs WHERE name = 'Example Corp'").await,
        variables["ORG_ID"]
    );
}

#[tokio::test]
async fn its_clients_are_those_of_the_design() {
    let app = TestApp::spawn().await;
    let rows = app
        .database
        .client()
        .await
        .query(
            "SELECT client_id, scopes, audiences, all_orgs, is_public FROM clients WHERE client_id = ANY($1)",
            &[&[
                "chat-api-service",
                "oauth-integrations-service",
                "oauth-relay-service",
                "mozaiks-runtime-service",
                "indexer-worker",
                "dashboard-api",
            ]
            .as_slice()],
        )
        .await
        .unwrap();
    assert_eq!(rows.len(), 6);
    for row in rows {
        let (id, scopes, audiences): (String, Vec<String>, Vec<String>) =
            (row.get(0), row.get(1), row.get(2));
        let (expected_scopes, expected_audiences, all_orgs) = match &*id {
            "chat-api-service" => ("groups:read revocations:read tokens:introspect", "auth-api", true),
            "oauth-integrations-service" => {
                ("revocations:read tokens:introspect runtime:notify", "auth-api mozaiks-runtime", true)
            }
            "oauth-relay-service" => ("revocations:read", "auth-api", true),
            "mozaiks-runtime-service" => (
                "revocations:read messages:read messages:send integrations:read integrations:token:read relay:wait",
                "auth-api chat-api oauth-integrations oauth-relay",
                true,
            ),
            "indexer-worker" => ("integrations:read integrations:token:read", "oauth-integrations", false),
            _ => ("integrations:read", "oauth-integrations", false),
        };
        assert_eq!(
            (scopes.join(" ").as_str(), audiences.join(" ").as_str()),
            (expected_scopes, expected_audiences),
            "{id}"
        );
        assert_eq!((row.get::<_, bool>(3), row.get::<_, bool>(4)), (all_orgs, false), "{id}");
    }
}

#[tokio::test]
async fn several_at_once_on_a_new_database_make_one_set() {
    let database = TestDatabase::empty().await;
    let none = HashMap::new();
    let (first, second, third) =
        tokio::join!(run(&database, &none), run(&database, &none), run(&database, &none));
    for variable in ["ORG_ID", "APP_ID", "GROUP_ID", "ALICE_ID", "CAROL_GROUP_ID"] {
        assert_eq!((&first[variable], &first[variable]), (&second[variable], &third[variable]), "{variable}");
    }
    assert_eq!(database.number("SELECT count(*) FROM orgs").await, 2);
    assert_eq!(database.number("SELECT count(*) FROM groups").await, 2);
}
