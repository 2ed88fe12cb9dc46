//! Lines as the agent writes them, to measure with.

use std::time::SystemTime;

/// The lines of one request after the other: started, answered by the model, completed.
#[derive(Default)]
pub struct Traffic {
    written: u64,
}

impl Traffic {
    /// The next line, with its newline.
    pub fn line(&mut self, at: SystemTime) -> String {
        let (request, step) = (self.written / 3, self.written % 3);
        self.written += 1;
        let (message, line, fields) = match step {
            0 => ("request started", 93, r#""query_preview":"What should I do first when latency rises after a deployment?","query_length":61"#.to_owned()),
            1 => (
                "llm call completed",
                236,
                format!(
                    r#""model":"sim-small","input_tokens":{},"output_tokens":{},"tokens":{},"cost_usd":0.00013545,"ttft_seconds":0.2{request:06},"duration_seconds":0.8{request:06}"#,
                    600 + request % 97, 70 + request % 13, 670 + request % 97 + request % 13
                ),
            ),
            _ => ("request completed", 370, format!(r#""duration_seconds":0.9{request:06},"cached":false,"status":"success","cost_usd":0.00013545"#)),
        };
        let tenant = ["acme", "globex", "initech", "umbrella", "hooli"][(request % 5) as usize];
        format!(
            concat!(
                r#"{{"v":0,"name":"example-agent","msg":"{message}","level":30,"hostname":"agent-1","pid":7,"time":"{time}","#,
                r#""target":"example_agent::telemetry::events","line":{line},"file":"example-agent/src/telemetry/events.rs","#,
                r#""service_version":"0.1.0",{fields},"tenant_id":"{tenant}","tenant_tier":"standard","#,
                r#""span_id":"{span:016x}","trace_id":"{trace:032x}","request_id":"01a20e08-7c2b-751d-8fa1-{request:012x}","endpoint":"/v1/query"}}"#,
                "\n"
            ),
            message = message,
            time = humantime::format_rfc3339_nanos(at),
            line = line,
            fields = fields,
            tenant = tenant,
            span = request.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            trace = u128::from(request).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835),
            request = request,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_json_and_unlike_the_others() {
        let mut traffic = Traffic::default();
        let lines: std::collections::BTreeSet<_> =
            (0..300).map(|_| traffic.line(SystemTime::now())).collect();
        assert_eq!(lines.len(), 300);
        for line in lines {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(line["trace_id"].as_str().map(str::len), Some(32));
        }
    }
}
