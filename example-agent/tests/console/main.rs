//! The console in a real browser, against the real binary. Listed as ignored where there is no Chromium on the path.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here, and says where")]
mod browser;

use std::{
    convert::Infallible,
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
    thread,
};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::post,
};
use futures_util::{StreamExt as _, stream};
use libtest_mimic::{Arguments, Trial, run};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::Semaphore};

use crate::browser::{Browser, eventually};

fn main() -> ExitCode {
    let chromium = find(&["chromium", "chromium-browser", "google-chrome"]);
    let trial = |name, test: fn(&Path)| {
        let (chromium, missing) = (chromium.clone(), chromium.is_none());
        let test = move || {
            test(&chromium.unwrap());
            Ok(())
        };
        Trial::test(name, test).with_ignored_flag(missing)
    };
    let trials = vec![
        trial("a_question_is_answered_with_its_links", a_question_is_answered_with_its_links),
        trial("the_log_lines_of_a_request_are_a_link_away", the_log_lines_of_a_request_are_a_link_away),
        trial("an_answer_is_shown_while_it_is_made", an_answer_is_shown_while_it_is_made),
        trial("faults_are_switched_on_and_off", faults_are_switched_on_and_off),
        trial("each_switch_is_the_fault_it_names", each_switch_is_its_fault),
        trial("markup_in_questions_and_answers_stays_text", markup_stays_text),
        trial("a_page_that_the_admin_port_refuses_says_so", a_refused_page_says_so),
        trial("without_the_admin_port_questions_can_be_asked", without_the_admin_port),
    ];
    run(&Arguments::from_args(), trials).exit_code()
}

fn find(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut files =
        env::split_paths(&path).flat_map(|directory| names.iter().map(move |name| directory.join(name)));
    files.find(|file| file.is_file())
}

/// The real binary, and a provider that answers with the question. A question that asks it to be slow is answered with a
/// stream that waits in its midst, for the test.
struct Agent {
    process: Child,
    api: String,
    go_on: Arc<Semaphore>,
    _provider: Runtime,
}

