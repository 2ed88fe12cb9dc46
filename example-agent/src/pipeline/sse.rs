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
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = ": comment\r\n\r\nevent: x\ndata: {\"a\":\"Größe 🦀\"}\n\ndata:one\r\ndata: two\r\n\r\n\n\ndata: [DONE]";

    fn events<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Vec<Vec<u8>> {
        let mut stream = EventStream::default();
        let mut events: Vec<_> = chunks.into_iter().flat_map(|chunk| stream.push(chunk)).collect();
        events.extend(stream.finish());
        events
    }

    #[test]
    fn events_are_the_same_wherever_the_chunks_are_cut() {
        let expected = ["{\"a\":\"Größe 🦀\"}", "one\ntwo", "[DONE]"].map(|data| data.as_bytes().to_vec());
        let bytes = STREAM.as_bytes();
        for size in 1..=bytes.len() {
            assert_eq!(events(bytes.chunks(size)), expected, "chunks of {size}");
        }
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let chunks = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(events(chunks), expected, "cut at {first} and {second}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_no_provider_should_send_is_read_the_same_in_any_chunks_and_no_longer_than_it_is(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), Just(b' '), Just(b'd'), any::<u8>()], 0..200),
            lines in prop::collection::vec(prop_oneof!["data: ?[a-z{}]{0,5}", "data", "[:a-z]{0,5}", ""], 0..20),
            size in 1..50usize,
        ) {
            let sent = [&bytes[..], lines.join("\n").as_bytes()].concat();
            let whole = events([&sent[..]]);
            prop_assert_eq!(&events(sent.chunks(size)), &whole);
            prop_assert!(whole.iter().map(Vec::len).sum::<usize>() <= sent.len());
        }
    }
}
