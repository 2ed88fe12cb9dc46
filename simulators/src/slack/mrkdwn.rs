//! Slack's `mrkdwn` as HTML. Whatever comes in, what goes out is escaped, and links lead to http and https only.
use super::payload::http_url;

/// Slack cuts texts that are longer, in characters.
const MAX_TEXT: usize = 40_000;

/// The longest address that is recognised without `<…>` round it, in characters.
const MAX_BARE_LINK: usize = 2048;

/// Marks, their tags, and a bit for each to tell which are open.
const MARKS: [(char, &str, u8); 3] = [('*', "b", 1), ('_', "i", 2), ('~', "s", 4)];

/// The bit for code, which has no marks in it.
const CODE: u8 = 8;

/// Text with links, and with bold, italics, code and the like if `formatted`.
pub(super) fn html(text: &str, formatted: bool) -> String {
    let mut rest = cut(text);
    let mut out = String::with_capacity(rest.len() + rest.len() / 4);
    if formatted {
        while let Some((before, code, after)) = code_block(rest) {
            lines(&mut out, before.strip_suffix('\n').unwrap_or(before), formatted);
            out.push_str("<pre>");
            literal(&mut out, code.trim_matches('\n'));
            out.push_str("</pre>");
            rest = after.strip_prefix('\n').unwrap_or(after);
        }
    }
    lines(&mut out, rest, formatted);
    out
}

/// Text in which only Slack's three entities have a meaning.
pub(super) fn plain(text: &str) -> String {
    let text = cut(text);
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    literal(&mut out, text);
    out
}

/// Text in which nothing has a meaning.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    text.chars().for_each(|c| push_escaped(&mut out, c));
    out
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(MAX_TEXT).map_or(text, |(end, _)| &text[..end])
}

/// What stands before, in and after the first block of code.
fn code_block(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("```")?;
    let (code, after) = rest.split_once("```")?;
    (!code.is_empty()).then_some((before, code, after))
}

fn lines(out: &mut String, text: &str, formatted: bool) {
    let mut quoted = false;
    for (index, line) in text.split('\n').enumerate() {
        let quote = line.strip_prefix("&gt;").or_else(|| line.strip_prefix('>')).filter(|_| formatted);
        match (quoted, quote.is_some()) {
            (false, true) => out.push_str("<blockquote>"),
            (true, false) => out.push_str("</blockquote>"),
            _ if index > 0 => out.push_str("<br>"),
            _ => {}
        }
        quoted = quote.is_some();
        inline(out, quote.map_or(line, str::trim_start), formatted, 0);
    }
    if quoted {
        out.push_str("</blockquote>");
    }
}

/// A line, or a part of one in which the marks `open` stand open already.
fn inline(out: &mut String, text: &str, formatted: bool, open: u8) {
    // Marks that are not tried: open ones, and those known to have no end in the rest of this text, which keeps the
    // time linear.
    let mut skipped = open;
    let mut before = None;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let starts_word = !before.is_some_and(char::is_alphanumeric);
        let used = match c {
            '<' => angle(out, rest),
            '`' if formatted && skipped & CODE == 0 => match rest[1..].split_once('`') {
                Some((code, _)) if !code.is_empty() => {
                    out.push_str("<code>");
                    literal(out, code);
                    out.push_str("</code>");
                    Some(code.len() + 2)
                }
                Some(_) => None,
                None => {
                    skipped |= CODE;
                    None
                }
            },
            'h' if starts_word => bare_link(out, rest),
            _ => match MARKS.iter().find(|(mark, _, bit)| *mark == c && formatted && skipped & bit == 0) {
                Some((mark, tag, bit)) if starts_word => match marked(rest, *mark) {
                    Ok(Some(inner)) => {
                        out.extend(["<", tag, ">"]);
                        inline(out, inner, formatted, open | bit);
                        out.extend(["</", tag, ">"]);
                        Some(inner.len() + 2)
                    }
                    Ok(None) => None,
                    Err(Endless) => {
                        skipped |= bit;
                        None
                    }
                },
                _ => None,
            },
        };
        let used = used.unwrap_or_else(|| literal_at(out, rest, c));
        at += used;
        before = text[..at].chars().next_back();
    }
}

/// There is no end mark in the rest of the text.
struct Endless;

/// What stands between a mark at the start of `text` and the one that ends it.
fn marked(text: &str, mark: char) -> Result<Option<&str>, Endless> {
    let inner = &text[mark.len_utf8()..];
    if inner.starts_with(|c: char| c.is_whitespace() || c == mark) {
        return Ok(None);
    }
    for (end, _) in inner.match_indices(mark) {
        let ends_word = inner[..end].chars().next_back().is_some_and(|c| !c.is_whitespace());
        let continues = inner[end + mark.len_utf8()..].starts_with(char::is_alphanumeric);
        if ends_word && !continues {
            return Ok(Some(&inner[..end]));
        }
    }
    Err(Endless)
}