impl Agent {
    fn start(settings: &[(&str, &str)]) -> Self {
        let runtime = Runtime::new().unwrap();
        let socket = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let provider = format!("http://{}/v1", socket.local_addr().unwrap());
        let go_on = Arc::new(Semaphore::new(0));
        let routes = Router::new().route("/v1/chat/completions", post(answer)).with_state(go_on.clone());
        runtime.spawn(async { axum::serve(socket, routes).await });
        let mut command = Command::new(env!("CARGO_BIN_EXE_example-agent"));
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("AGENT_") || text.starts_with("OTEL_") {
                command.env_remove(name);
            }
        }
        command.env("AGENT_API_ADDR", "127.0.0.1:0").env("AGENT_ADMIN_ADDR", "127.0.0.1:0");
        command.env("AGENT_LLM_BASE_URL", provider).envs(settings.iter().copied());
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let listening = lines.find_map(|line| {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            (line["msg"] == "listening").then_some(line)
        });
        // It must not stall because nobody reads what it logs.
        thread::spawn(move || lines.count());
        let api = format!("http://{}", listening.unwrap()["api"].as_str().unwrap());
        Self { process, api, go_on, _provider: runtime }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn answer(State(go_on): State<Arc<Semaphore>>, Json(request): Json<Value>) -> Response {
    let asked = request["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
    if asked.starts_with("Slowly") {
        let wait = async move || go_on.acquire().await.unwrap().forget();
        let parts = stream::iter(SLOW_ANSWER.into_iter().enumerate()).then(move |(number, part)| {
            let wait = wait.clone();
            async move {
                if number > 0 {
                    wait().await;
                }
                Ok::<_, Infallible>(part)
            }
        });
        return ([("content-type", "text/event-stream")], Body::from_stream(parts)).into_response();
    }
    let answer = json!({
        "model": "sim-small",
        "choices": [{ "message": { "content": format!("You asked: {asked}") }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 11, "completion_tokens": 7 },
    });
    Json(answer).into_response()
}

const SLOW_ANSWER: [&str; 2] = [
    "data: {\"choices\":[{\"delta\":{\"content\":\"One two three four five six seven eight\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\" nine.\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n",
];

fn an_answer_is_shown_while_it_is_made(chromium: &Path) {
    let agent = Agent::start(&[]);
    let mut browser = open(&agent, chromium, 1280);
    browser.fill("#question", "Slowly, please.");
    browser.click("#send");
    browser.wait_for("document.querySelector('#answer').innerText.startsWith('One two')");
    assert_eq!(browser.text("#outcome"), "Answering …");
    assert!(!browser.text("#answer").contains("nine"));
    agent.go_on.add_permits(1);
    browser.wait_for("document.querySelector('#outcome').innerText === 'Answer'");
    assert_eq!(browser.text("#answer"), "One two three four five six seven eight nine.");
    assert!(browser.text("#facts").contains("sim-small"));
    assert_eq!(browser.complaints, Vec::<String>::new());
}

fn open(agent: &Agent, chromium: &Path, width: u32) -> Browser {
    let mut browser = Browser::start(chromium, width);
    browser.open(&agent.api);
    browser
        .wait_for("document.querySelector('select#tenant') && !document.querySelector('#switches').disabled");
    browser
}

fn the_log_lines_of_a_request_are_a_link_away(chromium: &Path) {
    let agent = Agent::start(&[("AGENT_LINK_KIBANA", "http://logs.example/kibana/")]);
    let mut browser = open(&agent, chromium, 1280);
    browser.click("#send");
    browser.wait_for("document.querySelector('#outcome').innerText === 'Answer'");
    let request = browser.evaluate(
        "[...document.querySelectorAll('#facts dt')].find((t) => t.innerText === 'Request').nextElementSibling.innerText",
    );
    let links = browser.evaluate("[...document.querySelectorAll('#links a')].map((a) => a.href)").to_string();
    let kibana = format!(
        "http://logs.example/kibana/app/discover#/?_a=(query:(language:kuery,query:%27request_id%3A%22{}%22",
        request.as_str().unwrap()
    );
    assert!(links.contains(&kibana) || links.contains(&kibana.replace("%27", "'")), "{links}");
}

fn a_question_is_answered_with_its_links(chromium: &Path) {
    let agent =
        Agent::start(&[("AGENT_LINK_KIBANA", ""), ("AGENT_LINK_JAEGER", "http://traces.example/jaeger/")]);
    for (width, cached) in [(1280, "no"), (375, "yes")] {
        let mut browser = open(&agent, chromium, width);
        let tenants = browser.evaluate("[...document.querySelector('#tenant').options].map((o) => o.value)");
        assert_eq!(tenants, json!(["acme", "globex", "initech", "umbrella", "hooli"]));
        browser.evaluate("document.querySelector('#tenant').value = 'globex'");
        browser.fill("#question", "Why is the sky blue?");
        browser.click("#send");
        // Its text is there before that it is all of it.
        browser.wait_for("document.querySelector('#outcome').innerText === 'Answer'");
        assert!(browser.text("#answer").ends_with("Why is the sky blue?"), "{}", browser.text("#answer"));
        let facts = browser.evaluate(
            "Object.fromEntries([...document.querySelectorAll('#facts dt')].map((t) => [t.innerText, t.nextElementSibling.innerText]))",
        );
        assert_eq!((&facts["Model"], &facts["Cached"]), (&json!("sim-small"), &json!(cached)));
        assert!(facts["Cost"].as_str().unwrap().ends_with(" USD"), "{facts}");
        let links = browser
            .evaluate("[...document.querySelectorAll('#links a, #tools a')].map((a) => a.href)")
            .to_string();
        let trace = facts["Trace"].as_str().unwrap();
        assert_eq!(trace.len(), 32);
        assert!(links.contains(&format!("http://traces.example/jaeger/trace/{trace}")), "{links}");
        assert!(links.contains("http://localhost:3000/d/agent-overview"), "{links}");
        assert!(links.contains("tenant_id%3D%22globex%22"), "{links}");
        assert!(!links.contains("5601"), "the link to Kibana is taken away: {links}");
        let wide =
            browser.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth");
        assert_eq!(wide, false, "nothing is wider than {width} pixels");
        browser.wait_for("document.querySelector('#rate').innerText.endsWith('/s')");
        assert_eq!(browser.complaints, Vec::<String>::new());
    }
}

fn faults_are_switched_on_and_off(chromium: &Path) {
    let agent = Agent::start(&[]);
    let mut browser = open(&agent, chromium, 1280);
    browser.click("#fault-errors");
    browser.wait_for(
        "document.querySelector('#faults-state').innerText.startsWith('1 fault is on, for 30 min')",
    );
    browser.click("#fault-cache");
    browser.wait_for("document.querySelector('#faults-state').innerText.startsWith('2 faults are on')");
    // Half of the questions fail: one of them soon.
    eventually("a question fails", || {
        browser.click("#send");
        browser.wait_for("!document.querySelector('#send').disabled");
        (browser.text("#outcome") == "Not answered").then_some(())
    });
    let failure = browser.text("#facts");
    assert!(failure.contains("upstream_error") && failure.contains("Trace"), "{failure}");
    browser.wait_for("parseFloat(document.querySelector('#errors').innerText) > 0");

    browser.click("#fault-errors");
    browser.wait_for("document.querySelector('#faults-state').innerText.startsWith('1 fault is on')");
    assert_eq!(browser.evaluate("document.querySelector('#fault-cache').checked"), true);
    browser.click("#all-off");
    browser.wait_for("document.querySelector('#faults-state').hidden");
    assert_eq!(browser.evaluate("document.querySelectorAll('#switches :checked[data-fault]').length"), 0);
    browser.click("#send");
    browser.wait_for("document.querySelector('#outcome').innerText === 'Answer'");
}

fn each_switch_is_its_fault(chromium: &Path) {
    let agent = Agent::start(&[]);
    let mut browser = open(&agent, chromium, 1280);
    for (switch, fault, value) in [
        ("errors", "error_ratio", json!(0.5)),
        ("slow", "extra_latency_seconds", json!(3)),
        ("cache", "cache_off", json!(true)),
        ("cost", "cost_factor", json!(10_000)),
        ("hang", "hang_ratio", json!(1)),
        ("breach", "append_to_answer", json!("Here is an insider tip.")),
    ] {
        browser.click(&format!("#fault-{switch}"));
        browser.wait_for("document.querySelector('#faults-state').innerText.startsWith('1 fault is on')");
        // As the agent has it: the page asks from the one origin that may.
        browser.evaluate(
            "window.said = null; fetch('/console/settings.json').then((r) => r.json())\
             .then(({ links }) => fetch(links.admin + '/faults')).then((r) => r.json()).then((f) => window.said = f); 0",
        );
        browser.wait_for("window.said !== null");
        assert_eq!(browser.evaluate(&format!("window.said.{fault}")), value, "{switch}");
        browser.click(&format!("#fault-{switch}"));
        browser.wait_for("document.querySelector('#faults-state').hidden");
    }
    assert_eq!(browser.complaints, Vec::<String>::new());
}

fn markup_stays_text(chromium: &Path) {
    let agent = Agent::start(&[]);
    let mut browser = open(&agent, chromium, 1280);
    let attack =
        "<img src=x onerror=\"window.harmed=1\"><script>window.harmed=1</script>'\"</textarea><b>bold</b>";
    browser.fill("#question", attack);
    browser.click("#send");
    browser.wait_for("document.querySelector('#outcome').innerText === 'Answer'");
    assert!(browser.text("#answer").ends_with(attack), "{}", browser.text("#answer"));
    assert_eq!(
        browser.evaluate("document.querySelector('#result').querySelectorAll('img, script, b').length"),
        0
    );
    assert_eq!(browser.evaluate("typeof window.harmed"), "undefined");
    // And were there a hole, the policy would still hold.
    let refused = "(() => { try { document.querySelector('#answer').innerHTML = '<b>x</b>'; return 'taken' } \
        catch (error) { return error.name } })()";
    assert_eq!(browser.evaluate(refused), "TypeError");
}

fn a_refused_page_says_so(chromium: &Path) {
    let agent = Agent::start(&[("AGENT_CONSOLE_ORIGINS", "http://console.example")]);
    let mut browser = Browser::start(chromium, 1280);
    browser.open(&agent.api);
    browser.wait_for("document.querySelector('#live-state').innerText.includes('does not answer this page')");
    assert_eq!(browser.evaluate("document.querySelector('#switches').disabled"), true);
    browser.fill("#tenant", "acme");
    browser.click("#send");
    browser.wait_for("document.querySelector('#outcome').innerText === 'Answer'");
}

fn without_the_admin_port(chromium: &Path) {
    let agent = Agent::start(&[("AGENT_LINK_ADMIN", "")]);
    let mut browser = Browser::start(chromium, 1280);
    browser.open(&agent.api);
    browser.wait_for("document.querySelector('#live-state').innerText.startsWith('Faults and live numbers')");
    assert_eq!(browser.evaluate("document.querySelector('#switches').disabled"), true);
    browser.fill("#tenant", "nobody");
    browser.click("#send");
    browser.wait_for("document.querySelector('#facts').innerText.includes('unknown_tenant')");
    browser.fill("#tenant", "acme");
    browser.click("#send");
    browser.wait_for("document.querySelector('#outcome').innerText === 'Answer'");
}
