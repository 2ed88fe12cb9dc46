//! Server-sent events, as far as chat completions use them: the data of each event, whatever the chunks.

/// Splits a byte stream into events. Works on bytes, so a character cut by a chunk border is no problem.
#[derive(Debug, Default)]
pub(super) struct EventStream {
    line: Vec<u8>,
    data: Option<Vec<u8>>,
}

impl EventStream {
    /// Takes the next chunk and returns the data of the events it completes.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Vec<Vec<u8>> {
        let mut events = Vec::new();
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                events.extend(self.end_of_line());
            }
        }
        events
    }

    /// The last event, for providers that end the stream without the blank line.
    pub(super) fn finish(mut self) -> Option<Vec<u8>> {
        if let Some(event) = self.end_of_line() {
            return Some(event);
        }
        self.data
    }

    fn end_of_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return self.data.take();
        }
        // Comments, `event:`, `id:` and `retry:` say nothing about the answer.
        if let Some(value) = line.strip_prefix(b"data:") {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": comment\r\n\r\nevent: x\ndata: {\"a\":\"Größe 🦀\"}\n\ndata:one\r\ndata: two\r\n\r\n\n\ndata: [DONE]";

    #[test]
    fn events_are_the_same_wherever_the_chunks_are_cut() {
        let expected = ["{\"a\":\"Größe 🦀\"}", "one\ntwo", "[DONE]"];
        for size in 1..=STREAM.len() {
            let mut stream = EventStream::default();
            let mut events = Vec::new();
            for chunk in STREAM.as_bytes().chunks(size) {
                events.extend(stream.push(chunk));
            }
            events.extend(stream.finish());
            let events: Vec<_> = events.into_iter().map(|e| String::from_utf8(e).unwrap()).collect();
            assert_eq!(events, expected, "chunks of {size}");
        }
    }
}