/// `<url|label>`, `<@user>`, `<#channel|name>`, `<!here>`: how many bytes it took, if it is one of these.
fn angle(out: &mut String, text: &str) -> Option<usize> {
    let end = text[1..].find(['<', '>']).map(|end| end + 1).filter(|end| text[*end..].starts_with('>'))?;
    let content = &text[1..end];
    let (target, label) =
        content.split_once('|').map_or((content, None), |(target, label)| (target, Some(label)));
    if let Some(kind) = target.chars().next().filter(|c| matches!(c, '@' | '#' | '!')) {
        let name = label.unwrap_or(&target[1..]);
        let sign = match kind {
            '!' if label.is_some() => "",
            '!' => "@",
            _ if name.starts_with(kind) => "",
            '@' => "@",
            _ => "#",
        };
        out.push_str("<span class=\"mention\">");
        out.push_str(sign);
        literal(out, name);
        out.push_str("</span>");
        return Some(end + 1);
    }
    link(out, target, label.filter(|label| !label.is_empty()).unwrap_or(target))?;
    Some(end + 1)
}

/// An address that stands in the text by itself.
fn bare_link(out: &mut String, text: &str) -> Option<usize> {
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return None;
    }
    let ends = |c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"' | '|' | '`');
    let length: usize = text.chars().take(MAX_BARE_LINK).take_while(|c| !ends(*c)).map(char::len_utf8).sum();
    let url = text[..length].trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '\'', '*', '_', '~']);
    link(out, url, url)?;
    Some(url.len())
}

fn link(out: &mut String, target: &str, label: &str) -> Option<()> {
    let decoded = target.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let url = http_url(&decoded)?;
    out.extend(["<a href=\"", &escape(url.as_str()), "\" target=\"_blank\" rel=\"noopener noreferrer\">"]);
    literal(out, label);
    out.push_str("</a>");
    Some(())
}

fn literal(out: &mut String, text: &str) {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        at += literal_at(out, &text[at..], c);
    }
}

