//! Lines on their way to a target that may be slow: a bounded buffer, which a thread of its own empties batch by batch.
//! Whoever has a line copies it and goes on. Only the first line of a batch wakes the thread, and a batch is one write: a
//! wake-up and a write for each line would cost more than to make the line.
use std::{
    io::{self, Write},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle, Thread},
    time::Duration,
};

/// Lines that may wait for a slow target, in bytes: about 30,000 of them.
const MAX_BYTES: usize = 16 << 20;
/// How long a first line waits for others.
const BATCH_EVERY: Duration = Duration::from_millis(20);
/// What a buffer keeps of its memory when an outage is over.
const KEPT_BYTES: usize = 1 << 20;

/// The way into the buffer of one target.
#[derive(Debug)]
pub(super) struct LogQueue {
    shared: Arc<Shared>,
    thread: Thread,
}

/// Keeps the thread.
#[derive(Debug)]
pub(super) struct LogWriter {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Vec<u8>>,
    closing: AtomicBool,
    lost: Arc<AtomicU64>,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Vec<u8>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes until it is told to end, and then what is left.
    fn write_to(&self, mut target: impl Write) {
        let mut batch = Vec::new();
        loop {
            // Looked at each time: what the target does may use up the wake-up.
            while self.waiting().is_empty() && !self.closing.load(Ordering::Acquire) {
                thread::park();
            }
            if !self.closing.load(Ordering::Acquire) {
                thread::park_timeout(BATCH_EVERY);
            }
            let closing = self.closing.load(Ordering::Acquire);
            mem::swap(&mut *self.waiting(), &mut batch);
            // The target counts what it loses.
            let _ = target.write_all(&batch);
            batch.clear();
            batch.shrink_to(KEPT_BYTES);
            if closing {
                return;
            }
        }
    }
}

impl LogQueue {
    /// Starts the thread that writes to the target; lines that do not fit the buffer are counted in `lost`.
    pub(super) fn start(
        target: impl Write + Send + 'static,
        lost: Arc<AtomicU64>,
    ) -> io::Result<(Self, LogWriter)> {
        let shared = Arc::new(Shared { waiting: Mutex::default(), closing: AtomicBool::new(false), lost });
        let writing = shared.clone();
        let thread =
            thread::Builder::new().name("log-writer".to_owned()).spawn(move || writing.write_to(target))?;
        let queue = Self { shared: shared.clone(), thread: thread.thread().clone() };
        Ok((queue, LogWriter { shared, thread }))
    }

    /// Takes a line in pieces. Never waits for the target.
    pub(super) fn push(&self, line: &[&[u8]]) {
        let length: usize = line.iter().map(|piece| piece.len()).sum();
        let mut waiting = self.shared.waiting();
        if waiting.len() + length > MAX_BYTES {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_first = waiting.is_empty();
        for piece in line {
            waiting.extend_from_slice(piece);
        }
        drop(waiting);
        if is_first {
            self.thread.unpark();
        }
    }
}

impl LogWriter {
    /// Writes what waits and ends the thread. May take as long as the target takes.
    pub(super) fn close(self) {
        self.shared.closing.store(true, Ordering::Release);
        self.thread.thread().unpark();
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// Takes a batch when somebody wants it.
    struct Slow(SyncSender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, batch: &[u8]) -> io::Result<usize> {
            self.0.send(batch.to_vec()).unwrap();
            Ok(batch.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn queue() -> (LogQueue, LogWriter, Receiver<Vec<u8>>, Arc<AtomicU64>) {
        let (target, batches) = sync_channel(0);
        let lost = Arc::<AtomicU64>::default();
        let (queue, writer) = LogQueue::start(Slow(target), lost.clone()).unwrap();
        (queue, writer, batches, lost)
    }

    #[test]
    fn a_target_that_takes_nothing_costs_what_the_buffer_cannot_hold_and_nobody_waits() {
        let (queue, writer, batches, lost) = queue();
        let line = vec![b'x'; 1 << 20];
        // What the thread may have taken, what the buffer holds, and one more.
        let mut pushed = 0;
        while lost.load(Ordering::Relaxed) == 0 {
            queue.push(&[&line, b"\n"]);
            pushed += 1;
        }
        let reader = thread::spawn(move || batches.iter().map(|batch| batch.len()).sum::<usize>());
        writer.close();
        drop(queue);
        let written = reader.join().unwrap();
        assert_eq!(written, (pushed - 1) * (line.len() + 1), "all but the one that was lost");
    }

    #[test]
    fn lines_of_many_threads_are_whole_and_there_at_the_end() {
        let (queue, writer, batches, lost) = queue();
        let reader = thread::spawn(move || batches.iter().flatten().collect::<Vec<_>>());
        thread::scope(|scope| {
            for name in [b"aaa", b"bbb", b"ccc"] {
                let queue = &queue;
                scope.spawn(move || (0..1000).for_each(|_| queue.push(&[name, b"\n"])));
            }
        });
        writer.close();
        let written = String::from_utf8(reader.join().unwrap()).unwrap();
        let count = |line| written.lines().filter(|written| *written == line).count();
        assert_eq!(["aaa", "bbb", "ccc"].map(count), [1000; 3]);
        assert_eq!(lost.load(Ordering::Relaxed), 0);
    }
}
