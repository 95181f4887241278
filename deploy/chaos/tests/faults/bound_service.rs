//! A service that is bound to one organization asks for another one: 404, as if there were none.

use chaos::{Options, World};
use e2e::ClientCredentials;
use uuid::Uuid;

/// None of the seeded clients may read groups for one organization only, so that this one is put into the database.
async fn bound_client(world: &World) -> ClientCredentials {
    let client = ClientCredentials {
        client_id: "bound-reader".to_owned(),
        client_secret: format!("aas_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()),
    };
    let (org_id, secret) = (world.stack.settings.org_id, &client.client_secret);
    let statements = format!(
        "INSERT INTO clients (client_id, name, is_public, grant_types, scopes, audiences, all_orgs, org_ids, created_at)
         VALUES ('bound-reader', 'Bound', false, '{{client_credentials}}', '{{groups:read,messages:read}}',
                 '{{auth-api,chat-api}}', false, ARRAY['{org_id}']::uuid[], now());
         INSERT INTO client_secrets (id, client_id, digest, created_at)
         VALUES (gen_random_uuid(), 'bound-reader', sha256('{secret}'::bytea), now());"
    );
    world.databases.execute(&statements).await.unwrap();
    client
}

#[tokio::test]
#[ignore = "starts processes: make chaos"]
async fn a_service_bound_to_one_organization_gets_404_for_another() {
    let world = World::start(Options::default()).await.unwrap();
    let (stack, client) = (world.stack.clone(), bound_client(&world).await);
    let (own, foreign) = (stack.settings.group_id, stack.settings.carol_group_id);
    let carol = stack.auth.login(&stack.settings.carol).await.unwrap();
    let other_org = carol.answer.text_at("/user/org_id").unwrap().to_owned();
    let token = stack.auth.service_token(&client, None).await.unwrap();
    let token = token.as_str();

    stack.auth.group(Some(token), own).await.unwrap().expect(200).unwrap();
    stack.auth.members(Some(token), own).await.unwrap().expect(200).unwrap();
    stack.auth.group(Some(token), foreign).await.unwrap().expect_error(404, "not_found").unwrap();
    stack.auth.members(Some(token), foreign).await.unwrap().expect_error(404, "not_found").unwrap();
    for path in
        [format!("/api/auth/directory?org_id={other_org}"), format!("/api/auth/groups?org_id={other_org}")]
    {
        let answer = stack.auth.peer.get(&path).bearer(token).send().await.unwrap();
        answer.expect_error(404, "not_found").unwrap();
    }

    stack.chat.history(token, own, "").await.unwrap().expect(200).unwrap();
    let query = format!("org_id={other_org}");
    for group_id in [own, foreign] {
        let answer = stack.chat.history(token, group_id, &query).await.unwrap();
        answer.expect_error(404, "not_found").unwrap();
    }
    stack.chat.history(token, foreign, "").await.unwrap().expect_error(404, "not_found").unwrap();
    let groups = stack.chat.peer.get(&format!("/api/chat/groups?org_id={other_org}")).bearer(token);
    groups.send().await.unwrap().expect_error(404, "not_found").unwrap();
    world.end().await.unwrap();
}
