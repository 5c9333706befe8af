use super::*;

#[test]
fn a_page_is_read_as_people_read_it() {
    let page = readable(
        "<!doctype html><html><head><title>Tea &amp;\n more</title><style>p{}</style><script>if(a<b){}</script></head>
        <body><nav><a href=/>Home</a></nav><h1>Green tea</h1><p>Brewed at <b>80</b> degrees,
        not&nbsp;100.</p><ul><li>cups<li>water</ul><table><tr><td>1<td>2</tr><tr><td>3<td>4</table>
        <pre>  a
  b</pre><footer>Imprint</footer></body></html>",
    );
    assert_eq!(page.title.as_deref(), Some("Tea & more"));
    assert_eq!(
        page.text,
        "# Green tea\n\nBrewed at 80 degrees, not\u{a0}100.\n\n- cups\n- water\n\n1 | 2\n3 | 4\n\n  a\n  b"
    );
}

#[test]
fn what_people_do_not_see_is_not_read() {
    let page = readable(
        "<p>seen</p><div hidden>no</div><div style='Display: None'>no<div>no</div></div><p aria-hidden=true>no</p>\
        <span style=font-size:0>no</span><!-- no --><template>no</template><p>end</p>",
    );
    assert_eq!(page.text, "seen\n\nend");
}

#[test]
fn hostile_markup_costs_no_more_than_its_size() {
    assert_eq!(readable("plain text, 1 < 2").text, "plain text, 1 < 2");
    assert_eq!(readable("").text, "");
    let deep = format!("{}x{}", "<div>".repeat(200_000), "</div>".repeat(1000));
    // Far more than this size costs on a busy machine; a cost that grew faster would cut the text off.
    let limit = Duration::from_secs(60);
    assert_eq!(readable_within(&deep, limit).text, "x");
    assert_eq!(readable_within(&"<".repeat(100_000), limit).text.len(), 100_000);
    assert_eq!(readable("<p>open<script>never closed").text, "open");
    assert_eq!(readable("a&#0;b&#x110000;&unknown;").text, "a\u{fffd}b\u{fffd}&unknown;");
}

#[test]
fn what_takes_too_long_is_cut_off() {
    assert_eq!(readable_within("<title>t</title>text", Duration::ZERO).text, "");
}
