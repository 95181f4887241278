//! Answers that explain themselves when they are not what a test expects.

use std::time::{Duration, Instant};

use reqwest::{RequestBuilder, header::HeaderMap};
use serde_json::Value;

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// `null` where the body is no JSON.
    pub body: Value,
    pub took: Duration,
    what: String,
}

/// Sends a request and reads the whole answer.
pub trait Ask {
    /// The answer, whatever its status; a request that is not answered fails the test.
    async fn ask(self) -> Answer;
    /// The answer, or why there is none.
    async fn try_ask(self) -> reqwest::Result<Answer>;
}

impl Ask for RequestBuilder {
    async fn ask(self) -> Answer {
        self.try_ask().await.expect("an answer")
    }

    async fn try_ask(self) -> reqwest::Result<Answer> {
        let (client, request) = self.build_split();
        let request = request?;
        let what = format!("{} {}", request.method(), request.url().path());
        let started = Instant::now();
        let response = client.execute(request).await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, headers, text, body, took: started.elapsed(), what })
    }
}

impl Answer {
    /// The answer, which has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} said {}", self.what, self.text);
        self
    }

    /// The answer, which is a problem (RFC 9457) of this status and code.
    #[track_caller]
    pub fn problem(self, status: u16, error: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.what);
        assert_eq!(answer.body["error"], error, "{} said {}", answer.what, answer.text);
        assert_eq!(answer.body["status"], status, "{}", answer.text);
        for member in ["type", "title", "detail", "request_id"] {
            assert!(answer.body[member].is_string(), "{} has no {member}: {}", answer.what, answer.text);
        }
        let request_id = answer.header("x-request-id");
        assert_eq!(answer.body["request_id"].as_str(), request_id, "the id of body and header");
        answer
    }

    /// The answer, which is an error of RFC 6749, section 5.2, with this status and code.
    #[track_caller]
    pub fn oauth_error(self, status: u16, error: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.body["error"], error, "{} said {}", answer.what, answer.text);
        let media_type = answer.header("content-type").unwrap_or_default();
        assert!(media_type.starts_with("application/json"), "{} is {media_type}", answer.what);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{}", answer.what);
        assert_eq!(answer.header("pragma"), Some("no-cache"), "{}", answer.what);
        if let Some(description) = answer.body.get("error_description") {
            let description = description.as_str().expect("a description is text");
            let is_plain =
                description.bytes().all(|byte| matches!(byte, 0x20..=0x7E) && !b"\"\\".contains(&byte));
            assert!(is_plain, "not in the character set of section 5.2: {description}");
        }
        answer
    }

    /// The text at a JSON pointer.
    #[track_caller]
    pub fn text_at(&self, pointer: &str) -> &str {
        let text = self.body.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("{}: no text at {pointer} in {}", self.what, self.text))
    }

    /// The number at a JSON pointer.
    #[track_caller]
    pub fn number_at(&self, pointer: &str) -> i64 {
        let number = self.body.pointer(pointer).and_then(Value::as_i64);
        number.unwrap_or_else(|| panic!("{}: no number at {pointer} in {}", self.what, self.text))
    }

    /// The list at a JSON pointer.
    #[track_caller]
    pub fn list_at(&self, pointer: &str) -> &[Value] {
        let list = self.body.pointer(pointer).and_then(Value::as_array);
        list.unwrap_or_else(|| panic!("{}: no list at {pointer} in {}", self.what, self.text))
    }

    /// The texts at `pointer` of each item of the list at `list`, sorted.
    #[track_caller]
    pub fn each(&self, list: &str, pointer: &str) -> Vec<String> {
        let items = self.list_at(list).iter();
        let mut texts: Vec<String> = items
            .map(|item| {
                item.pointer(pointer).and_then(Value::as_str).expect("a text in each item").to_owned()
            })
            .collect();
        texts.sort();
        texts
    }

    /// The scopes of a token answer.
    #[track_caller]
    pub fn scopes(&self) -> Vec<&str> {
        self.text_at("/scope").split(' ').filter(|scope| !scope.is_empty()).collect()
    }

    /// A header, where it is readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The cookies that the answer sets, each with its attributes.
    pub fn cookies(&self) -> Vec<&str> {
        self.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok()).collect()
    }
}
