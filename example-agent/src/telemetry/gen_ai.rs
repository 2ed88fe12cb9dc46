//! Calls of the model as OpenTelemetry's conventions for generative AI have them, under the names that its rules for
//! Prometheus make of them: dots become underscores, seconds are a suffix, `{token}` is none.
use std::sync::{PoisonError, RwLock};

use metrics::{Histogram, Recorder, SharedString};

use super::declared::{GEN_AI_DURATION, GEN_AI_FIRST_CHUNK, GEN_AI_TOKENS, histogram};
use crate::{error::ErrorType, pipeline::llm::Completion, tenants::OTHER};

/// What the agent does with a model, as the conventions name it.
pub const OPERATION: &str = "chat";
/// Names a provider may give to the model that answered, before further ones count as `other`.
const MAX_RESPONSE_MODELS: usize = 8;
const MAX_NAME_LENGTH: usize = 64;

/// The series of the provider's calls.
#[derive(Debug)]
pub(super) struct GenAi {
    provider: SharedString,
    request_model: SharedString,
    by_response_model: RwLock<Vec<(SharedString, Series)>>,
}

/// Handles of one responding model's series.
#[derive(Clone, Debug)]
struct Series {
    duration: Histogram,
    first_chunk: Histogram,
    input_tokens: Histogram,
    output_tokens: Histogram,
}

impl GenAi {
    /// For one model of one provider.
    pub(super) fn new(provider: &str, request_model: SharedString) -> Self {
        Self { provider: provider.to_owned().into(), request_model, by_response_model: RwLock::default() }
    }

    /// Records a call that was answered.
    pub(super) fn answered(&self, recorder: &dyn Recorder, completion: &Completion) {
        let model = completion.response_model.as_deref().unwrap_or_default();
        let series = self.series(recorder, if is_plain(model) { model } else { OTHER });
        series.duration.record(completion.duration.as_secs_f64());
        if !completion.usage_estimated {
            series.input_tokens.record(completion.usage.input as f64);
            series.output_tokens.record(completion.usage.output as f64);
        }
        if let Some(time) = completion.time_to_first_chunk {
            series.first_chunk.record(time.as_secs_f64());
        }
    }

    /// Records a call that failed after so many seconds.
    pub(super) fn failed(&self, recorder: &dyn Recorder, kind: ErrorType, seconds: f64) {
        let labels = self.labels("", kind.as_str());
        histogram(recorder, &GEN_AI_DURATION, &labels).record(seconds);
    }

    fn series(&self, recorder: &dyn Recorder, model: &str) -> Series {
        let find = |known: &[(SharedString, Series)], name: &str| {
            known.iter().find(|(known, _)| known.as_ref() == name).map(|(_, series)| series.clone())
        };
        let known = self.by_response_model.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = find(&known, model) {
            return series;
        }
        drop(known);
        // A name not seen before: the provider decides which, we how many.
        let mut known = self.by_response_model.write().unwrap_or_else(PoisonError::into_inner);
        let name = if known.len() < MAX_RESPONSE_MODELS { model } else { OTHER };
        find(&known, name).unwrap_or_else(|| {
            let series = Series {
                duration: histogram(recorder, &GEN_AI_DURATION, &self.labels(name, "")),
                first_chunk: histogram(recorder, &GEN_AI_FIRST_CHUNK, &self.labels(name, "")[..4]),
                input_tokens: histogram(recorder, &GEN_AI_TOKENS, &self.labels(name, "input")),
                output_tokens: histogram(recorder, &GEN_AI_TOKENS, &self.labels(name, "output")),
            };
            known.push((name.to_owned().into(), series.clone()));
            series
        })
    }

    /// The values of the four labels all have, and of one more.
    fn labels(&self, response_model: &str, last: &'static str) -> [SharedString; 5] {
        let response_model = response_model.to_owned().into();
        [OPERATION.into(), self.provider.clone(), self.request_model.clone(), response_model, last.into()]
    }
}

/// Whether a name can be the value of a label as it is. An empty one can: it is no label.
fn is_plain(name: &str) -> bool {
    name.len() <= MAX_NAME_LENGTH && name.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::pipeline::cost::Usage;

    #[test]
    fn a_provider_that_invents_names_makes_a_bounded_number_of_series() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let gen_ai = GenAi::new("openai", "m".into());
        let mut completion = Completion {
            text: String::new(),
            finish: None,
            response_model: None,
            usage: Usage { input: 1, output: 2, ..Usage::default() },
            usage_estimated: false,
            time_to_first_token: Duration::ZERO,
            time_to_first_chunk: Some(Duration::ZERO),
            duration: Duration::ZERO,
        };
        for name in ["\"quoted\"", "line\nbreak", &"x".repeat(65)] {
            completion.response_model = Some(name.to_owned());
            gen_ai.answered(&recorder, &completion);
        }
        for number in 0..100_000 {
            completion.response_model = Some(format!("model-{number}"));
            gen_ai.answered(&recorder, &completion);
        }
        let text = recorder.handle().render();
        let calls = |model: &str| {
            let label = format!("gen_ai_response_model=\"{model}\"");
            let name = format!("{}_count", GEN_AI_DURATION.name);
            let line = text.lines().find(|line| line.starts_with(&name) && line.contains(&label))?;
            Some(line.rsplit_once(' ')?.1.to_owned())
        };
        assert_eq!(calls("model-0").as_deref(), Some("1"));
        assert_eq!(calls(OTHER).as_deref(), Some("99996"));
        let series = text.lines().filter(|line| line.starts_with(&format!("{}_count", GEN_AI_DURATION.name)));
        assert_eq!(series.count(), MAX_RESPONSE_MODELS);
    }
}