/// The character `c` at the start of `text`, or the entity; how many bytes it took.
fn literal_at(out: &mut String, text: &str, c: char) -> usize {
    if let Some(entity) = ["&amp;", "&lt;", "&gt;"].into_iter().find(|entity| text.starts_with(entity)) {
        // HTML writes it just so.
        out.push_str(entity);
        return entity.len();
    }
    push_escaped(out, c);
    c.len_utf8()
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        c => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Panics at a tag that the renderer does not make, at one that is not closed in order, and at a link to elsewhere.
    fn check_html(html: &str) {
        let mut open = Vec::new();
        for piece in html.split('<').skip(1) {
            let (tag, text) = piece.split_once('>').unwrap_or_else(|| panic!("half a tag in {html:?}"));
            assert!(!text.contains('>'), "a bare > in {html:?}");
            let name = tag.split(' ').next().expect("at least one part");
            match name.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "{html:?}"),
                None if name == "br" => assert_eq!(tag, "br"),
                None => open.push(name),
            }
            let attributes = tag[name.len()..].trim_start();
            match name {
                "a" => {
                    let (href, rest) = attributes
                        .strip_prefix("href=\"")
                        .and_then(|rest| rest.split_once('"'))
                        .expect("an href");
                    assert!(href.starts_with("http://") || href.starts_with("https://"), "{html:?}");
                    assert_eq!(rest, " target=\"_blank\" rel=\"noopener noreferrer\"", "{html:?}");
                }
                "b" | "i" | "s" | "code" | "pre" | "blockquote" | "br" | "/a" | "/b" | "/i" | "/s"
                | "/code" | "/pre" | "/blockquote" | "/span" => assert_eq!(attributes, "", "{html:?}"),
                "span" => assert_eq!(attributes, "class=\"mention\"", "{html:?}"),
                _ => panic!("<{tag}> in {html:?}"),
            }
        }
        assert_eq!(open, Vec::<&str>::new(), "not closed in {html:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_the_text_only_known_tags_come_out_and_each_is_closed(
            pieces in prop::collection::vec(
                prop_oneof![
                    "[*_~`<>&|\"'\n ]{1,4}",
                    prop::sample::select(vec![
                        "```", "<http://a.b|c>", "<https://a", "<javascript:alert(1)|x>", "http://a.b/\"onclick=\"x", "&gt; ",
                        "<!here>", "<@U1>", "<script>", "</b>", "&lt;", "h",
                    ]).prop_map(String::from),
                    any::<String>(),
                ],
                0..20,
            ),
            formatted in any::<bool>(),
        ) {
            let text = pieces.concat();
            check_html(&html(&text, formatted));
            check_html(&plain(&text));
            check_html(&escape(&text));
        }
    }

    /// A link, as it comes out.
    fn a(href: &str, label: &str) -> String {
        format!("<a href=\"{href}\" target=\"_blank\" rel=\"noopener noreferrer\">{label}</a>")
    }

    #[test]
    fn marks() {
        for (text, expected) in [
            ("*bold* _italics_ ~gone~", "<b>bold</b> <i>italics</i> <s>gone</s>"),
            ("*bold and _both_*", "<b>bold and <i>both</i></b>"),
            ("2 * 3 * 4", "2 * 3 * 4"),
            ("a*b*c snake_case_name", "a*b*c snake_case_name"),
            ("*open", "*open"),
            ("** ~~ __", "** ~~ __"),
            ("(*x*).", "(<b>x</b>)."),
            ("*per\nline*", "*per<br>line*"),
            ("run `a *b* <c>` now", "run <code>a *b* &lt;c&gt;</code> now"),
            ("`open", "`open"),
            (":fire: :rotating_light:", ":fire: :rotating_light:"),
            ("a\nb", "a<br>b"),
            ("&gt; quoted\n> too\nnot", "<blockquote>quoted<br>too</blockquote>not"),
            ("x\n```\nlet *y*;\n```\nz", "x<pre>let *y*;</pre>z"),
            ("```open", "```open"),
        ] {
            assert_eq!(html(text, true), expected, "{text}");
        }
        assert_eq!(html("*plain* > `x`", false), "*plain* &gt; `x`");
    }

    #[test]
    fn links() {
        for (text, expected) in [
            ("<http://localhost:9090/a?b=c|Prometheus>", a("http://localhost:9090/a?b=c", "Prometheus")),
            (
                "<https://example.com/?a=1&amp;b=2>",
                a("https://example.com/?a=1&amp;b=2", "https://example.com/?a=1&amp;b=2"),
            ),
            (
                "see https://example.com/x.",
                format!("see {}.", a("https://example.com/x", "https://example.com/x")),
            ),
            (
                "<!here> <@U123> <#C123|alerts>",
                concat!(
                    "<span class=\"mention\">@here</span> <span class=\"mention\">@U123</span> ",
                    "<span class=\"mention\">#alerts</span>"
                )
                .to_owned(),
            ),
            ("<!date^1700000000^{date}|yesterday>", "<span class=\"mention\">yesterday</span>".to_owned()),
        ] {
            assert_eq!(html(text, true), expected, "{text}");
        }
        assert_eq!(html("<https://example.com|x>", false), a("https://example.com/", "x"));
    }

    #[test]
    fn nothing_gets_out_of_the_text() {
        for text in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "<javascript:alert(1)|click>",
            "<JaVaScRiPt:alert(1)>",
            "<data:text/html,<script>alert(1)</script>|x>",
            "<mailto:a@example.com|write>",
            "&lt;script&gt;alert(1)&lt;/script&gt;",
            "&#60;script&#62;",
            "```<script>```",
            "`<script>`",
            "*<b onclick=x>*",
        ] {
            for formatted in [true, false] {
                let html = html(text, formatted);
                for bad in ["<script", "<img", "href", "<b o"] {
                    assert!(!html.contains(bad), "{text} became {html}");
                }
            }
        }
        assert_eq!(html("&#60;", true), "&amp;#60;");
    }

    #[test]
    fn attributes_cannot_be_left() {
        for text in [
            "<https://example.com/\"onmouseover=\"alert(1)|x>",
            "https://example.com/'onclick='x",
            "<https://e.com|\"><script>>",
        ] {
            let html = html(text, true);
            // Quotes only as the attributes' own: href, target and rel of one link.
            assert!(html.matches('"').count() <= 6, "{html}");
            assert!(!html.contains("<script"), "{html}");
            assert!(!html.contains('\''), "{html}");
        }
    }

    #[test]
    fn long_texts_are_cut_before_they_are_read() {
        for text in ["*a ", "_*~`<", "<", "`", "http://", "<http://[", "&gt;", "```", "*a* "] {
            let long = text.repeat(200_000);
            assert!(!html(&long, true).is_empty());
        }
        assert_eq!(html(&"é".repeat(MAX_TEXT + 5), true).chars().count(), MAX_TEXT);
    }
}
