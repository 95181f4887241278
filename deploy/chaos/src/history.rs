//! What a driver was promised, held against what is stored, in the manner of Jepsen: every acknowledged message once, both
//! numbers without a hole, and nothing in another order than it was acknowledged.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// An acknowledgement: 201, or 200 for a repetition.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// Who sent it.
    pub sender: usize,
    /// Its place among the sender's messages, each sent after the one before was acknowledged.
    pub number: usize,
    pub client_message_id: String,
    pub content: String,
    pub message: Value,
}

/// Checks a whole history, oldest first, against everything that was acknowledged.
///
/// # Errors
/// The first promise that was broken.
pub fn check(history: &[Value], acknowledged: &[Acknowledged]) -> Result<()> {
    gapless(history, "seq")?;
    gapless(history, "change")?;
    let by_client_id = index(history)?;
    for one in acknowledged {
        let id = &one.client_message_id;
        let stored = by_client_id
            .get(id.as_str())
            .with_context(|| format!("P1: {id} was acknowledged and is lost"))?;
        for field in ["id", "seq", "change", "content"] {
            let (promised, found) = (&one.message[field], &stored[field]);
            ensure!(
                promised == found,
                "P1: {field} of {id} was acknowledged as {promised} and is stored as {found}"
            );
        }
        ensure!(stored["content"] == one.content.as_str(), "P1: {id} holds another text: {stored}");
    }
    in_order(acknowledged)
}

/// The numbers are 1, 2, 3 … in the order of the history.
fn gapless(history: &[Value], field: &str) -> Result<()> {
    for (message, expected) in history.iter().zip(1_i64..) {
        let found = message[field].as_i64();
        ensure!(
            found == Some(expected),
            "{field} is {found:?} where {expected} comes: a hole or an inversion"
        );
    }
    Ok(())
}

fn index(history: &[Value]) -> Result<HashMap<&str, &Value>> {
    let mut ids = HashSet::new();
    let mut by_client_id = HashMap::new();
    for message in history {
        let text = |field: &str| message[field].as_str().with_context(|| format!("no {field} in {message}"));
        ensure!(ids.insert(text("id")?), "P2: the message {} is there twice", message["id"]);
        let client_id = text("client_message_id")?;
        ensure!(by_client_id.insert(client_id, message).is_none(), "P2: {client_id} was stored twice");
    }
    Ok(by_client_id)
}

/// A sender's later message has the larger number.
fn in_order(acknowledged: &[Acknowledged]) -> Result<()> {
    let mut sorted: Vec<&Acknowledged> = acknowledged.iter().collect();
    sorted.sort_by_key(|one| (one.sender, one.number));
    for pair in sorted.windows(2) {
        let [one, next] = pair else { continue };
        let (earlier, later) = (one.message["seq"].as_i64(), next.message["seq"].as_i64());
        ensure!(
            one.sender != next.sender || earlier < later,
            "sender {}: message {} got {earlier:?}, the later message {} got {later:?}",
            one.sender,
            one.number,
            next.number,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Acknowledged, check};

    fn message(seq: i64, client_id: &str) -> Value {
        json!({ "id": format!("m-{client_id}"), "seq": seq, "change": seq, "client_message_id": client_id, "content": "x" })
    }

    fn acknowledged(number: usize, message: &Value) -> Acknowledged {
        Acknowledged {
            sender: 1,
            number,
            client_message_id: message["client_message_id"].as_str().unwrap().to_owned(),
            content: "x".to_owned(),
            message: message.clone(),
        }
    }

    #[test]
    fn a_whole_history_passes() {
        let history = [message(1, "a"), message(2, "b")];
        check(&history, &[acknowledged(1, &history[0]), acknowledged(2, &history[1])]).unwrap();
    }

    #[test]
    fn each_broken_promise_is_found() {
        let (one, two) = (message(1, "a"), message(2, "b"));
        let broken =
            |history: &[Value], promised: &[Acknowledged]| check(history, promised).unwrap_err().to_string();
        assert!(broken(&[one.clone(), message(3, "b")], &[]).contains("hole"));
        assert!(broken(&[one.clone(), message(2, "a")], &[]).contains("twice"));
        assert!(broken(std::slice::from_ref(&one), &[acknowledged(1, &two)]).contains("lost"));
        let mut other = two.clone();
        other["content"] = json!("y");
        assert!(broken(&[one.clone(), other], &[acknowledged(1, &two)]).contains("stored as"));
        let inverted = [acknowledged(2, &one), acknowledged(1, &two)];
        assert!(broken(&[one, two], &inverted).contains("the later message"));
    }
}
