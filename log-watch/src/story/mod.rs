//! One request's whole story, in order: its log and audit lines, its spans, its tokens and what it cost.
pub mod lines;
pub mod render;
pub mod trace;

use std::collections::BTreeSet;

use crate::{elasticsearch::Elasticsearch, http, settings};
use lines::Line;
use trace::Trace;

/// A request that continues a caller's trace has one trace, and few traces have many requests.
const MAX_TRACES: usize = 10;

/// What was found, and where.
#[derive(Debug, Default)]
pub struct Story {
    /// Oldest first.
    pub lines: Vec<Line>,
    /// Where the lines come from, in words.
    pub from: String,
    /// In no order.
    pub traces: Vec<Trace>,
    /// Where something was looked for and how that ended.
    pub looked: Vec<String>,
}

/// Prints a story to standard output. The error is one line: nothing was found, and where it was looked for.
pub async fn print(settings: &settings::Story) -> Result<(), String> {
    let story = tell(settings).await?;
    if story.lines.is_empty() && story.traces.is_empty() {
        return Err(format!("nothing about {}; looked in {}", settings.id, story.looked.join(", in ")));
    }
    let text = render::text(&settings.id, &story);
    // A reader that has seen enough (`| head`) is no failure.
    let _ = std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes());
    Ok(())
}

/// Gathers a story.
pub async fn tell(settings: &settings::Story) -> Result<Story, String> {
    let client = http::client([&settings.elasticsearch.url, &settings.jaeger_url])?;
    let elasticsearch = Elasticsearch::new(client.clone(), settings.elasticsearch.clone());
    let mut story = Story::default();
    find_lines(settings, &elasticsearch, &mut story).await;

    let mut trace_ids: BTreeSet<String> = story.lines.iter().filter_map(Line::trace_id).collect();
    if trace_ids.is_empty() && trace::is_id(&settings.id) {
        trace_ids.insert(settings.id.clone());
    }
    let place = format!("Jaeger ({})", settings.jaeger_url);
    let found = if trace_ids.is_empty() {
        trace::of_request(&client, &settings.jaeger_url, &settings.id).await
    } else {
        let ids: Vec<_> = trace_ids.iter().take(MAX_TRACES).map(String::as_str).collect();
        trace::by_id(&client, &settings.jaeger_url, &ids).await
    };
    match found {
        Ok(traces) => {
            story.looked.push(format!("{place}: {}", count(traces.len(), "trace")));
            story.traces = traces;
        }
        Err(error) => story.looked.push(format!("{place}: {error}")),
    }
    Ok(story)
}

/// In Elasticsearch. A stream of which that has no line is looked for in the files: lines may stop there, may not have
/// arrived yet, or may be in an index that our user must not read, as the audit log's usually is.
async fn find_lines(settings: &settings::Story, elasticsearch: &Elasticsearch, story: &mut Story) {
    let place = format!("Elasticsearch ({})", elasticsearch.url());
    match elasticsearch.lines_of(&settings.id).await {
        Ok(documents) => {
            story.looked.push(format!("{place}: {}", count(documents.len(), "line")));
            story.lines =
                documents.iter().map(|(index, source)| Line::from_document(index, source)).collect();
        }
        Err(error) => story.looked.push(format!("{place}: {error}")),
    }
    let indexed = story.lines.len();
    let has = |audit: bool| story.lines.iter().any(|line| line.is_audit() == audit);
    let wanted = [has(false), has(true)].map(|there| !there);
    if let Some(directory) = settings.log_dir.as_ref().filter(|_| wanted.contains(&true)) {
        let (directory, id) = (directory.clone(), settings.id.clone());
        let place = format!("the files in {}", directory.display());
        let read = tokio::task::spawn_blocking(move || lines::from_files(&directory, &id)).await;
        match read.map_err(|e| e.to_string()).and_then(|read| read) {
            Ok((lines, files)) => {
                let (found, files) = (count(lines.len(), "line"), count(files, "file"));
                story.looked.push(format!("{place}: {found} in {files}"));
                story.lines.extend(lines.into_iter().filter(|line| wanted[usize::from(line.is_audit())]));
            }
            Err(error) => story.looked.push(format!("{place}: {error}")),
        }
    }
    story.from = match (indexed, story.lines.len() - indexed) {
        (_, 0) => "from Elasticsearch".to_owned(),
        (0, _) => "from the agent's files".to_owned(),
        (indexed, read) => format!("{indexed} from Elasticsearch, {read} from the agent's files"),
    };
    lines::sort(&mut story.lines);
}

/// `no line`, `1 line`, `2 lines`.
fn count(number: usize, of: &str) -> String {
    match number {
        0 => format!("no {of}"),
        1 => format!("1 {of}"),
        _ => format!("{number} {of}s"),
    }
}
