//! `example-agent evaluate`: a batch that asks a running agent questions with known answers, and pushes how many were right.
use std::{fmt, time::Duration};

use command_line::http;
use reqwest::{Url, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::tenants::one_line;

/// What of a wrong answer is shown.
const SHOWN_CHARS: usize = 200;
/// The metric that is pushed.
const ACCURACY: &str = "agent_answer_accuracy_ratio";
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than the agent itself waits for its model by default.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// The questions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    tenant_id: String,
    question: Vec<Question>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    query: String,
    keywords: Vec<String>,
}

impl Golden {
    /// Reads the TOML text of a golden file. The error is one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let golden: Self = toml::from_str(text).map_err(|e| one_line(&e, text))?;
        if golden.question.is_empty() {
            return Err("no [[question]] in the file: there would be no accuracy".to_owned());
        }
        let pointless = |question: &&Question| question.keywords.iter().all(|word| word.trim().is_empty());
        match golden.question.iter().find(pointless) {
            Some(question) => Err(format!("the question {:?} has no keywords", question.query)),
            None => Ok(golden),
        }
    }
}

/// How many answers were right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accuracy {
    /// Questions asked.
    pub asked: usize,
    /// Those whose answers lack a keyword. One that is refused, or fails, is among them.
    pub wrong: Vec<Wrong>,
}

impl Accuracy {
    /// From 0 to 1.
    pub fn ratio(&self) -> f64 {
        (self.asked - self.wrong.len()) as f64 / self.asked as f64
    }
}

/// For whoever reads the job's output: each wrong answer, and how many were right.
impl fmt::Display for Accuracy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Wrong { query, why } in &self.wrong {
            writeln!(f, "wrong: {query:?}: {why}")?;
        }
        let right = self.asked - self.wrong.len();
        write!(f, "{right} of {} answers are right: accuracy {}", self.asked, self.ratio())
    }
}

/// A question that was not answered rightly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The question.
    pub query: String,
    /// What its answer lacks, or why there is none.
    pub why: String,
}

/// Asks the agent at this URL all questions, one after the other. The error, one line, is for an agent that is not there.
pub async fn ask(api: &Url, golden: &Golden) -> Result<Accuracy, String> {
    let client = http::client([api]).build().map_err(|e| http::cannot_build(&e))?;
    let url = format!("{}/v1/query", api.as_str().trim_end_matches('/'));
    let mut wrong = Vec::new();
    for Question { query, keywords } in &golden.question {
        let body = json!({ "tenant_id": golden.tenant_id, "query": query });
        let response = client.post(&url).json(&body).timeout(ANSWER_TIMEOUT).send().await;
        let response =
            response.map_err(|e| format!("cannot ask {url}: {}", http::chain(&e.without_url())))?;
        let status = response.status();
        // Whatever is no answer is a wrong one.
        let body: Value = response.json().await.unwrap_or_default();
        let why = match body["answer"].as_str() {
            Some(answer) => lacking(answer, keywords),
            None => {
                Some(format!("no answer, {status} {}", body["error"]["type"].as_str().unwrap_or_default()))
            }
        };
        wrong.extend(why.map(|why| Wrong { query: query.clone(), why }));
    }
    Ok(Accuracy { asked: golden.question.len(), wrong })
}

fn lacking(answer: &str, keywords: &[String]) -> Option<String> {
    let lower = answer.to_lowercase();
    let missing: Vec<_> = keywords.iter().filter(|word| !lower.contains(&word.to_lowercase())).collect();
    let start: String = answer.chars().take(SHOWN_CHARS).collect();
    (!missing.is_empty()).then(|| format!("{missing:?} not in the answer {start:?}"))
}

/// Puts the accuracy on the Pushgateway, in the place of the job's last. The error is one line.
pub async fn push(gateway: &Url, job: &str, accuracy: &Accuracy) -> Result<(), String> {
    let url = format!("{}/metrics/job/{job}", gateway.as_str().trim_end_matches('/'));
    let text = format!(
        "# HELP {ACCURACY} Share of the golden questions that were answered rightly.\n# TYPE {ACCURACY} gauge\n\
         {ACCURACY} {}\n",
        accuracy.ratio()
    );
    let client = http::client([gateway]).build().map_err(|e| http::cannot_build(&e))?;
    let request = client.put(&url).header(header::CONTENT_TYPE, "text/plain; version=0.0.4");
    let response = request.body(text).timeout(PUSH_TIMEOUT).send().await;
    let response =
        response.map_err(|e| format!("cannot push to {url}: {}", http::chain(&e.without_url())))?;
    if response.status().is_success() {
        return Ok(());
    }
    Err(format!("cannot push to {url}: the Pushgateway answers {}", response.status()))
}
