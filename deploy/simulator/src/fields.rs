//! Parameters, however they were sent: query, form or JSON.

use serde_json::Value;
use url::form_urlencoded;

/// Names and values in the order in which they came; a name may come twice.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// The pairs of a query string or of a form.
    pub fn from_form(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The members of a JSON object; a list gives one pair for each of its items.
    pub fn from_json(value: &Value) -> Self {
        let mut fields = Vec::new();
        for (name, value) in value.as_object().into_iter().flatten() {
            match value {
                Value::Array(items) => fields.extend(items.iter().map(|item| (name.clone(), text(item)))),
                Value::Null => {}
                other => fields.push((name.clone(), text(other))),
            }
        }
        Self(fields)
    }

    /// A body of the given content type.
    pub fn from_body(content_type: &str, body: &[u8]) -> Self {
        if content_type.starts_with("application/json") {
            Self::from_json(&serde_json::from_slice(body).unwrap_or_default())
        } else {
            Self::from_form(&String::from_utf8_lossy(body))
        }
    }

    /// The first value of this name that is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let values = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let mut values = values;
        values.find(|value| !value.is_empty())
    }

    /// Every value of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the name came at all, be its value empty.
    pub fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// As a query string.
    pub fn to_query(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }
}

impl<N: Into<String>, V: Into<String>, const LENGTH: usize> From<[(N, V); LENGTH]> for Fields {
    fn from(pairs: [(N, V); LENGTH]) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_as_good_as_a_name_that_comes_twice() {
        let form = Fields::from_form("site=a&site=b&none=");
        let json = Fields::from_body(
            "application/json",
            json!({ "site": ["a", "b"], "n": 3 }).to_string().as_bytes(),
        );
        assert_eq!(form.all("site").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(json.all("site").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(json.get("n"), Some("3"));
        assert_eq!(form.get("none"), None);
        assert!(form.has("none"));
    }
}
