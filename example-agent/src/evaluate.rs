//! `example-agent evaluate`: a batch that asks a running agent questions with known answers, and pushes how many were right.
use std::time::Duration;

use reqwest::{Client, Url, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::tenants::one_line;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accuracy {
    /// Answers that have all their keywords.
    pub right: usize,
    /// Questions asked. One that is refused, or fails, is answered wrongly.
    pub asked: usize,
}

impl Accuracy {
    /// From 0 to 1.
    pub fn ratio(self) -> f64 {
        self.right as f64 / self.asked as f64
    }
}

/// Asks the agent at this URL all questions, one after the other. The error, one line, is for an agent that is not there.
pub async fn ask(api: &Url, golden: &Golden) -> Result<Accuracy, String> {
    crate::tls::install();
    let (http, url) = (Client::new(), format!("{}/v1/query", api.as_str().trim_end_matches('/')));
    let mut right = 0;
    for Question { query, keywords } in &golden.question {
        let body = json!({ "tenant_id": golden.tenant_id, "query": query });
        let response = http.post(&url).json(&body).timeout(ANSWER_TIMEOUT).send().await;
        let response = response.map_err(|e| format!("cannot ask {url}: {:?}", e.without_url()))?;
        // Whatever is no answer is a wrong one.
        let body: Value = response.json().await.unwrap_or_default();
        let answer = body["answer"].as_str().unwrap_or_default().to_lowercase();
        right += usize::from(keywords.iter().all(|word| answer.contains(&word.to_lowercase())));
    }
    Ok(Accuracy { right, asked: golden.question.len() })
}

/// Puts the accuracy on the Pushgateway, in the place of the job's last. The error is one line.
pub async fn push(gateway: &Url, job: &str, accuracy: Accuracy) -> Result<(), String> {
    let url = format!("{}/metrics/job/{job}", gateway.as_str().trim_end_matches('/'));
    let text = format!(
        "# HELP {ACCURACY} Share of the golden questions that were answered rightly.\n# TYPE {ACCURACY} gauge\n\
         {ACCURACY} {}\n",
        accuracy.ratio()
    );
    let request = Client::new().put(&url).header(header::CONTENT_TYPE, "text/plain; version=0.0.4");
    let response = request.body(text).timeout(PUSH_TIMEOUT).send().await;
    let response = response.map_err(|e| format!("cannot push to {url}: {:?}", e.without_url()))?;
    if response.status().is_success() {
        return Ok(());
    }
    Err(format!("cannot push to {url}: the Pushgateway answers {}", response.status()))
}
