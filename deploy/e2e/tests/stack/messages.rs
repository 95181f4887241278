//! Sending, repeating, paging, reading.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{alice, bob, own_group, stack};

/// One number of every message.
fn numbers(messages: &[Value], field: &str) -> Vec<i64> {
    messages.iter().filter_map(|message| message[field].as_i64()).collect()
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn fifty_parallel_repetitions_store_one_message() {
    let stack = stack();
    let alice = alice(&stack).await;
    let group_id = own_group(&stack, &alice, "Repetitions").await;
    let body = json!({ "content": "Once", "client_message_id": Uuid::now_v7() });
    let mut sends = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (chat, token, body) = (stack.chat.clone(), alice.access_token.clone(), body.clone());
        sends.spawn(async move { chat.post_message(Some(&token), group_id, &body).await.unwrap() });
    }
    let answers = sends.join_all().await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    let repeated = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((created, repeated), (1, 49));
    assert!(answers.iter().all(|answer| answer.body["id"] == answers[0].body["id"]));
    assert_eq!(stack.chat.whole_history(&alice.access_token, group_id).await.unwrap().len(), 1);

    // Without an id of its own each is another message.
    for _ in 0..2 {
        stack.chat.send(&alice.access_token, group_id, "Once").await.unwrap().expect(201).unwrap();
    }
    let history = stack.chat.whole_history(&alice.access_token, group_id).await.unwrap();
    assert_eq!(numbers(&history, "seq"), [1, 2, 3]);
    assert_eq!(numbers(&history, "change"), [1, 2, 3]);
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_reused_client_message_id_with_another_text_is_a_conflict() {
    let stack = stack();
    let (alice, bob) = (alice(&stack).await, bob(&stack).await);
    let group_id = own_group(&stack, &alice, "Conflicts").await;
    let id = Uuid::now_v7();
    let send = async |token: &str, content: &str| {
        let body = json!({ "content": content, "client_message_id": id });
        stack.chat.post_message(Some(token), group_id, &body).await.unwrap()
    };
    send(&alice.access_token, "First").await.expect(201).unwrap();
    send(&alice.access_token, "Second").await.expect(409).unwrap();
    // The id is the sender's own: Bob may use the same.
    send(&bob.access_token, "Second").await.expect(201).unwrap();
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn pages_meet_without_a_gap_in_either_direction() {
    let stack = stack();
    let alice = alice(&stack).await;
    let group_id = own_group(&stack, &alice, "Pages").await;
    for number in 1..=23 {
        let content = format!("Message {number}");
        stack.chat.send(&alice.access_token, group_id, &content).await.unwrap().expect(201).unwrap();
    }
    let page = async |query: &str| {
        let answer = stack.chat.history(&alice.access_token, group_id, query).await.unwrap();
        let answer = answer.expect(200).unwrap();
        assert_eq!((&answer.body["last_seq"], &answer.body["last_change"]), (&json!(23), &json!(23)));
        (numbers(answer.list_at("/messages").unwrap(), "seq"), answer.body["has_more"] == true)
    };
    let from = |first: i64, last: i64| (first..=last).collect::<Vec<_>>();
    assert_eq!(page("limit=10").await, (from(14, 23), true));
    assert_eq!(page("limit=10&before_seq=14").await, (from(4, 13), true));
    assert_eq!(page("limit=10&before_seq=4").await, (from(1, 3), false));
    assert_eq!(page("limit=10&after_seq=0").await, (from(1, 10), true));
    assert_eq!(page("limit=10&after_seq=20").await, (from(21, 23), false));
    assert_eq!(page("limit=10&after_seq=23").await, (vec![], false));
    assert_eq!(page("").await, (from(1, 23), false));
    let (around, _) = page("limit=5&around_seq=12").await;
    assert!(around.contains(&12) && around.len() == 5, "{around:?}");
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn unread_counts_what_came_after_the_mark_and_marks_never_go_back() {
    let stack = stack();
    let (alice, bob) = (alice(&stack).await, bob(&stack).await);
    let group_id = own_group(&stack, &alice, "Unread").await;
    for number in 1..=5 {
        let content = format!("Message {number}");
        stack.chat.send(&alice.access_token, group_id, &content).await.unwrap().expect(201).unwrap();
    }
    let unread = async || {
        let activity = stack.chat.activity(&bob.access_token, group_id).await.unwrap().expect(200).unwrap();
        (activity.number_at("/last_read_seq").unwrap(), activity.number_at("/unread").unwrap())
    };
    let mark = async |seq: i64| stack.chat.mark_read(&bob.access_token, group_id, seq).await.unwrap();
    assert_eq!(unread().await, (0, 5));
    mark(3).await.expect(200).unwrap();
    assert_eq!(unread().await, (3, 2));
    mark(1).await.expect(200).unwrap();
    assert_eq!(unread().await, (3, 2), "a mark went back");
    mark(5).await.expect(200).unwrap();
    assert_eq!(unread().await, (5, 0));
    let list = stack.chat.peer.get("/api/chat/groups?include=activity").bearer(&bob.access_token);
    let list = list.send().await.unwrap().expect(200).unwrap();
    let item =
        list.list_at("/items").unwrap().iter().find(|group| group["id"] == group_id.to_string()).unwrap();
    assert_eq!((&item["unread"], &item["last_seq"]), (&json!(0), &json!(5)));
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_reply_counts_at_its_root() {
    let stack = stack();
    let alice = alice(&stack).await;
    let group_id = own_group(&stack, &alice, "Threads").await;
    let root = stack.chat.send(&alice.access_token, group_id, "Root").await.unwrap().expect(201).unwrap();
    let root_id = root.text_at("/id").unwrap();
    let body = json!({ "content": "Reply", "thread_root": root_id });
    let reply = stack.chat.post_message(Some(&alice.access_token), group_id, &body).await.unwrap();
    assert_eq!(reply.expect(201).unwrap().body["thread_root"], root_id);
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_service_posts_for_a_member_and_for_nobody_else() {
    let stack = stack();
    let settings = &stack.settings;
    let service = stack.auth.service_token(&settings.mozaiks_runtime_service, None).await.unwrap();
    let post = async |sender: Option<Uuid>, org_id: Uuid| {
        let path = format!("/api/chat/groups/{}/messages?org_id={org_id}", settings.group_id);
        let body = json!({ "content": "The report is ready", "sender_id": sender });
        stack.chat.peer.post(&path).bearer(&service).json(&body).send().await.unwrap()
    };
    let sent = post(settings.bob.user_id, settings.org_id).await.expect(201).unwrap();
    assert_eq!(sent.body["sender_id"], settings.bob.user_id.unwrap().to_string());
    let nobody = post(Some(Uuid::now_v7()), settings.org_id).await;
    assert!(matches!(nobody.status, 400 | 403), "{}: {}", nobody.status, nobody.text);
    let absent = post(None, settings.org_id).await;
    assert!(matches!(absent.status, 400 | 403), "{}: {}", absent.status, absent.text);
    assert_eq!(post(settings.bob.user_id, Uuid::now_v7()).await.status, 404);
}
