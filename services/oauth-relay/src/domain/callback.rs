//! What a provider sends the browser back with: a code, or the reason why there is none.

use std::{borrow::Cow, fmt};

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::state::StateKey;

/// A callback, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Callback {
    pub state: Option<String>,
    /// None where there is none, and where an error came with it.
    pub code: Option<String>,
    /// With a code or an error, the parameters without the code; else all of them.
    pub raw: Map<String, Value>,
    /// Whether it holds an `error`.
    pub is_denied: bool,
}

/// The names under which a code comes, the first one that has a value wins (`OAUTH_CODE_KEYS`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeKeys(Vec<String>);

/// Why a request is no callback. Says nothing of what was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    #[error("it can be read neither as JSON nor as a form")]
    Unreadable,
    #[error("it holds no parameters")]
    Empty,
    #[error("a parameter that may come once came twice")]
    Repeated,
    #[error("the state is no text")]
    State,
}

impl Default for CodeKeys {
    fn default() -> Self {
        Self(vec!["code".to_owned(), "authorization_code".to_owned()])
    }
}

impl CodeKeys {
    /// Reads a list separated by commas, or a JSON list, also one that lost its quotes in an `.env` file.
    ///
    /// # Errors
    /// When it is neither, or names nothing.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let split = |text: &str| text.split(',').map(str::to_owned).collect();
        let keys: Vec<String> = match text.trim().strip_prefix('[') {
            None => split(text),
            Some(list) => match (serde_json::from_str(text), list.strip_suffix(']')) {
                (Ok(keys), _) => keys,
                (Err(error), Some(bare)) if error.is_syntax() && !bare.contains('"') => split(bare),
                (Err(_), _) => return Err("it is no JSON list of texts"),
            },
        };
        let keys: Vec<String> =
            keys.iter().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()).collect();
        if keys.is_empty() { Err("it names no key") } else { Ok(Self(keys)) }
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|key| key.eq_ignore_ascii_case(name))
    }
}

impl Callback {
    /// Reads the query of a URL.
    ///
    /// # Errors
    /// [`CallbackError`]
    pub fn from_query(query: &str, keys: &CodeKeys) -> Result<Self, CallbackError> {
        Self::from_parameters(form(query.as_bytes())?, keys)
    }

    /// Reads a body by its content type; one of unknown type as JSON, and where it is none, as a form.
    ///
    /// # Errors
    /// [`CallbackError`]
    pub fn from_body(content_type: &str, body: &[u8], keys: &CodeKeys) -> Result<Self, CallbackError> {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let parameters = if essence == "application/json" || essence.ends_with("+json") {
            json(body)?
        } else if essence == "application/x-www-form-urlencoded" {
            form(body)?
        } else {
            match json(body) {
                Err(CallbackError::Unreadable) if body.contains(&b'=') => form(body)?,
                outcome => outcome?,
            }
        };
        Self::from_parameters(parameters, keys)
    }

    /// The key of its state.
    #[must_use]
    pub fn key(&self) -> StateKey {
        StateKey::of(self.state.as_deref())
    }

    /// The parameters for a waiter: for one that did not ask for more, only where there is no code.
    #[must_use]
    pub fn raw_for(&self, is_extended: bool) -> Option<&Map<String, Value>> {
        (is_extended || self.code.is_none()).then_some(&self.raw)
    }

    fn from_parameters(parameters: Vec<(String, Value)>, keys: &CodeKeys) -> Result<Self, CallbackError> {
        if parameters.is_empty() {
            return Err(CallbackError::Empty);
        }
        let state = match only(&parameters, |name| name == "state")? {
            None | Some(Value::Null) => None,
            Some(Value::String(state)) => Some(state.clone()).filter(|state| !state.is_empty()),
            Some(_) => return Err(CallbackError::State),
        };
        let mut code = None;
        for key in &keys.0 {
            let value = only(&parameters, |name| name.eq_ignore_ascii_case(key))?;
            code = code.or_else(|| value.and_then(code_text));
        }
        let is_denied = parameters.iter().any(|(name, value)| name == "error" && is_said(value));
        let is_code_kept = code.is_none() && !is_denied;
        let mut raw = Map::new();
        for (name, value) in parameters {
            if is_code_kept || !keys.has(&name) {
                insert(&mut raw, name, value);
            }
        }
        Ok(Self { state, code: code.filter(|_| !is_denied), raw, is_denied })
    }
}

/// Whether a query is text all through.
#[must_use]
pub fn is_readable(query: &str) -> bool {
    form(query.as_bytes()).is_ok()
}

/// The value of the one parameter with such a name; repeating it is not allowed (RFC 6749, section 3.1).
fn only(
    parameters: &[(String, Value)],
    is_meant: impl Fn(&str) -> bool,
) -> Result<Option<&Value>, CallbackError> {
    let mut values = parameters.iter().filter(|(name, _)| is_meant(name)).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(CallbackError::Repeated),
        (value, None) => Ok(value),
    }
}

fn code_text(value: &Value) -> Option<String> {
    match value {
        Value::String(code) if !code.is_empty() => Some(code.clone()),
        Value::Number(code) => Some(code.to_string()),
        Value::Array(values) => values.first().filter(|first| !first.is_array()).and_then(code_text),
        _ => None,
    }
}

fn is_said(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && value.as_str() != Some("")
}

/// Keeps all values of a repeated parameter, as a list.
fn insert(raw: &mut Map<String, Value>, name: String, value: Value) {
    match raw.get_mut(&name) {
        None => _ = raw.insert(name, value),
        Some(Value::Array(values)) => values.push(value),
        Some(first) => *first = Value::Array(vec![first.take(), value]),
    }
}

fn form(text: &[u8]) -> Result<Vec<(String, Value)>, CallbackError> {
    text.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let mut half = || decode(halves.next().unwrap_or_default());
            Ok((half()?, Value::String(half()?)))
        })
        .collect()
}

/// Decodes strictly: what is no UTF-8 is refused, not replaced.
fn decode(text: &[u8]) -> Result<String, CallbackError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                if let (Some(high), Some(low)) = (digit(high), digit(low)) {
                    bytes.push(high * 16 + low);
                    rest = after;
                } else {
                    bytes.push(b'%');
                }
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| CallbackError::Unreadable)?;
    if text.contains('\0') { Err(CallbackError::Unreadable) } else { Ok(text) }
}

fn json(body: &[u8]) -> Result<Vec<(String, Value)>, CallbackError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let members = reader.deserialize_map(Members).and_then(|members| reader.end().map(|()| members));
    let members = members.map_err(|_| CallbackError::Unreadable)?;
    let has_nul = members.iter().any(|(name, value)| name.contains('\0') || contains_nul(value));
    if has_nul { Err(CallbackError::Unreadable) } else { Ok(members) }
}

fn contains_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(contains_nul),
        Value::Object(members) => {
            members.iter().any(|(name, value)| name.contains('\0') || contains_nul(value))
        }
        _ => false,
    }
}

/// The members of a JSON object, repeated ones too, which a map would lose.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            members.push((name.into_owned(), map.next_value()?));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests;
