//! Upgrades change nothing that they should not, and data outlives a release.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    cluster::{get, pods},
    helm::{chart, helm, services, upgrade},
    stack,
};

/// Every Secret but helm's own records, with its contents.
fn secrets() -> BTreeMap<String, Value> {
    let secrets = get(&["secrets"]);
    let own = secrets["items"].as_array().unwrap().iter().filter(|secret| secret["type"] == "Opaque");
    own.map(|secret| (secret["metadata"]["name"].as_str().unwrap().to_owned(), secret["data"].clone()))
        .collect()
}

#[test]
#[ignore = "needs an installed platform: make e2e"]
fn helm_test_goes_round_for_every_service() {
    for name in services() {
        let told = helm(&["test", &name, "--timeout", "2m"]);
        assert!(told.contains("Phase:          Succeeded"), "{told}");
    }
}

#[test]
#[ignore = "needs an installed platform: make e2e"]
fn two_upgrades_leave_secrets_and_pods_alone() {
    let all_pods = || services().iter().flat_map(|name| pods(name)).collect::<Vec<_>>();
    let (before, pods_before) = (secrets(), all_pods());
    assert!(before.len() > 8, "{:?}", before.keys());
    for _ in 0..2 {
        upgrade("data");
        for name in services() {
            upgrade(&name);
        }
        assert!(secrets() == before, "an upgrade changed a Secret");
    }
    let (mut after, mut before) = (all_pods(), pods_before);
    after.sort();
    before.sort();
    assert_eq!(after, before, "an upgrade without a change replaced pods");
}

#[test]
#[ignore = "needs an installed platform: make e2e"]
fn what_was_written_outlives_the_releases() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stack = stack();
    let group_id = stack.settings.group_id;
    let session = |patience| runtime.block_on(logged_in(&stack, patience));
    let alice = session(1);
    let sent = runtime.block_on(stack.chat.send(&alice, group_id, "outlives the releases")).unwrap();
    let id = sent.expect(201).unwrap().text_at("/id").unwrap().to_owned();

    let before = secrets();
    let mut releases = services();
    releases.insert(0, "data".to_owned());
    let values: Vec<String> =
        releases.iter().map(|name| helm(&["get", "values", name, "--output", "json"])).collect();
    for name in releases.iter().rev() {
        helm(&["uninstall", name, "--wait", "--timeout", "2m"]);
    }
    for (name, values) in releases.iter().zip(&values) {
        let file = std::env::temp_dir().join(format!("values-{}-{name}.json", std::process::id()));
        std::fs::write(&file, values).unwrap();
        let file = file.to_str().unwrap();
        helm(&["install", name, &chart(name), "--values", file, "--wait", "--timeout", "3m"]);
        std::fs::remove_file(file).unwrap();
    }
    assert!(secrets() == before, "installing again changed a Secret");

    // The forwards find the new pods by and by.
    let alice = session(60);
    let message = runtime.block_on(stack.chat.message(&alice, group_id, &id)).unwrap().expect(200).unwrap();
    assert_eq!(message.body["content"], "outlives the releases");
}

/// Alice's access token, as soon as both services are reached.
pub(crate) async fn logged_in(stack: &e2e::Stack, seconds: u64) -> String {
    let token = std::cell::RefCell::new(String::new());
    e2e::wait::until(std::time::Duration::from_secs(seconds), "auth-api and chat-api answer", async || {
        let Ok(session) = stack.auth.login(&stack.settings.alice).await else { return Ok(false) };
        let Ok(groups) = stack.chat.groups(Some(&session.access_token)).await else { return Ok(false) };
        *token.borrow_mut() = session.access_token;
        Ok(groups.status == 200)
    })
    .await
    .unwrap();
    token.into_inner()
}
