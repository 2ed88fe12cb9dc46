//! The batch that measures accuracy, as a process: what it pushes, and how it ends.
use std::{
    process::Output,
    sync::{Arc, Mutex},
};

use axum::{Router, http::StatusCode, routing::put};
use clap::Parser as _;
use example_agent::evaluate::{Accuracy, Golden, ask};
use simulators::llm::trace::Tracing;

use crate::helpers::{Behaviour, Provider, binary, eventually, serve, spawn_app};

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
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = said.lines().collect();
    let [lacking, refused, sum] = lines[..] else { panic!("{said}") };
    let start = r#"wrong: "a": ["GRÜSSE"] not in the answer ""#;
    assert!(lacking.starts_with(start) && lacking.contains("Grüße"), "{lacking}");
    assert_eq!(
        refused,
        r#"wrong: "An insider tip?": no answer, 422 Unprocessable Entity compliance_violation"#
    );
    assert_eq!(sum, "2 of 4 answers are right: accuracy 0.5");
    assert!(pushed.lock().unwrap()[0].ends_with("\nagent_answer_accuracy_ratio 0.5\n"), "{pushed:?}");

    let strict = [&settings[..], &[("AGENT_MIN_ACCURACY", "0.9")]].concat();
    let output = evaluate(&strict).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(pushed.lock().unwrap().len(), 2, "what is too low is pushed too");
}

#[tokio::test]
async fn it_is_repeated_and_outlives_a_gateway_that_is_not_there_until_it_is_ended() {
    let app = spawn_app(&Provider::start(Behaviour::Stream).await, &[]).await;
    let pushed = Arc::<Mutex<usize>>::default();
    let kept = pushed.clone();
    let take = async move || {
        let mut pushed = kept.lock().unwrap();
        *pushed += 1;
        if *pushed == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
    };
    let path = "/metrics/job/agent_evaluation";
    let gateway = format!("http://{}", serve(Router::new().route(path, put(take))).await);
    let mut command = binary();
    command.args(["evaluate", "--every", "50ms", "--url", &app.api, "--pushgateway-url", &gateway]);
    let child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    eventually("it has pushed again", async || (*pushed.lock().unwrap() >= 3).then_some(())).await;
    let killed = std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("the Pushgateway answers 503 Service Unavailable; trying again in 0 s"), "{said}");
}

/// The kit's own provider, without its waiting times.
async fn simulator() -> Provider {
    let settings = simulators::settings::Cli::parse_from(["simulators", "llm", "--time-scale=0"]);
    let simulators::settings::Command::Llm(settings) = settings.command else {
        unreachable!("it is the one named")
    };
    let tracing = tokio::task::spawn_blocking(|| Tracing::new(None, "test").unwrap()).await.unwrap();
    Provider::at(serve(simulators::llm::router(&settings, Arc::new(tracing))).await)
}

#[tokio::test]
async fn the_kits_own_model_knows_most_of_the_golden_answers_unless_it_is_wrong_on_purpose() {
    let provider = simulator().await;
    // Without a cache, for wrong answers to be given.
    let app = spawn_app(&provider, &["--cache-ttl=0s"]).await;
    let golden = Golden::parse(include_str!("../../config/golden.toml")).unwrap();
    let api = app.api.parse().unwrap();
    let accuracy = ask(&api, &golden).await.unwrap();
    assert!((0.8..1.0).contains(&accuracy.ratio()), "{accuracy:?}");
    let wrong = |accuracy: &Accuracy| accuracy.wrong.iter().map(|w| w.query.clone()).collect::<Vec<_>>();
    assert_eq!(wrong(&ask(&api, &golden).await.unwrap()), wrong(&accuracy), "the same again");

    let faults = provider.base_url().replace("/v1", "/faults");
    let faults = app.http.put(faults).body("{\"wrong_ratio\": 1}").send().await.unwrap();
    assert_eq!(faults.status(), 200);
    let accuracy = ask(&api, &golden).await.unwrap();
    assert!(accuracy.ratio() < 0.2, "{accuracy:?}");
}

#[tokio::test]
async fn without_an_agent_or_a_gateway_it_fails_in_one_line() {
    let absent = format!("http://{}", Provider::absent().base_url().trim_start_matches("http://"));
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
