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
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
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
        for member in ["type", "title", "detail", "request_id"] {
            assert!(answer.body[member].is_string(), "{} has no {member}: {}", answer.what, answer.text);
        }
        answer
    }

    /// The page, which has this heading.
    #[track_caller]
    pub fn page(self, status: u16, heading: &str) -> Self {
        let answer = self.expect(status);
        assert!(
            answer.header("content-type").is_some_and(|it| it.starts_with("text/html")),
            "{}",
            answer.what
        );
        assert_eq!(answer.heading(), heading, "{}", answer.text);
        answer
    }

    /// The text of the page's first heading.
    #[track_caller]
    pub fn heading(&self) -> String {
        between(&self.text, "<h1", "</h1>")
            .split_once('>')
            .map(|(_, text)| text.to_owned())
            .unwrap_or_default()
    }

    /// The value of the form field of this name.
    #[track_caller]
    pub fn field(&self, name: &str) -> String {
        let tag = self.text.split("<input").find(|tag| tag.contains(&format!("name=\"{name}\"")));
        let tag = tag.unwrap_or_else(|| panic!("{} has no field {name}: {}", self.what, self.text));
        between(tag, "value=\"", "\"").to_owned()
    }

    /// The text at a JSON pointer.
    #[track_caller]
    pub fn text_at(&self, pointer: &str) -> &str {
        let text = self.body.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("{}: no text at {pointer} in {}", self.what, self.text))
    }

    /// The items of a list.
    #[track_caller]
    pub fn items(&self) -> &[Value] {
        let items = self.body["items"].as_array();
        items.unwrap_or_else(|| panic!("{}: no items in {}", self.what, self.text))
    }

    /// A header, where it is readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Where the browser is sent.
    #[track_caller]
    pub fn location(&self) -> &str {
        assert!(matches!(self.status, 302 | 303), "{} said {} {}", self.what, self.status, self.text);
        self.header("location").expect("a location")
    }

    /// The cookies that the answer sets, each with its attributes.
    pub fn cookies(&self) -> Vec<&str> {
        self.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok()).collect()
    }
}

#[track_caller]
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start} in {text}"));
    rest.split_once(end).map_or(rest, |(inside, _)| inside)
}
