//! What is broken, in which way, for how long.

use std::{fmt, str::FromStr, time::Duration};

use super::parts::PARTS;

/// A way in which something breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its process is ended as the kernel would, and the engine starts it again.
    Kill,
    /// It stands still, with all its connections open.
    Pause,
    /// It gets a twentieth of a processor.
    Slow,
    /// It is taken off the network.
    Partition,
    /// The disk of an agent's log, or of Elasticsearch, is full.
    Full,
    /// The clock of a caller is hours off.
    Skew,
    /// All containers are started anew, as after the machine's own restart.
    Restart,
    /// A stack of its own, of an earlier commit, is brought up to the present one.
    Upgrade,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Kill,
        Self::Pause,
        Self::Slow,
        Self::Partition,
        Self::Full,
        Self::Skew,
        Self::Restart,
        Self::Upgrade,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Slow => "slow",
            Self::Partition => "partition",
            Self::Full => "full",
            Self::Skew => "skew",
            Self::Restart => "restart",
            Self::Upgrade => "upgrade",
        }
    }

    /// What it befalls, where that is not each service.
    fn others(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Kill | Self::Pause | Self::Slow | Self::Partition => None,
            Self::Full => Some(&[LOG_DISK, "elasticsearch"]),
            Self::Skew => Some(&["caller"]),
            Self::Restart | Self::Upgrade => Some(&["stack"]),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("must be one of {}", all()))
    }
}

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Until people have been told, where they are to be; else for [`HOLD`].
    UntilTold,
    /// So long.
    For(Duration),
}

/// The disk of an agent's log, of a second agent beside the stack's.
pub const LOG_DISK: &str = "log-disk";

/// How long a fault lasts that nobody is told of.
pub const HOLD: Duration = Duration::from_secs(10);

/// One fault of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// What happens.
    pub kind: Kind,
    /// To whom: a service, or `log-disk`, `caller`, `stack`.
    pub target: &'static str,
    /// For how long.
    pub hold: Hold,
}

impl Case {
    const fn of(kind: Kind, target: &'static str) -> Self {
        Self { kind, target, hold: Hold::UntilTold }
    }

    /// As it is counted and skipped by.
    pub fn id(&self) -> String {
        format!("chaos::{}::{}", self.kind, self.target)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.target)
    }
}

/// All faults of all parts, what hurts most last.
pub fn all() -> Vec<Case> {
    let each = |kind: Kind| match kind.others() {
        Some(targets) => targets.iter().map(|target| Case::of(kind, target)).collect::<Vec<_>>(),
        None => PARTS.iter().map(|part| Case::of(kind, part.service)).collect(),
    };
    Kind::ALL.into_iter().flat_map(each).collect()
}

/// The short form: what says most in its time, and is in no other test. The others stop services and wait for their alerts.
pub fn quick() -> Vec<Case> {
    vec![
        Case::of(Kind::Kill, "example-agent"),
        Case::of(Kind::Pause, "example-agent"),
        Case { hold: Hold::For(Duration::from_secs(8)), ..Case::of(Kind::Pause, "simulators-llm") },
        Case::of(Kind::Kill, "prometheus"),
        Case::of(Kind::Kill, "alertmanager"),
        Case::of(Kind::Partition, "jaeger"),
        Case::of(Kind::Partition, "elasticsearch"),
        Case::of(Kind::Kill, "logstash"),
        Case::of(Kind::Full, LOG_DISK),
        Case::of(Kind::Skew, "caller"),
    ]
}

/// Those of a kind and of a target, where one is named.
pub fn chosen(cases: Vec<Case>, kind: Option<Kind>, target: Option<&str>) -> Vec<Case> {
    let fits = |case: &Case| {
        kind.is_none_or(|kind| case.kind == kind) && target.is_none_or(|name| case.target == name)
    };
    cases.into_iter().filter(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_killed_paused_slowed_and_partitioned() {
        let all = all();
        assert_eq!(all.len(), 4 * PARTS.len() + 5);
        let agent = chosen(all.clone(), None, Some("example-agent"));
        assert_eq!(agent.iter().map(|case| case.kind).collect::<Vec<_>>(), Kind::ALL[..4]);
        assert_eq!(chosen(all.clone(), Some(Kind::Full), None).len(), 2);
        assert!(chosen(all.clone(), Some(Kind::Full), Some("jaeger")).is_empty());
        // The short form has nothing of its own.
        for case in quick() {
            assert!(all.iter().any(|one| (one.kind, one.target) == (case.kind, case.target)), "{case}");
        }
    }

    #[test]
    fn a_kind_is_read_by_its_name() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("flood".parse::<Kind>().unwrap_err().contains("kill, pause"));
    }
}
