//! A person's browser as far as a story needs one: cookies, redirects, and forms that are sent without scripts.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use reqwest::{
    Client, RequestBuilder, Url,
    header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE},
};

use crate::http;

/// More than any way from page to page takes.
const MAX_REDIRECTS: usize = 10;

/// One browser with its cookies and the page that it shows.
pub struct Browser {
    client: Client,
    /// By host; ports share them, as RFC 6265 (section 8.5) has it.
    cookies: BTreeMap<(String, String), String>,
    page: Option<Page>,
}

/// What is on the screen.
pub struct Page {
    pub url: Url,
    pub status: u16,
    pub html: String,
}

impl Browser {
    /// A browser that has been nowhere.
    pub fn new() -> Result<Self> {
        Ok(Self { client: http::client()?, cookies: BTreeMap::new(), page: None })
    }

    /// Goes to an address and on to wherever that leads.
    pub async fn open(&mut self, address: &str) -> Result<&Page> {
        let url = Url::parse(address).with_context(|| format!("{address} is no URL"))?;
        let request = self.client.get(url.clone());
        self.follow(url, request).await
    }

    /// Sends the first form of the page: its hidden fields, and these.
    pub async fn submit(&mut self, fields: &[(&str, &str)]) -> Result<&Page> {
        let page = self.page.as_ref().context("no page is open")?;
        let form = Form::first(&page.html).context("the page has no form")?;
        let action =
            form.action.as_deref().map_or_else(|| Ok(page.url.clone()), |path| page.url.join(path))?;
        let mut all = form.hidden;
        all.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let origin = page.url.origin().ascii_serialization();
        let request = self.client.post(action.clone()).header(ORIGIN, origin).form(&all);
        self.follow(action, request).await
    }

    async fn follow(&mut self, mut url: Url, mut request: RequestBuilder) -> Result<&Page> {
        for _ in 0..MAX_REDIRECTS {
            let response = request.header(COOKIE, self.cookies_for(&url)).send().await?;
            for cookie in response.headers().get_all(SET_COOKIE) {
                self.keep(&url, cookie.to_str()?);
            }
            let status = response.status();
            let Some(location) = response.headers().get(LOCATION).filter(|_| status.is_redirection()) else {
                let html = response.text().await?;
                return Ok(self.page.insert(Page { url, status: status.as_u16(), html }));
            };
            url = url.join(location.to_str()?)?;
            request = self.client.get(url.clone());
        }
        bail!("more than {MAX_REDIRECTS} redirects, the last one to {}", url.path())
    }

    fn cookies_for(&self, url: &Url) -> String {
        let host = url.host_str().unwrap_or_default();
        let own = self.cookies.iter().filter(|((of, _), _)| of == host);
        own.map(|((_, name), value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    fn keep(&mut self, url: &Url, cookie: &str) {
        let Some((name, value)) = cookie.split(';').next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let key = (url.host_str().unwrap_or_default().to_owned(), name.trim().to_owned());
        if cookie.to_ascii_lowercase().contains("max-age=0") {
            self.cookies.remove(&key);
        } else {
            self.cookies.insert(key, value.to_owned());
        }
    }
}

impl Page {
    /// The text of the main heading.
    pub fn heading(&self) -> &str {
        let text = self.html.split_once("<h1").and_then(|(_, rest)| rest.split_once('>'));
        text.and_then(|(_, rest)| rest.split_once("</h1>")).map_or("", |(heading, _)| heading.trim())
    }
}

struct Form {
    action: Option<String>,
    hidden: Vec<(String, String)>,
}

impl Form {
    fn first(html: &str) -> Option<Self> {
        let (tag, rest) = html.split_once("<form")?.1.split_once('>')?;
        let (content, _) = rest.split_once("</form>")?;
        let inputs = content.split("<input").skip(1).filter_map(|input| input.split('>').next());
        let hidden = inputs
            .filter(|input| attribute(input, "type").is_some_and(|kind| kind == "hidden"))
            .filter_map(|input| {
                Some((attribute(input, "name")?, attribute(input, "value").unwrap_or_default()))
            })
            .collect();
        Some(Self { action: attribute(tag, "action"), hidden })
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(value.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<h1 class="x">Install <b>it</b></h1>
        <form method="post" action="/go?a=1&amp;b=2"><input type="hidden" name="check" value="&quot;1&quot;&amp;">
        <input type="checkbox" name="other" value="2"><button name="decision" value="yes">Yes</button></form>
        <form action="/second"></form>"#;

    #[test]
    fn the_first_form_is_read_with_its_hidden_fields() {
        let form = Form::first(PAGE).unwrap();
        assert_eq!(form.action.as_deref(), Some("/go?a=1&b=2"));
        assert_eq!(form.hidden, [("check".to_owned(), "\"1\"&".to_owned())]);
    }

    #[test]
    fn the_heading_is_read() {
        let url = Url::parse("http://localhost/").unwrap();
        let page = Page { url, status: 200, html: PAGE.to_owned() };
        assert_eq!(page.heading(), "Install <b>it</b>");
    }

    #[test]
    fn cookies_belong_to_a_host_and_can_be_deleted() {
        let mut browser = Browser::new().unwrap();
        let (here, there) =
            (Url::parse("http://localhost:1/").unwrap(), Url::parse("http://other/").unwrap());
        browser.keep(&here, "one=1; HttpOnly; SameSite=Lax");
        browser.keep(&here, "two=2");
        browser.keep(&there, "three=3");
        assert_eq!(browser.cookies_for(&here), "one=1; two=2");
        browser.keep(&here, "one=; Max-Age=0");
        assert_eq!(browser.cookies_for(&here), "two=2");
    }
}
