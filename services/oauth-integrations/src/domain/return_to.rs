//! Where a person goes on after connecting: a path of this service, or a page of an allowed origin.

use url::Url;

use crate::config::Origins;

/// Longer ones are refused.
const MAX_CHARS: usize = 1024;

/// An address that it is safe to send a browser to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

/// The text is no path of this service and no page of an allowed origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("return_to has to be a path, or an address of an allowed origin")]
pub struct UnsafeReturn;

impl ReturnTo {
    /// Reads what a caller asks for. What browsers and parsers may read in two ways is refused, however harmless it looks.
    pub fn parse(text: &str, own_origin: &str, allowed: &Origins) -> Result<Self, UnsafeReturn> {
        let is_odd =
            |character: char| character.is_control() || character.is_whitespace() || character == '\\';
        if text.is_empty() || text.len() > MAX_CHARS || text.chars().any(is_odd) {
            return Err(UnsafeReturn);
        }
        let (url, path) = if text.starts_with('/') {
            let base = Url::parse(own_origin).map_err(|_| UnsafeReturn)?;
            (base.join(text).map_err(|_| UnsafeReturn)?, text)
        } else {
            let url = Url::parse(text).map_err(|_| UnsafeReturn)?;
            let rest = text.strip_prefix(&url.origin().ascii_serialization()).ok_or(UnsafeReturn)?;
            (url, rest)
        };
        let origin = url.origin().ascii_serialization();
        let is_ours = origin == own_origin || allowed.allow(&origin);
        let begins_well = path.is_empty() || path.starts_with(['/', '?', '#']);
        let lower = path.to_ascii_lowercase();
        let is_disguised =
            ["//", "/%2f", "/%5c", "%2f%2f", "%5c%5c"].iter().any(|start| lower.starts_with(start));
        if is_ours && begins_well && !is_disguised && url.username().is_empty() && url.password().is_none() {
            Ok(Self(text.to_owned()))
        } else {
            Err(UnsafeReturn)
        }
    }

    /// The text of a row, which was parsed before it was written.
    pub fn of_record(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: &str = "https://connect.example.com";

    fn parse(text: &str) -> Result<ReturnTo, UnsafeReturn> {
        ReturnTo::parse(text, OWN, &Origins(vec!["https://app.example.com".to_owned()]))
    }

    #[test]
    fn paths_and_allowed_origins_pass() {
        for text in [
            "/",
            "/oauth/data-sources",
            "/sources?tab=1#top",
            "https://app.example.com",
            "https://app.example.com/sources?x=//y",
            "https://app.example.com?x=1",
            "https://connect.example.com/oauth/data-sources",
        ] {
            assert_eq!(parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn s13_tricks_are_refused() {
        for text in [
            "",
            "sources",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            " /x",
            "javascript:alert(1)",
            "data:text/html,x",
            "https:evil.example",
            "https:/evil.example",
            "https:app.example.com",
            "https://evil.example",
            "https://app.example.com.evil.example",
            "https://app.example.com@evil.example",
            "https://me@app.example.com/",
            "https://app.example.com:444/",
            "http://app.example.com/",
            "HTTPS://app.example.com/",
            "/%2f%2fevil.example",
            "%2f%2fevil.example",
            "/%2Fevil.example",
            "/%5cevil.example",
            "https://app.example.com//evil.example",
            "///evil.example",
        ] {
            assert_eq!(parse(text), Err(UnsafeReturn), "{text:?}");
        }
        assert_eq!(parse(&format!("/{}", "a".repeat(2000))), Err(UnsafeReturn));
    }

    proptest! {
        #[test]
        fn whatever_passes_leads_to_an_origin_of_ours(text in "(https?:)?[/\\\\]{0,3}[a-z.@:%/\\\\2f5c]{0,30}") {
            if parse(&text).is_ok() {
                let origin = Url::parse(OWN).unwrap().join(&text).unwrap().origin().ascii_serialization();
                prop_assert!(origin == OWN || origin == "https://app.example.com", "{text} leads to {origin}");
            }
        }
    }
}
