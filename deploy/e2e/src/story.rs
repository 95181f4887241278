//! The story of the platform: Alice's message from her login to Bob's screen (spec 000), her GitHub connected, a code relayed, and who is
//! refused on the way.

mod github;
mod relay;

use std::io::Write;

use anyhow::{Context, Result};
use serde_json::json;
use uuid::Uuid;

use crate::{
    auth_api::{self, Session},
    claims,
    metrics::{self, Metrics},
    narrator::{Narrator, millis},
    stack::Stack,
};

/// A permission or claim per check, so that a missing one is named.
const ALICE_MAY: [&str; 3] = ["groups:read", "messages:send", "members:manage"];

/// Tells the whole story that exists so far.
pub async fn tell<W: Write>(stack: &Stack, told: &mut Narrator<W>) -> Result<()> {
    let alice = log_in(stack, told).await?;
    look_at_claims(stack, told, &alice).await?;
    read_group_as_service(stack, told).await?;
    let (message_id, seq, content) = send(stack, told, &alice).await?;
    look_into_mongodb(stack, told, seq, &content).await?;
    let bob = read_as_bob(stack, told, &message_id, seq, &content).await?;
    unread(stack, told, &alice, &bob).await?;
    retry(stack, told, &alice).await?;
    refuse(stack, told, &alice).await?;
    github::tell(stack, told, &alice, &bob).await?;
    relay::tell(stack, told).await
}

async fn log_in<W: Write>(stack: &Stack, told: &mut Narrator<W>) -> Result<Session> {
    let person = &stack.settings.alice;
    told.step(format!("Alice logs in at auth-api as {}", person.email))?;
    let session = stack.auth.login(person).await?;
    let took = millis(session.answer.took);
    told.check(true, format!("200 with an access token and a refresh token, in {took}"))?;
    told.check(session.answer.body["token_type"] == "Bearer", "token_type is Bearer")?;
    told.check(Some(session.user_id) == person.user_id, format!("user.id is Alice's, {}", session.user_id))?;
    let cookie = session.answer.header("set-cookie").unwrap_or_default();
    told.check(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
        "the session cookie is HttpOnly and SameSite=Lax",
    )?;
    Ok(session)
}

async fn look_at_claims<W: Write>(stack: &Stack, told: &mut Narrator<W>, alice: &Session) -> Result<()> {
    told.step("Her token says who she is, and anybody can check it")?;
    let token = alice.token()?;
    let header = &token.header;
    told.check(header["alg"] == "RS256" && header["typ"] == "at+jwt", "RS256, typ at+jwt (RFC 9068)")?;
    let kids = auth_api::key_ids(&stack.auth.jwks().await?.expect(200)?)?;
    let kid = header["kid"].as_str().context("the token has no kid")?;
    told.check(kids.iter().any(|known| known == kid), format!("key {kid} is in /.well-known/jwks.json"))?;
    let audience = &token.claims["aud"];
    told.check(token.has("aud", "chat-api"), format!("aud {audience} contains chat-api"))?;
    told.check(token.claims["sub"] == alice.user_id.to_string(), "sub is her user id")?;
    let org = stack.settings.org_id;
    told.check(token.claims["org_id"] == org.to_string(), format!("org_id is Example Corp, {org}"))?;
    for permission in ALICE_MAY {
        told.check(token.has("permissions", permission), format!("permissions contain {permission}"))?;
    }
    let lifetime = token.number("exp")? - token.number("iat")?;
    told.check(alice.answer.number_at("/expires_in")? == lifetime, format!("it lives {lifetime} s"))
}

async fn read_group_as_service<W: Write>(stack: &Stack, told: &mut Narrator<W>) -> Result<()> {
    let client = &stack.settings.chat_api_service;
    told.step(format!("{} gets a service token and reads the group with it", client.client_id))?;
    let answer = stack.auth.client_credentials(client, Some("groups:read")).await?.expect(200)?;
    let service = answer.text_at("/access_token")?;
    let token = claims::decode(service)?;
    told.check(
        token.claims["sub"] == client.client_id.as_str() && token.claims["client_id"] == token.claims["sub"],
        "sub is the client id: a service, not a user",
    )?;
    told.check(auth_api::scopes(&answer) == ["groups:read"], "scope is groups:read")?;
    let group_id = stack.settings.group_id;
    let group = stack.auth.group(Some(service), group_id).await?.expect(200)?;
    told.check(
        group.text_at("/id")? == group_id.to_string(),
        format!("GET /api/auth/groups/{{id}} is 200: {:?}", group.text_at("/name")?),
    )?;
    let members = stack.auth.members(Some(service), group_id).await?.expect(200)?;
    let ids = auth_api::member_ids(&members)?;
    let is_in = |id: Option<Uuid>| id.is_some_and(|id| ids.contains(&id));
    let (alice, bob) = (stack.settings.alice.user_id, stack.settings.bob.user_id);
    told.check(
        is_in(alice) && is_in(bob),
        format!("GET …/members is 200, a bare array of {}; Alice and Bob are in it", ids.len()),
    )
}

