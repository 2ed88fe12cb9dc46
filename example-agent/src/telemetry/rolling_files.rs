//! Files `agent.YYYY-MM-DD-HH.ndjson` (UTC) in a directory. An hour with many lines has further ones, `….part2.ndjson` and
//! so on, so that there is always an old one that can make room: all together they never take more than they may.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

/// A file is full with this part of what all may take.
const PARTS: u64 = 8;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The newest hours, by the names of the files.
    pub hours: usize,
    /// What all files may take, in bytes.
    pub bytes: u64,
}

/// How many files were removed, whether or not somebody had read them.
#[derive(Clone, Debug, Default)]
pub struct RemovedFiles {
    /// Of hours that are over for long enough.
    pub age: Arc<AtomicU64>,
    /// To make room.
    pub size: Arc<AtomicU64>,
}

/// The name of a file, in the order of time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    /// `YYYY-MM-DD-HH`.
    hour: String,
    /// From 1.
    part: u64,
}

impl Name {
    /// None for what is no file of ours.
    fn parse(name: &str) -> Option<Self> {
        let middle = name.strip_prefix("agent.")?.strip_suffix(".ndjson")?;
        let (hour, part) = match middle.split_once(".part") {
            Some((hour, part)) => (hour, part.parse().ok()?),
            None => (middle, 1),
        };
        let name = Self { hour: hour.to_owned(), part };
        let is_hour = hour.len() == 13 && hour.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        (is_hour && name.to_string() == format!("agent.{middle}.ndjson")).then_some(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            1 => write!(f, "agent.{}.ndjson", self.hour),
            part => write!(f, "agent.{}.part{part}.ndjson", self.hour),
        }
    }
}

/// The file that is written, and what is known of the others.
pub(super) struct RollingFiles {
    directory: PathBuf,
    limits: Limits,
    removed: RemovedFiles,
    name: Name,
    file: File,
    length: u64,
    /// The last write did not end in the middle of a line.
    at_line_start: bool,
    /// The others, with their lengths.
    others: BTreeMap<Name, u64>,
}

impl RollingFiles {
    /// Goes on with this hour's newest file. Makes the directory where there is none.
    pub(super) fn open(directory: PathBuf, limits: Limits, removed: RemovedFiles) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        Self::open_at(directory, limits, removed, hour(SystemTime::now()))
    }

    fn open_at(directory: PathBuf, limits: Limits, removed: RemovedFiles, hour: String) -> io::Result<Self> {
        // Looked at anew for each file: somebody may have tidied up by hand.
        let mut others = files(&directory)?;
        let newest = others.iter().rfind(|(name, _)| name.hour == hour);
        let part = newest.map_or(1, |(name, length)| name.part + u64::from(*length >= limits.bytes / PARTS));
        let name = Name { hour, part };
        let file = File::options().append(true).create(true).open(directory.join(name.to_string()))?;
        let length = file.metadata()?.len();
        others.remove(&name);
        let mut files = Self { directory, limits, removed, name, file, length, at_line_start: true, others };
        files.remove_old_hours()?;
        Ok(files)
    }

    fn write_at(&mut self, lines: &[u8], hour: String) -> io::Result<usize> {
        let full = self.limits.bytes / PARTS;
        if self.at_line_start && (self.length >= full || self.name.hour != hour) {
            *self = Self::open_at(self.directory.clone(), self.limits, self.removed.clone(), hour)?;
        }
        let lines = &lines[..whole_lines(lines, full.saturating_sub(self.length))];
        self.make_room(lines.len() as u64)?;
        let written = self.file.write(lines)?;
        self.length += written as u64;
        self.at_line_start = written == 0 || lines[written - 1] == b'\n';
        Ok(written)
    }

    fn remove_old_hours(&mut self) -> io::Result<()> {
        let hours: BTreeSet<_> = self.others.keys().chain([&self.name]).map(|name| &name.hour).collect();
        let Some(oldest_kept) = hours.into_iter().rev().nth(self.limits.hours - 1).cloned() else {
            return Ok(());
        };
        while let Some((name, _)) = self.others.first_key_value()
            && name.hour < oldest_kept
        {
            self.remove_oldest(&self.removed.age.clone())?;
        }
        Ok(())
    }

    fn make_room(&mut self, needed: u64) -> io::Result<()> {
        let mut taken = self.length + self.others.values().sum::<u64>();
        while taken + needed > self.limits.bytes
            && let Some((name, length)) = self.others.first_key_value()
        {
            let path = self.directory.join(name.to_string()).display().to_string();
            taken -= length;
            self.remove_oldest(&self.removed.size.clone())?;
            tracing::warn!(
                log_target = path,
                "the oldest log file is removed to make room, whether or not it was read"
            );
        }
        Ok(())
    }

    /// What cannot be removed is an error: to write on would take room that nobody has given.
    fn remove_oldest(&mut self, counter: &AtomicU64) -> io::Result<()> {
        let Some((name, _)) = self.others.first_key_value() else { return Ok(()) };
        match fs::remove_file(self.directory.join(name.to_string())) {
            Ok(()) => counter.fetch_add(1, Ordering::Relaxed),
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        self.others.pop_first();
        Ok(())
    }
}

