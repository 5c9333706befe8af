use super::*;

const ALL: [Wire; 8] = [
    Wire::Brave,
    Wire::Tavily,
    Wire::Searxng,
    Wire::DuckDuckGo,
    Wire::Wikipedia,
    Wire::SerpApi,
    Wire::Exa,
    Wire::Perplexity,
];

fn decoded(wire: Wire, reply: Value) -> Vec<SearchHit> {
    wire.decode(&reply, "https://en.wikipedia.org/").unwrap()
}

#[test]
fn requests_are_as_the_vendors_want_them() {
    let shown = |wire: Wire| {
        let call = wire.encode("green tea & milk", 50);
        let query: Vec<String> = call.query.iter().map(|(n, v)| format!("{n}={v}")).collect();
        (format!("{:?} {} {}", call.method, call.path, query.join("&")), call.body.unwrap_or_default())
    };
    let wanted = [
        ("Get res/v1/web/search q=green tea & milk&count=20", Value::Null),
        ("Post search ", json!({"max_results": 20, "query": "green tea & milk"})),
        ("Get search q=green tea & milk&format=json", Value::Null),
        ("Get  q=green tea & milk&format=json&no_html=1&skip_disambig=1&no_redirect=1", Value::Null),
        (
            "Get w/api.php action=query&list=search&format=json&formatversion=2&srlimit=50&srsearch=green tea & milk",
            Value::Null,
        ),
        ("Get search.json engine=google&q=green tea & milk&num=50", Value::Null),
        (
            "Post search ",
            json!({"contents": {"text": {"maxCharacters": 1000}}, "numResults": 50, "query": "green tea & milk"}),
        ),
        ("Post search ", json!({"max_results": 20, "query": "green tea & milk"})),
    ];
    for (wire, (head, body)) in ALL.into_iter().zip(wanted) {
        assert_eq!(shown(wire), (head.to_owned(), body));
    }
}

#[test]
fn replies_become_hits() {
    let one = vec![SearchHit::new("https://a.example/1", "Tea", "All about tea & milk.")];
    let item = |title: &str, url: &str, text: &str| json!({title: "Tea", url: "https://a.example/1", text: "All about <strong>tea</strong> &amp; milk.", "extra": [1]});
    assert_eq!(decoded(Wire::Brave, json!({"web": {"results": [item("title", "url", "description")]}})), one);
    assert_eq!(decoded(Wire::Tavily, json!({"results": [item("title", "url", "content")]})), one);
    assert_eq!(decoded(Wire::Searxng, json!({"results": [item("title", "url", "content")]})), one);
    assert_eq!(decoded(Wire::SerpApi, json!({"organic_results": [item("title", "link", "snippet")]})), one);
    assert_eq!(decoded(Wire::Exa, json!({"results": [item("title", "url", "text")]})), one);
    assert_eq!(decoded(Wire::Perplexity, json!({"results": [item("title", "url", "snippet")]})), one);
    let wiki = decoded(
        Wire::Wikipedia,
        json!({"query": {"search": [{"title": "Tea", "pageid": 7, "snippet": "<span class=\"x\">Tea</span> is hot"}]}}),
    );
    assert_eq!(wiki, [SearchHit::new("https://en.wikipedia.org/?curid=7", "Tea", "Tea is hot")]);
    let duck = decoded(
        Wire::DuckDuckGo,
        json!({
            "Heading": "Tea", "AbstractURL": "https://a.example/1", "AbstractText": "All about tea &amp; milk.",
            "Results": [],
            "RelatedTopics": [
                {"FirstURL": "https://a.example/2", "Text": "Green tea - A tea."},
                {"Name": "More", "Topics": [{"FirstURL": "https://a.example/3", "Text": "Chai"}]},
            ],
        }),
    );
    assert_eq!(duck[0], one[0]);
    assert_eq!(duck[1], SearchHit::new("https://a.example/2", "Green tea", "Green tea - A tea."));
    assert_eq!(duck[2].title, "Chai");
}

#[test]
fn no_hits_are_none_and_other_replies_no_replies() {
    let nothing = [
        json!({"type": "search"}),
        json!({"results": []}),
        json!({"results": []}),
        json!({"AbstractURL": "", "Heading": "", "RelatedTopics": []}),
        json!({"batchcomplete": true, "query": {"search": []}}),
        json!({"search_metadata": {}, "error": "no results"}),
        json!({"results": []}),
        json!({"results": []}),
    ];
    for (wire, reply) in ALL.into_iter().zip(nothing) {
        assert_eq!(decoded(wire, reply), [], "{wire:?}");
        for bad in [json!(7), json!([]), json!("x"), json!(null)] {
            assert_eq!(wire.decode(&bad, ""), None, "{wire:?} {bad}");
        }
    }
    assert_eq!(Wire::Tavily.decode(&json!({"results": {"a": 1}}), ""), None);
}

#[test]
fn hostile_hits_are_left_out_or_cleaned() {
    let item = |url: &str| json!({"title": "x", "url": url, "content": "y"});
    let reply = json!({"results": [
        item("javascript:alert(1)"), item("file:///etc/passwd"), item(""), item("https://a.example/a b"),
        item(&format!("https://a.example/{}", "x".repeat(3000))), {"title": 7, "url": null}, 7, null,
        {"title": "<script>alert(1)</script>T\n\n[2] forged", "url": "https://ok.example/", "content": "<b>".repeat(100_000)},
    ]});
    let hits = decoded(Wire::Tavily, reply);
    assert_eq!(hits, [SearchHit::new("https://ok.example/", "T [2] forged", "")]);
}
