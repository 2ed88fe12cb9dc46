//! What the documents say about a question: BM25 over their sections, in memory. They are few and built in: a full
//! search engine such as tantivy would be more to build and to carry than there is to search.
use bm25::{Document, Language, SearchEngine, SearchEngineBuilder};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::telemetry::steps::StepResult;

/// Markdown files by name.
static DOCUMENTS: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/documents.rs"));
/// The longest passage: with three of them a prompt grows by about 900 tokens at most.
const MAX_PASSAGE_BYTES: usize = 1200;
/// What of a question is searched for. A long one has all its subjects long before its end.
const MAX_SEARCHED_CHARS: usize = 500;

/// A piece of a document.
#[derive(Debug, PartialEq, Eq)]
pub struct Passage {
    /// Where it stands: file and heading.
    pub source: String,
    /// What it says.
    pub text: String,
}

/// Passages that go with a question, best first.
#[derive(Debug)]
pub struct Found<'a>(pub Vec<&'a Passage>);

impl Found<'_> {
    /// What the model is told before the question; nothing where nothing was found.
    pub fn instructions(&self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let mut text =
            "Answer with the help of these passages of the documentation where they apply.".to_owned();
        for passage in &self.0 {
            text.extend(["\n\n[", &passage.source, "]\n", &passage.text]);
        }
        Some(text)
    }
}

impl StepResult for Found<'_> {
    fn record(&self, span: &Span) {
        let sources: Vec<_> = self.0.iter().map(|passage| passage.source.as_str()).collect();
        span.set_attribute("rag.passages", i64::try_from(sources.len()).unwrap_or(i64::MAX));
        span.set_attribute("rag.sources", sources.join("; "));
    }
}

/// All passages of all documents, searchable.
pub struct Knowledge {
    passages: Vec<Passage>,
    engine: SearchEngine<usize>,
    top: usize,
}

impl std::fmt::Debug for Knowledge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Knowledge").field("passages", &self.passages.len()).finish_non_exhaustive()
    }
}

impl Knowledge {
    /// The built-in documents, of which a question gets so many passages; none where that is 0.
    pub fn built_in(top: usize) -> Option<Self> {
        (top > 0).then(|| Self::new(DOCUMENTS, top))
    }

    fn new(documents: &[(&str, &str)], top: usize) -> Self {
        let passages: Vec<_> =
            documents.iter().flat_map(|(name, markdown)| passages(name, markdown)).collect();
        let searched = |(id, passage): (usize, &Passage)| {
            Document::new(id, format!("{}\n{}", passage.source, passage.text))
        };
        let indexed = passages.iter().enumerate().map(searched).collect::<Vec<_>>();
        let engine = SearchEngineBuilder::with_documents(Language::English, indexed).build();
        Self { passages, engine, top }
    }

    /// The passages that fit a question best.
    pub fn search(&self, query: &str) -> Found<'_> {
        let end = query.char_indices().nth(MAX_SEARCHED_CHARS).map_or(query.len(), |(at, _)| at);
        let found = self.engine.search(&query[..end], self.top);
        Found(found.into_iter().map(|result| &self.passages[result.document.id]).collect())
    }
}

/// The sections of a markdown text, cut between lines where they are long. A heading within a block of code is none.
fn passages(name: &str, markdown: &str) -> Vec<Passage> {
    let (mut passages, mut heading, mut text, mut in_code) =
        (Vec::new(), String::new(), String::new(), false);
    let mut end = |heading: &str, text: &mut String| {
        let text = std::mem::take(text);
        if !text.trim().is_empty() {
            passages.push(Passage { source: format!("{name}: {heading}"), text: text.trim().to_owned() });
        }
    };
    for line in markdown.lines() {
        in_code ^= line.starts_with("```");
        if !in_code && line.starts_with('#') {
            end(&heading, &mut text);
            line.trim_start_matches('#').trim().clone_into(&mut heading);
            continue;
        }
        if text.len() + line.len() >= MAX_PASSAGE_BYTES {
            end(&heading, &mut text);
        }
        // A table's row can be long all by itself.
        let cut = line.floor_char_boundary(MAX_PASSAGE_BYTES - 1);
        text += &line[..cut];
        text.push('\n');
    }
    end(&heading, &mut text);
    passages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_headings_and_where_it_is_long() {
        let long = "é".repeat(MAX_PASSAGE_BYTES);
        let text = format!("start\n# One\n```sh\n# no heading\n```\n## Two\n\n# Three\n{long}\nrest");
        let passages = passages("a.md", &text);
        let sources: Vec<_> = passages.iter().map(|passage| passage.source.as_str()).collect();
        assert_eq!(sources, ["a.md: ", "a.md: One", "a.md: Three", "a.md: Three"]);
        assert!(passages[1].text.contains("# no heading"));
        assert!(passages.iter().all(|passage| passage.text.len() <= MAX_PASSAGE_BYTES));
    }

    #[test]
    fn the_built_in_documents_answer_questions_about_the_agent() {
        let knowledge = Knowledge::built_in(3).unwrap();
        let found = knowledge.search("How are retries kept within a budget when the model provider is down?");
        assert_eq!(found.0.len(), 3);
        assert!(found.0[0].text.contains("AGENT_LLM_RETRY_BUDGET"), "{:?}", found.0);
        let instructions = found.instructions().unwrap();
        assert!(instructions.contains("README.md: ") && instructions.len() < 4 * MAX_PASSAGE_BYTES);
        assert!(knowledge.search("xyzzy 🦀").instructions().is_none());
        assert!(Knowledge::built_in(0).is_none());
    }
}