impl Write for RollingFiles {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.write_at(lines, hour(SystemTime::now()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `YYYY-MM-DD-HH`, UTC.
fn hour(time: SystemTime) -> String {
    let time = humantime::format_rfc3339_seconds(time).to_string();
    time[.."YYYY-MM-DDTHH".len()].replace('T', "-")
}

fn files(directory: &Path) -> io::Result<BTreeMap<Name, u64>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().and_then(Name::parse) else { continue };
        match entry.metadata() {
            Ok(file) if file.is_file() => drop(files.insert(name, file.len())),
            Ok(_) => {}
            // Somebody tidies up by hand.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// How many bytes the lines take that fit into so many, and at least the first.
fn whole_lines(lines: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX).min(lines.len());
    let is_end = |byte: &u8| *byte == b'\n';
    let fitting = lines[..room].iter().rposition(is_end);
    fitting.or_else(|| lines.iter().position(is_end)).map_or(lines.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { hours: 2, bytes: 800 };

    struct Written {
        directory: tempfile::TempDir,
        removed: RemovedFiles,
    }

    impl Written {
        fn new() -> Self {
            Self { directory: tempfile::tempdir().unwrap(), removed: RemovedFiles::default() }
        }

        fn open(&self, hour: &str) -> RollingFiles {
            let directory = self.directory.path().to_owned();
            RollingFiles::open_at(directory, LIMITS, self.removed.clone(), hour.to_owned()).unwrap()
        }

        fn put(&self, name: &str, content: &str) {
            fs::write(self.directory.path().join(name), content).unwrap();
        }

        /// All files in the order of time, with what is in them.
        fn files(&self) -> Vec<(String, String)> {
            let names = files(self.directory.path()).unwrap().into_keys().map(|name| name.to_string());
            names
                .map(|name| (name.clone(), fs::read_to_string(self.directory.path().join(name)).unwrap()))
                .collect()
        }

        fn names(&self) -> Vec<String> {
            self.files().into_iter().map(|(name, _)| name).collect()
        }

        fn removed(&self) -> (u64, u64) {
            (self.removed.age.load(Ordering::Relaxed), self.removed.size.load(Ordering::Relaxed))
        }
    }

    fn write_all(files: &mut RollingFiles, mut lines: &[u8], hour: &str) {
        while !lines.is_empty() {
            lines = &lines[files.write_at(lines, hour.to_owned()).unwrap()..];
        }
    }

    /// Lines of five bytes.
    fn numbered(lines: std::ops::Range<u32>) -> String {
        lines.map(|line| format!("{line:04}\n")).collect::<Vec<_>>().concat()
    }

    #[test]
    fn a_burst_takes_no_more_room_than_there_is_and_the_newest_lines_stay_whole() {
        let written = Written::new();
        for name in ["audit.2026-11-24.ndjson", "agent.log", "agent.2026-11-24-07.part1.ndjson"] {
            written.put(name, &"x".repeat(800));
        }
        written.put("agent.2026-11-24-09.ndjson", &"old\n".repeat(50));
        let hour = "2026-11-24-10";
        let mut files = written.open(hour);
        for batch in 0..100 {
            let lines = numbered(batch * 10..batch * 10 + 10);
            write_all(&mut files, lines.as_bytes(), hour);
            let taken: usize = written.files().iter().map(|(_, lines)| lines.len()).sum();
            assert!(taken as u64 <= LIMITS.bytes, "{taken}");
        }
        let files = written.files();
        let kept: String = files.iter().map(|(_, lines)| lines.as_str()).collect();
        let all = numbered(0..1000);
        assert!(all.ends_with(&kept), "{kept}");
        assert!(files.iter().all(|(_, lines)| lines.ends_with('\n')));
        // At most the oldest part is missing of what there is room for.
        assert!(kept.len() as u64 > LIMITS.bytes - 2 * LIMITS.bytes / PARTS, "{}", kept.len());
        assert_eq!(files.last().unwrap().0, "agent.2026-11-24-10.part50.ndjson");
        assert_eq!(written.removed(), (0, 51 - files.len() as u64));
        for name in ["audit.2026-11-24.ndjson", "agent.log", "agent.2026-11-24-07.part1.ndjson"] {
            assert!(written.directory.path().join(name).exists(), "{name}");
        }
    }

    #[test]
    fn an_hour_has_its_own_files_and_is_removed_with_all_of_them() {
        let written = Written::new();
        let mut files = written.open("2026-11-24-22");
        write_all(&mut files, &b"1234567890\n".repeat(15), "2026-11-24-22");
        write_all(&mut files, b"1\n", "2026-11-24-23");
        let two_hours =
            ["agent.2026-11-24-22.ndjson", "agent.2026-11-24-22.part2.ndjson", "agent.2026-11-24-23.ndjson"];
        assert_eq!(written.names(), two_hours);
        write_all(&mut files, b"2\n", "2026-11-25-00");
        assert_eq!(written.names(), ["agent.2026-11-24-23.ndjson", "agent.2026-11-25-00.ndjson"]);
        assert_eq!(written.removed(), (2, 0));
    }

    #[test]
    fn a_restart_goes_on_with_the_newest_file_and_a_clock_that_was_put_back_with_an_older_one() {
        let written = Written::new();
        let hour = "2026-11-24-10";
        for (name, length) in [("agent.2026-11-24-10.ndjson", 100), ("agent.2026-11-24-10.part9.ndjson", 100)]
        {
            written.put(name, &"x".repeat(length));
        }
        written.put("agent.2026-11-24-10.part10.ndjson", "first\n");
        write_all(&mut written.open(hour), b"second\n", hour);
        assert_eq!(written.files()[2].1, "first\nsecond\n");
        written.put("agent.2026-11-24-10.part10.ndjson", &"x".repeat(100));
        let mut files = written.open(hour);
        write_all(&mut files, b"third\n", hour);
        assert_eq!(
            written.files()[3],
            ("agent.2026-11-24-10.part11.ndjson".to_owned(), "third\n".to_owned())
        );
        write_all(&mut files, b"before\n", "2026-11-24-09");
        assert_eq!(written.files()[0], ("agent.2026-11-24-09.ndjson".to_owned(), "before\n".to_owned()));
    }

    #[test]
    fn a_line_is_never_in_two_files() {
        assert_eq!(whole_lines(b"12\n45\n78", 7), 6);
        assert_eq!(whole_lines(b"12\n45\n", 0), 3);
        assert_eq!(whole_lines(b"1234567\n9\n", 3), 8);
        // The rest of a line that was written in part has no end yet.
        assert_eq!(whole_lines(b"12", 1), 2);
        let written = Written::new();
        let mut files = written.open("2026-11-24-10");
        write_all(&mut files, &[b'x'; 150], "2026-11-24-10");
        write_all(&mut files, b"x\n", "2026-11-24-11");
        assert_eq!(
            written.files(),
            [("agent.2026-11-24-10.ndjson".to_owned(), format!("{}\n", "x".repeat(151)))]
        );
    }

    #[test]
    fn the_hour_is_that_of_utc() {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_764_028_799);
        assert_eq!(hour(time), "2025-11-24-23");
    }
}
