//! What each vendor is sent and sends: pure, without I/O.

use katena_http::Method;
use serde_json::{Value, json};

use super::SearchHit;
use crate::quote;
use crate::tools::page::readable;

/// The most bytes of a hit's text that are kept.
const MAX_TEXT: usize = 8 << 10;

/// Whose protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Brave,
    Tavily,
    Searxng,
    DuckDuckGo,
    Wikipedia,
    SerpApi,
    Exa,
    Perplexity,
}

/// Where the key goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyIn {
    Header(&'static str),
    Bearer,
    Query(&'static str),
}

/// A request without its key.
#[derive(Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
}

fn get(path: &'static str, query: Vec<(&'static str, String)>) -> Call {
    Call { method: Method::Get, path, query, body: None }
}

fn post(path: &'static str, body: Value) -> Call {
    Call { method: Method::Post, path, query: Vec::new(), body: Some(body) }
}

impl Wire {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Brave => "brave",
            Self::Tavily => "tavily",
            Self::Searxng => "searxng",
            Self::DuckDuckGo => "duckduckgo",
            Self::Wikipedia => "wikipedia",
            Self::SerpApi => "serpapi",
            Self::Exa => "exa",
            Self::Perplexity => "perplexity",
        }
    }

    pub(crate) fn key_in(self) -> KeyIn {
        match self {
            Self::Brave => KeyIn::Header("x-subscription-token"),
            Self::Exa => KeyIn::Header("x-api-key"),
            Self::SerpApi => KeyIn::Query("api_key"),
            _ => KeyIn::Bearer,
        }
    }

    /// Sources: each vendor's API reference; limits of a count are theirs.
    pub(crate) fn encode(self, text: &str, most: usize) -> Call {
        let text = text.to_owned();
        let count = |limit: usize| most.clamp(1, limit);
        match self {
            Self::Brave => get("res/v1/web/search", vec![("q", text), ("count", count(20).to_string())]),
            Self::Tavily => post("search", json!({"query": text, "max_results": count(20)})),
            Self::Searxng => get("search", vec![("q", text), ("format", "json".into())]),
            Self::DuckDuckGo => get(
                "",
                vec![
                    ("q", text),
                    ("format", "json".into()),
                    ("no_html", "1".into()),
                    ("skip_disambig", "1".into()),
                    ("no_redirect", "1".into()),
                ],
            ),
            Self::Wikipedia => get(
                "w/api.php",
                vec![
                    ("action", "query".into()),
                    ("list", "search".into()),
                    ("format", "json".into()),
                    ("formatversion", "2".into()),
                    ("srlimit", count(50).to_string()),
                    ("srsearch", text),
                ],
            ),
            Self::SerpApi => get(
                "search.json",
                vec![("engine", "google".into()), ("q", text), ("num", count(100).to_string())],
            ),
            Self::Exa => post(
                "search",
                json!({"query": text, "numResults": count(100), "contents": {"text": {"maxCharacters": 1000}}}),
            ),
            Self::Perplexity => post("search", json!({"query": text, "max_results": count(20)})),
        }
    }

    /// The hits of a reply; `None` if it is none of this vendor's. `base` is the address of the wiki.
    pub(crate) fn decode(self, reply: &Value, base: &str) -> Option<Vec<SearchHit>> {
        let hits = |list: &Value, title: &str, url: &str, text: &str| {
            let hit = |item: &Value| hit(field(item, url), field(item, title), field(item, text));
            Some(list.as_array()?.iter().filter_map(hit).collect())
        };
        match self {
            // Without any web hit the whole part is left out.
            Self::Brave => match &reply["web"]["results"] {
                Value::Null if reply.is_object() => Some(Vec::new()),
                list => hits(list, "title", "url", "description"),
            },
            Self::Tavily | Self::Searxng => hits(&reply["results"], "title", "url", "content"),
            Self::Perplexity => hits(&reply["results"], "title", "url", "snippet"),
            Self::Exa => hits(&reply["results"], "title", "url", "text"),
            Self::SerpApi => match &reply["organic_results"] {
                Value::Null if reply.get("search_metadata").is_some() => Some(Vec::new()),
                list => hits(list, "title", "link", "snippet"),
            },
            Self::Wikipedia => {
                let list = reply["query"]["search"].as_array()?;
                let page = |item: &Value| {
                    let id = item["pageid"].as_u64()?;
                    let url = format!("{}/?curid={id}", base.trim_end_matches('/'));
                    hit(&url, field(item, "title"), field(item, "snippet"))
                };
                Some(list.iter().filter_map(page).collect())
            }
            Self::DuckDuckGo => duckduckgo(reply),
        }
    }
}

fn field<'v>(item: &'v Value, name: &str) -> &'v str {
    item[name].as_str().unwrap_or_default()
}

/// A hit without markup; `None` for one without an address.
fn hit(url: &str, title: &str, text: &str) -> Option<SearchHit> {
    let plain = url.starts_with("https://") || url.starts_with("http://");
    let words = |html: &str| {
        let text = readable(quote::cut(html, MAX_TEXT)).text;
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    (plain && url.len() <= 2000 && !url.contains(char::is_whitespace))
        .then(|| SearchHit::new(url, words(title), words(text)))
}

/// The instant answer, then related topics, some of which are grouped.
fn duckduckgo(reply: &Value) -> Option<Vec<SearchHit>> {
    reply.get("AbstractURL")?;
    let mut hits: Vec<SearchHit> =
        hit(field(reply, "AbstractURL"), field(reply, "Heading"), field(reply, "AbstractText"))
            .into_iter()
            .collect();
    let mut topic = |item: &Value| {
        let text = field(item, "Text");
        let title = text.split(" - ").next().unwrap_or_default();
        hits.extend(hit(field(item, "FirstURL"), title, text));
    };
    for list in ["Results", "RelatedTopics"] {
        for item in reply[list].as_array().into_iter().flatten() {
            match item["Topics"].as_array() {
                Some(group) => group.iter().for_each(&mut topic),
                None => topic(item),
            }
        }
    }
    Some(hits)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
