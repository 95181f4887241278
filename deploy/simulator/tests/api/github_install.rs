//! Installing the App: five ways back, and the form that a person uses.

use simulator::Provider;

use crate::helpers::{Ask, World};

const NEW: &str = "/apps/example-app/installations/new";

async fn install(world: &World, answer: &[(&str, &str)]) -> std::collections::HashMap<String, String> {
    world.consent(Provider::Github, NEW, &[("state", "state-of-the-service")], answer).await
}

#[tokio::test]
async fn an_owner_comes_back_with_code_and_id_at_the_callback() {
    let world = World::start();
    let back = install(&world, &[("user", "alice"), ("account", "example-corp")]).await;
    assert_eq!(back["path"], "/oauth/callback/github");
    assert_eq!(back["setup_action"], "install");
    assert_eq!(back["state"], "state-of-the-service");
    assert!(back.contains_key("code") && back.contains_key("installation_id"));
}

#[tokio::test]
async fn without_authorization_during_installation_there_is_no_code_and_the_setup_url_is_used() {
    let world = World::start();
    world.sim.world().github.options.authorize_during_install = false;
    world.sim.world().github.setup_url = "http://127.0.0.1:8010/setup".to_owned();
    let back = install(&world, &[("user", "alice"), ("account", "alice")]).await;
    assert_eq!(back["path"], "/setup");
    assert!(!back.contains_key("code") && back.contains_key("installation_id"));
}

#[tokio::test]
async fn a_second_time_it_is_an_update_of_the_same_installation() {
    let world = World::start();
    let first = install(&world, &[("account", "example-corp")]).await;
    let second = install(&world, &[("account", "example-corp"), ("repositories", "platform")]).await;
    assert_eq!(second["setup_action"], "update");
    assert_eq!(second["installation_id"], first["installation_id"]);
    assert!(!second.contains_key("code"));
}

#[tokio::test]
async fn a_member_only_asks_and_the_owners_approval_comes_back_without_a_state() {
    let world = World::start();
    let back = install(&world, &[("user", "bob"), ("account", "example-corp")]).await;
    assert_eq!(back["setup_action"], "request");
    assert_eq!(back["state"], "state-of-the-service");
    assert!(!back.contains_key("code") && !back.contains_key("installation_id"));
    assert!(world.sim.world().github.installations.is_empty());

    let approved = world.sim.approve_github_request("example-corp").unwrap();
    assert!(approved.contains("setup_action=install") && approved.contains("installation_id="));
    assert!(!approved.contains("state"));
    assert_eq!(world.sim.world().github.installations.len(), 1);
    assert!(world.sim.approve_github_request("example-corp").is_none());
}

#[tokio::test]
async fn who_refuses_comes_back_with_access_denied() {
    let world = World::start();
    let back = install(&world, &[("decision", "cancel")]).await;
    assert_eq!(back["error"], "access_denied");
    assert_eq!(back["state"], "state-of-the-service");
    assert!(back.contains_key("error_description") && back.contains_key("error_uri"));
}

#[tokio::test]
async fn a_stranger_to_the_organization_gets_nowhere() {
    let world = World::start();
    world.sim.preset_consent(Provider::Github, [("user", "mallory"), ("account", "example-corp")]);
    world.get(world.sim.github_url(), NEW, &[]).await.expect(403);
    world.get(world.sim.github_url(), "/apps/other/installations/new", &[]).await.expect(404);
}

#[tokio::test]
async fn the_page_is_a_form_that_can_be_filled_in_by_hand() {
    let world = World::start();
    let page = world.get(world.sim.github_url(), NEW, &[("state", "s-1")]).await.expect(200);
    for there in ["<form", "Signed in as", "example-corp", "Approve", "Cancel", "lang=\"en\""] {
        assert!(page.text.contains(there), "no {there}: {}", page.text);
    }
    let form =
        [("request", "state=s-1"), ("user", "alice"), ("account", "example-corp"), ("decision", "approve")];
    let back =
        world.http.post(format!("{}{NEW}", world.sim.github_url())).form(&form).answer().await.location();
    assert_eq!(back["state"], "s-1");
}
