//! The batch that measures accuracy, as a process: what it pushes, and how it ends.
use std::{
    process::Output,
    sync::{Arc, Mutex},
};

use axum::{Router, http::StatusCode, routing::put};

use crate::helpers::{Behaviour, Provider, binary, serve, spawn_app};

async fn evaluate(settings: &[(&str, &str)]) -> Output {
    let mut command = binary();
    command.arg("evaluate").envs(settings.iter().copied());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_share_of_right_answers_is_pushed() {
    let app = spawn_app(&Provider::start(Behaviour::Stream).await, &[]).await;
    let pushed = Arc::<Mutex<Vec<String>>>::default();
    let kept = pushed.clone();
    let take = async move |body: String| {
        kept.lock().unwrap().push(body);
        StatusCode::OK
    };
    let gateway = format!("http://{}", serve(Router::new().route("/metrics/job/nightly", put(take))).await);
    let golden = tempfile::NamedTempFile::new().unwrap();
    let question =
        |query: &str, word: &str| format!("[[question]]\nquery = \"{query}\"\nkeywords = [\"{word}\"]\n");
    // The provider always says the same; the last question breaks a compliance rule.
    let questions = [("a", "GRÜSSE"), ("b", "Grüße"), ("c", "grüße"), ("An insider tip?", "🦀")];
    let questions = questions.map(|(query, word)| question(query, word)).concat();
    std::fs::write(golden.path(), format!("tenant_id = \"acme\"\n{questions}")).unwrap();
    let settings = [
        ("AGENT_EVALUATE_URL", app.api.as_str()),
        ("AGENT_PUSHGATEWAY_URL", &gateway),
        ("AGENT_EVALUATE_JOB", "nightly"),
        ("AGENT_GOLDEN_FILE", golden.path().to_str().unwrap()),
    ];
    let output = evaluate(&settings).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "2 of 4 answers are right: accuracy 0.5\n");
    assert!(pushed.lock().unwrap()[0].ends_with("\nagent_answer_accuracy_ratio 0.5\n"), "{pushed:?}");

    let strict = [&settings[..], &[("AGENT_MIN_ACCURACY", "0.9")]].concat();
    let output = evaluate(&strict).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(pushed.lock().unwrap().len(), 2, "what is too low is pushed too");
}

#[tokio::test]
async fn without_an_agent_or_a_gateway_it_fails_in_one_line() {
    let absent = format!("http://{}", Provider::absent().await.base_url().trim_start_matches("http://"));
    let app = spawn_app(&Provider::start(Behaviour::Stream).await, &[]).await;
    for (settings, code) in [
        (vec![("AGENT_EVALUATE_URL", absent.as_str())], 1),
        (vec![("AGENT_EVALUATE_URL", app.api.as_str()), ("AGENT_PUSHGATEWAY_URL", absent.as_str())], 1),
        (vec![("AGENT_EVALUATE_URL", "nonsense")], 64),
        (vec![("AGENT_GOLDEN_FILE", "no-such-file")], 64),
    ] {
        let output = evaluate(&settings).await;
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1);
    }
}
