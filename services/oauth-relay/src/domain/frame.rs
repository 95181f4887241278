//! The frames between coordinator and waiting clients: one JSON object per line (`proto/relay-frames.md`).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The longest line, in bytes, its end not counted.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// What a client sends.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
pub enum ClientFrame {
    /// The first frame: waits for the callback with this state.
    Register(Register),
    /// The delivery has arrived; from `extended` clients.
    Ack,
    /// Waits no more.
    Unregister,
}

/// The members of REGISTER. The original's coordinator knows `state` alone, and refuses a frame with any other.
#[derive(Default, Serialize, Deserialize)]
pub struct Register {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Seconds until the coordinator gives up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Asks for REGISTERED, for `raw` in every DELIVER, and promises ACK.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub extended: bool,
    /// `OAUTH_TCP_SECRET`, over TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// What the coordinator sends.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
pub enum ServerFrame {
    /// The slot is held from now on; to `extended` clients.
    Registered {
        #[serde(skip_serializing_if = "Option::is_none")]
        state: Option<String>,
    },
    /// The callback. The connection ends with it.
    Deliver {
        #[serde(skip_serializing_if = "Option::is_none")]
        state: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        raw: Option<Map<String, Value>>,
    },
    /// No callback will come. The connection ends with it.
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        state: Option<String>,
        error: Dismissal,
    },
}

/// Why a waiter waits in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dismissal {
    /// Another waiter holds the state.
    Replaced,
    /// The time is over.
    Timeout,
    /// There are too many waiters.
    Capacity,
    /// The coordinator stops.
    Shutdown,
}

/// How long a `timeout` is; none where it is not above zero, or more than a clock can hold.
#[must_use]
pub fn seconds(timeout: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(timeout).ok().filter(|timeout| !timeout.is_zero())
}

/// A frame as the line that is sent.
#[must_use]
pub fn line(frame: &impl Serialize) -> Vec<u8> {
    // Strings, numbers and maps of them always have a JSON form.
    let mut line = serde_json::to_vec(frame).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn text(frame: &impl Serialize) -> String {
        String::from_utf8(line(frame)).unwrap()
    }

    #[test]
    fn what_the_original_client_sends_is_understood() {
        let Ok(ClientFrame::Register(register)) =
            serde_json::from_str(r#"{"type": "REGISTER", "state": "zustand-\u00fc"}"#)
        else {
            panic!("it is a REGISTER");
        };
        assert_eq!(register.state.as_deref(), Some("zustand-ü"));
        assert_eq!((register.timeout, register.extended), (None, false));
        assert!(serde_json::from_str::<ClientFrame>(r#"{"type":"UNREGISTER","state":"a"}"#).is_ok());
    }

    #[test]
    fn a_plain_register_has_no_member_that_the_original_refuses() {
        let register = |state| ClientFrame::Register(Register { state, ..Register::default() });
        assert_eq!(text(&register(None)), "{\"type\":\"REGISTER\"}\n");
        assert_eq!(text(&register(Some("a".to_owned()))), "{\"type\":\"REGISTER\",\"state\":\"a\"}\n");
    }

    #[test]
    fn a_timeout_is_a_number_above_zero_that_a_clock_can_hold() {
        assert_eq!(seconds(0.5), Some(Duration::from_millis(500)));
        for nonsense in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(seconds(nonsense), None);
        }
    }

    #[test]
    fn what_is_absent_is_left_out() {
        let delivery = ServerFrame::Deliver { state: None, code: Some("c".to_owned()), raw: None };
        assert_eq!(text(&delivery), "{\"type\":\"DELIVER\",\"code\":\"c\"}\n");
        let error = ServerFrame::Error { state: None, error: Dismissal::Replaced };
        assert_eq!(text(&error), "{\"type\":\"ERROR\",\"error\":\"replaced\"}\n");
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for text in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"type":"DELIVER"}"#,
            r#"{"type":"register"}"#,
            r#"{"type":"REGISTER","state":1}"#,
            r#"{"type":"REGISTER","timeout":"10"}"#,
            r#"{"type":"REGISTER","state":"a","state":"b"}"#,
        ] {
            assert!(serde_json::from_str::<ClientFrame>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_frame_is_one_line_and_comes_back_the_same(
            state in proptest::option::of(".*"),
            code in proptest::option::of(".*"),
            raw in proptest::option::of(proptest::collection::btree_map(".*", ".*", 0..4)),
        ) {
            let raw = raw.map(|raw| raw.into_iter().map(|(key, value)| (key, json!(value))).collect());
            let frame = ServerFrame::Deliver { state, code, raw };
            let line = line(&frame);
            prop_assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
            prop_assert_eq!(serde_json::from_slice::<ServerFrame>(&line).unwrap(), frame);
        }

        #[test]
        fn no_line_makes_the_parser_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = serde_json::from_slice::<ClientFrame>(&line);
        }
    }
}