/// Returns the message's id, its number and its content.
async fn send<W: Write>(
    stack: &Stack,
    told: &mut Narrator<W>,
    alice: &Session,
) -> Result<(String, i64, String)> {
    told.step("Alice sends a message to chat-api, which validates the group with its service token")?;
    let group_id = stack.settings.group_id;
    let content = format!("Hello via OAuth! ({})", Uuid::now_v7());
    let body = json!({ "content": content, "sender_id": alice.user_id });
    let sent = stack.chat.post_message(Some(&alice.access_token), group_id, &body).await?.expect(201)?;
    let seq = sent.number_at("/seq")?;
    told.check(true, format!("201 Created: message {seq} of the group, in {}", millis(sent.took)))?;
    told.check(
        sent.text_at("/sender_id")? == alice.user_id.to_string() && sent.text_at("/content")? == content,
        "sender and content are hers",
    )?;
    let after_first = metrics::scrape(&stack.auth.admin).await?;
    let directory = after_first.requests_of("/api/auth/directory");
    told.check(
        directory > 0.0,
        format!(
            "auth-api served the organization's groups and members to chat-api ({directory} pages so far)"
        ),
    )?;
    let delta = ten_more(stack, alice, after_first).await?;
    told.check(
        delta.is_empty(),
        "ten more messages, and auth-api got no request for them: validation is local",
    )?;
    Ok((sent.text_at("/id")?.to_owned(), seq, content))
}

/// Sends ten messages and returns what reached auth-api meanwhile. A renewal of chat-api's own token may fall into that time by
/// chance, so that a first hit is tried again.
async fn ten_more(stack: &Stack, alice: &Session, mut before: Metrics) -> Result<Vec<String>> {
    let mut growth = Vec::new();
    for _ in 0..2 {
        for number in 1..=10 {
            let content = format!("Message {number} of ten");
            stack.chat.send(&alice.access_token, stack.settings.group_id, &content).await?.expect(201)?;
        }
        let after = metrics::scrape(&stack.auth.admin).await?;
        growth = after.growth_since(&before);
        if growth.is_empty() {
            break;
        }
        before = after;
    }
    Ok(growth)
}

async fn look_into_mongodb<W: Write>(
    stack: &Stack,
    told: &mut Narrator<W>,
    seq: i64,
    content: &str,
) -> Result<()> {
    told.step("The message is in MongoDB")?;
    let timeline = stack.timeline().await?;
    let Some(row) = timeline.message(stack.settings.org_id, stack.settings.group_id, seq).await? else {
        return told.check(false, "the row is in the collection timeline");
    };
    let database = &stack.settings.mongodb_database;
    told.check(
        row.get_str("content") == Ok(content),
        format!(
            "{database}.timeline has it: seq {seq}, change {}",
            row.get_i64("change").unwrap_or_default()
        ),
    )
}

async fn read_as_bob<W: Write>(
    stack: &Stack,
    told: &mut Narrator<W>,
    message_id: &str,
    seq: i64,
    content: &str,
) -> Result<Session> {
    told.step("Bob reads it")?;
    let bob = stack.auth.login(&stack.settings.bob).await?;
    told.check(bob.token()?.has("roles", "member"), "Bob logs in: a member")?;
    let group_id = stack.settings.group_id;
    let message = stack.chat.message(&bob.access_token, group_id, message_id).await?.expect(200)?;
    told.check(message.text_at("/content")? == content, "GET …/messages/{id} gives him the text")?;
    let query = format!("after_seq={}&limit=5", seq - 1);
    let page = stack.chat.history(&bob.access_token, group_id, &query).await?.expect(200)?;
    let numbers: Vec<i64> = page.list_at("/messages")?.iter().filter_map(|one| one["seq"].as_i64()).collect();
    let gapless: Vec<i64> = (seq..seq + 5).collect();
    told.check(numbers == gapless, format!("the history goes on from there without a gap: {numbers:?}"))?;
    Ok(bob)
}

