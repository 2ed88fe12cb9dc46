//! Where log lines end: a writer that loses lines rather than stopping anything, counts them, and recovers.
use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::AsFd as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::rolling_files::{Limits, RemovedFiles, RollingFiles};

/// How long a target that failed is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(3);

/// Writes whole lines to a target that may fail, be full or not be there.
pub(super) struct LineWriter<W, Open> {
    name: String,
    open: Open,
    target: Option<W>,
    retry_after: Duration,
    not_before: Option<Instant>,
    /// The last write ended in the middle of a line.
    torn: bool,
    written: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    lost_in_outage: u64,
}

impl<W: Write, Open: FnMut() -> io::Result<W>> LineWriter<W, Open> {
    fn new(name: String, open: Open, retry_after: Duration, lost: Arc<AtomicU64>) -> Self {
        Self {
            name,
            open,
            target: None,
            retry_after,
            not_before: None,
            torn: false,
            written: Arc::default(),
            lost,
            lost_in_outage: 0,
        }
    }

    /// Writes whole lines; what is left of them after an error is lost.
    fn write_lines(&mut self, lines: &mut &[u8]) -> io::Result<()> {
        if self.target.is_none() {
            self.target = Some((self.open)()?);
        }
        let Some(target) = &mut self.target else { return Ok(()) };
        if self.torn {
            // After a torn line the next starts on its own, so that only one is broken.
            target.write_all(b"\n")?;
            self.torn = false;
        }
        while !lines.is_empty() {
            match target.write(lines) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.torn = lines[written - 1] != b'\n';
                    *lines = &lines[written..];
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn failed(&mut self, error: &io::Error) {
        self.target = None;
        self.not_before = Some(Instant::now() + self.retry_after);
        if self.lost_in_outage == 0 {
            let seconds = self.retry_after.as_secs();
            tracing::warn!(
                log_target = self.name,
                error = %error,
                "log target cannot be written: its lines are lost and counted, trying again every {seconds} s"
            );
        }
    }
}

impl<W: Write, Open: FnMut() -> io::Result<W>> Write for LineWriter<W, Open> {
    /// Takes whole lines and never fails: there is nobody to tell but the counter.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let mut rest = lines;
        let may_try = self.not_before.is_none_or(|time| Instant::now() >= time);
        let result = if may_try { self.write_lines(&mut rest) } else { Ok(()) };
        // A line of which a part is written ends in what is left: it is one of those that are lost.
        let (written, lost) = (count(&lines[..lines.len() - rest.len()]), count(rest));
        self.written.fetch_add(written, Ordering::Relaxed);
        self.lost.fetch_add(lost, Ordering::Relaxed);
        match result {
            Ok(()) if may_try => {
                self.not_before = None;
                let lines_lost = std::mem::take(&mut self.lost_in_outage);
                if lines_lost > 0 {
                    tracing::info!(log_target = self.name, lines_lost, "log target is written again");
                }
            }
            Ok(()) => {}
            Err(error) => self.failed(&error),
        }
        self.lost_in_outage += lost;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many lines end in it. In pieces that a byte can count, which the compiler makes into a few instructions.
fn count(lines: &[u8]) -> u64 {
    let ends = |piece: &[u8]| piece.iter().map(|byte| u8::from(*byte == b'\n')).sum::<u8>();
    lines.chunks(u8::MAX.into()).map(|piece| u64::from(ends(piece))).sum()
}

/// Standard output, without the buffer of the standard library: lines that come together are one write.
pub(super) fn stdout(lost: Arc<AtomicU64>) -> impl Write + Send + 'static {
    let open = || io::stdout().as_fd().try_clone_to_owned().map(File::from);
    LineWriter::new("standard output".to_owned(), open, RETRY_AFTER, lost)
}

/// Files of their hour in a directory, as many as the limits allow. Counts what is in them, and which are removed.
pub(super) fn hourly(
    directory: PathBuf,
    limits: Limits,
    removed: RemovedFiles,
    written: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
) -> impl Write + Send + 'static {
    let name = directory.display().to_string();
    let open = move || RollingFiles::open(directory.clone(), limits, removed.clone());
    LineWriter { written, ..LineWriter::new(name, open, RETRY_AFTER, lost) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A disk with room for so many bytes.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Disk {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let room = disk.1.min(buf.len());
            if room == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            disk.0.extend_from_slice(&buf[..room]);
            disk.1 -= room;
            Ok(room)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_loses_counted_lines_and_breaks_only_one() {
        let disk = Disk::default();
        let lost = Arc::new(AtomicU64::new(0));
        let open = || Ok(disk.clone());
        let mut writer = LineWriter::new("disk".to_owned(), open, Duration::ZERO, lost.clone());
        let written_lines = writer.written.clone();
        disk.0.lock().unwrap().1 = 10;
        writer.write_all(&b"{\"a\":1}\n".repeat(3)).unwrap();
        writer.write_all(b"{\"a\":1}\n").unwrap();
        assert_eq!(lost.load(Ordering::Relaxed), 3);
        disk.0.lock().unwrap().1 = 1000;
        writer.write_all(b"{\"b\":2}\n").unwrap();
        writer.write_all(b"{\"c\":3}\n").unwrap();
        let written = String::from_utf8(disk.0.lock().unwrap().0.clone()).unwrap();
        assert_eq!(written, "{\"a\":1}\n{\"\n{\"b\":2}\n{\"c\":3}\n");
        assert_eq!(lost.load(Ordering::Relaxed), 3);
        assert_eq!(written_lines.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn dev_full_and_a_directory_that_cannot_be_are_left_alone_for_a_while() {
        let lost = Arc::new(AtomicU64::new(0));
        let mut opened = 0;
        let open = || {
            opened += 1;
            File::options().write(true).open("/dev/full")
        };
        let mut writer = LineWriter::new("full".to_owned(), open, Duration::from_hours(1), lost.clone());
        for _ in 0..3 {
            writer.write_all(b"{}\n").unwrap();
        }
        assert_eq!(opened, 1);
        assert_eq!(lost.load(Ordering::Relaxed), 3);

        let file = tempfile::NamedTempFile::new().unwrap();
        let limits = Limits { hours: 1, bytes: 1 << 20 };
        let (removed, written) = (RemovedFiles::default(), Arc::default());
        let mut writer = hourly(file.path().join("below"), limits, removed, written, lost.clone());
        writer.write_all(b"{}\n").unwrap();
        assert_eq!(lost.load(Ordering::Relaxed), 4);
    }
}