async fn unread<W: Write>(
    stack: &Stack,
    told: &mut Narrator<W>,
    alice: &Session,
    bob: &Session,
) -> Result<()> {
    told.step("Bob's unread count follows what he reads")?;
    let group_id = stack.settings.group_id;
    let last = stack.chat.activity(&bob.access_token, group_id).await?.expect(200)?.number_at("/last_seq")?;
    stack.chat.mark_read(&bob.access_token, group_id, last).await?.expect(200)?;
    for number in 1..=2 {
        let content = format!("News {number} for Bob");
        stack.chat.send(&alice.access_token, group_id, &content).await?.expect(201)?;
    }
    let activity = stack.chat.activity(&bob.access_token, group_id).await?.expect(200)?;
    told.check(activity.number_at("/unread")? == 2, "he read everything, Alice sent two more: 2 unread")?;
    told.check(
        activity.body.pointer("/last_message/content").is_some_and(|text| text == "News 2 for Bob"),
        "last_message is the newest",
    )?;
    stack.chat.mark_read(&bob.access_token, group_id, last + 2).await?.expect(200)?;
    let activity = stack.chat.activity(&bob.access_token, group_id).await?.expect(200)?;
    told.check(activity.number_at("/unread")? == 0, format!("he marks {} as read: 0 unread", last + 2))
}

async fn retry<W: Write>(stack: &Stack, told: &mut Narrator<W>, alice: &Session) -> Result<()> {
    told.step("A repeated send stores one message")?;
    let group_id = stack.settings.group_id;
    let body = json!({ "content": "Only once", "client_message_id": Uuid::now_v7() });
    let first = stack.chat.post_message(Some(&alice.access_token), group_id, &body).await?.expect(201)?;
    let again = stack.chat.post_message(Some(&alice.access_token), group_id, &body).await?.expect(200)?;
    told.check(
        first.text_at("/id")? == again.text_at("/id")?,
        "the same client_message_id again: 200 and the first message",
    )?;
    let other = json!({ "content": "Something else", "client_message_id": body["client_message_id"] });
    stack.chat.post_message(Some(&alice.access_token), group_id, &other).await?.expect(409)?;
    told.check(true, "the same id with another text: 409")
}

async fn refuse<W: Write>(stack: &Stack, told: &mut Narrator<W>, alice: &Session) -> Result<()> {
    told.step("Everybody else is refused, each in the right way")?;
    let (auth, chat, settings) = (&stack.auth, &stack.chat, &stack.settings);
    chat.groups(None).await?.expect_problem(401, "Authentication required")?;
    auth.members(None, settings.group_id).await?.expect_problem(401, "Authentication required")?;
    told.check(true, "no token: 401 \"Authentication required\", from both services")?;
    let limited = auth.service_token(&settings.chat_api_service, Some("revocations:read")).await?;
    auth.members(Some(&limited), settings.group_id).await?.expect_problem(403, "Insufficient scope")?;
    told.check(true, "a service token without groups:read: 403 \"Insufficient scope\"")?;
    let forged = claims::forge(&alice.access_token, "permissions", json!(["org:manage"]))?;
    chat.groups(Some(&forged)).await?.expect_error(401, "invalid_token")?;
    told.check(true, "a token with claims changed by hand: 401 invalid_token")?;
    let carol = auth.login(&settings.carol).await?;
    auth.group(Some(&carol.access_token), settings.group_id).await?.expect_error(404, "not_found")?;
    chat.send(&carol.access_token, settings.group_id, "Let me in").await?.expect_error(404, "not_found")?;
    told.check(true, "Carol of another organization: 404, as if the group did not exist")?;
    let own =
        chat.send(&carol.access_token, settings.carol_group_id, "Hello, my own group").await?.expect(201)?;
    let read = chat.message(&carol.access_token, settings.carol_group_id, own.text_at("/id")?).await?;
    told.check(read.status == 200, "in her own group Carol writes and reads: 201, 200")
}
