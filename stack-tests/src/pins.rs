//! The versions of images: where they are pinned, and moving one of them on.

use std::{fmt, fs, path::Path};

use regex::Regex;

/// One image's default in `docker-compose.yml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The variable that names another image: `PROMETHEUS_IMAGE`.
    pub variable: String,
    /// The image without its tag: `prom/prometheus`.
    pub repository: String,
    /// `v3.13.3`.
    pub tag: String,
}

impl Pin {
    /// What people call it: the variable without `_IMAGE`, as the service is called.
    pub fn name(&self) -> String {
        self.variable.trim_end_matches("_IMAGE").to_lowercase().replace('_', "-")
    }

    /// What Compose pulls.
    pub fn image(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

/// How the names of the kit's own images begin.
const OWN: &str = "agent-kit/";

/// All pins of a Compose file's text, in its order.
pub fn of_compose(text: &str) -> Vec<Pin> {
    let pin = Regex::new(r"\$\{([A-Z_]+_IMAGE):-([^}:]+):([^}]+)\}").expect("a constant pattern");
    let mut pins: Vec<Pin> = Vec::new();
    for found in pin.captures_iter(text) {
        let [variable, repository, tag] = [1, 2, 3].map(|group| found[group].to_owned());
        // What is built here has no version to move on.
        if !repository.starts_with(OWN) && pins.iter().all(|pin| pin.variable != variable) {
            pins.push(Pin { variable, repository, tag });
        }
    }
    pins
}

/// The pins of a checkout.
///
/// # Errors
/// One line: the Compose file cannot be read.
pub fn of_checkout(repository: &Path) -> Result<Vec<Pin>, String> {
    let path = repository.join("docker-compose.yml");
    fs::read_to_string(&path).map(|text| of_compose(&text)).map_err(|e| format!("{}: {e}", path.display()))
}

/// The files that name an image with its tag. Kubernetes' follow by what [`crate::kubernetes`] writes. A stand-in (`images/`) keeps its
/// own version: package registries do not have every one.
const FILES: [&str; 4] = ["docker-compose.yml", ".env.example", "Dockerfile", "images/official.toml"];
/// Whose images speak to each other in one version only, and what they are called together.
const TOGETHER: (&str, &str) = ("docker.elastic.co/", "elastic");

/// A pin that is to name a newer version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bump {
    /// As it is.
    pub pin: Pin,
    /// The tag that it is to have: the prefix and the suffix stay.
    pub tag: String,
}

/// What it means to bring an image to a version: the pins that change, more than one where images go together.
///
/// `renovate` is the text of `renovate.json`, which may say of an image which versions it must not have, and why.
///
/// # Errors
/// One line: an image that is not pinned, a version that is none, or is not newer, or is not allowed.
pub fn plan(pins: &[Pin], image: &str, version: &str, renovate: &str) -> Result<Vec<Bump>, String> {
    let named: Vec<_> = pins.iter().filter(|pin| pin.name() == image).collect();
    let together = |pin: &&Pin| pin.repository.starts_with(TOGETHER.0);
    let named: Vec<_> = if image == TOGETHER.1 || named.iter().any(together) {
        pins.iter().filter(together).collect()
    } else {
        named
    };
    if named.is_empty() {
        let known: Vec<_> = pins.iter().map(Pin::name).chain([TOGETHER.1.to_owned()]).collect();
        return Err(format!("no image is called {image:?}: there are {}", known.join(", ")));
    }
    let bump = |pin: &Pin| {
        let Some((prefix, old, suffix)) = version_of(&pin.tag) else {
            return Err(format!(
                "{} is pinned by name, not by version: there is nothing to count up",
                pin.image()
            ));
        };
        let wanted = version_of(version.trim_start_matches('v')).filter(|(_, _, rest)| rest.is_empty());
        let Some((_, new, _)) = wanted.filter(|(_, new, _)| new.len() == old.len()) else {
            return Err(format!(
                "{version:?} is no version of {} numbers, as that of {} is",
                old.len(),
                pin.image()
            ));
        };
        if new <= old {
            return Err(format!("{version} is not newer than {}", pin.image()));
        }
        if let Some((allowed, why)) = limit(renovate, &pin.repository)
            && !allowed.holds(&new)
        {
            return Err(format!("{} must be {allowed} (renovate.json): {why}", pin.repository));
        }
        let numbers: Vec<_> = new.iter().map(u64::to_string).collect();
        Ok(Bump { pin: pin.clone(), tag: format!("{prefix}{}{suffix}", numbers.join(".")) })
    };
    named.into_iter().map(bump).collect()
}

/// `v3.13.3` or `1.95.0-slim-bookworm`: what comes before the numbers, the numbers, and what comes after.
fn version_of(tag: &str) -> Option<(&str, Vec<u64>, &str)> {
    let unprefixed = tag.trim_start_matches('v');
    let end = unprefixed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unprefixed.len());
    let numbers = unprefixed[..end].split('.').map(|number| number.parse().ok());
    Some((&tag[..tag.len() - unprefixed.len()], numbers.collect::<Option<_>>()?, &unprefixed[end..]))
}

/// Which versions `renovate.json` allows: `<13` or `<=2.20.0`.
struct Allowed {
    inclusive: bool,
    numbers: Vec<u64>,
}

impl Allowed {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('<')?;
        let (inclusive, version) = text.strip_prefix('=').map_or((false, text), |version| (true, version));
        let numbers = version.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        Some(Self { inclusive, numbers })
    }

    fn holds(&self, version: &[u64]) -> bool {
        version < self.numbers.as_slice() || (self.inclusive && version == self.numbers)
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.numbers.iter().map(u64::to_string).collect();
        write!(f, "{} {}", if self.inclusive { "at most" } else { "below" }, numbers.join("."))
    }
}

/// Which versions an image may have, and why.
fn limit(renovate: &str, repository: &str) -> Option<(Allowed, String)> {
    let config: serde_json::Value = serde_json::from_str(renovate).ok()?;
    config["packageRules"].as_array()?.iter().find_map(|rule| {
        let names = rule["matchPackageNames"].as_array()?;
        let allowed = Allowed::parse(rule["allowedVersions"].as_str()?)?;
        let why = rule["description"].as_str().unwrap_or_default().to_owned();
        names.iter().any(|name| name == repository).then_some((allowed, why))
    })
}

/// Writes the new tags wherever the old ones stand, and gives back the names of the files that changed.
///
/// # Errors
/// One line: a file that cannot be read or written.
pub fn apply(repository: &Path, bumps: &[Bump]) -> Result<Vec<&'static str>, String> {
    let mut changed = Vec::new();
    let mut edit = |file: &'static str, edit: &dyn Fn(String) -> String| {
        let path = repository.join(file);
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let edited = edit(text.clone());
        if edited != text {
            fs::write(&path, edited).map_err(|e| format!("{}: {e}", path.display()))?;
            changed.push(file);
        }
        Ok::<_, String>(())
    };
    for file in FILES {
        edit(file, &|text| {
            bumps.iter().fold(text, |text, Bump { pin, tag }| {
                text.replace(&pin.image(), &format!("{}:{tag}", pin.repository))
            })
        })?;
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPOSE: &str = "image: ${PROMETHEUS_IMAGE:-prom/prometheus:v3.13.3}\n\
        image: &e ${ELASTICSEARCH_IMAGE:-docker.elastic.co/elasticsearch/elasticsearch:9.5.3}\n\
        image: ${KIBANA_IMAGE:-docker.elastic.co/kibana/kibana:9.5.3}\n\
        image: ${GRAFANA_IMAGE:-grafana/grafana:12.4.10}\n\
        image: ${JAEGER_IMAGE:-jaegertracing/jaeger:2.13.0}\n\
        image: ${KIT_IMAGE:-agent-kit/kit:dev}\n\
        RUST_IMAGE: ${RUST_IMAGE:-rust:1.95.0-slim-bookworm}\n\
        RUNTIME_IMAGE: ${RUNTIME_IMAGE:-debian:bookworm-slim}\n";
    const RENOVATE: &str = r#"{ "packageRules": [ { "matchPackageNames": ["docker.elastic.co/**"] },
        { "description": "13 loses data sources.", "matchPackageNames": ["grafana/grafana"], "allowedVersions": "<13" },
        { "description": "2.21 drops an API.", "matchPackageNames": ["jaegertracing/jaeger"], "allowedVersions": "<=2.20.0" } ] }"#;

    fn tags(image: &str, version: &str) -> Result<Vec<String>, String> {
        let bumps = plan(&of_compose(COMPOSE), image, version, RENOVATE)?;
        Ok(bumps.into_iter().map(|bump| format!("{}:{}", bump.pin.repository, bump.tag)).collect())
    }

    #[test]
    fn a_newer_version_keeps_the_tags_form_and_takes_along_what_belongs_to_it() {
        assert_eq!(tags("prometheus", "3.14.0").unwrap(), ["prom/prometheus:v3.14.0"]);
        assert_eq!(tags("prometheus", "v3.13.10").unwrap(), ["prom/prometheus:v3.13.10"]);
        assert_eq!(tags("jaeger", "2.20.0").unwrap(), ["jaegertracing/jaeger:2.20.0"]);
        assert_eq!(tags("rust", "1.96.0").unwrap(), ["rust:1.96.0-slim-bookworm"]);
        let elastic =
            ["docker.elastic.co/elasticsearch/elasticsearch:9.6.0", "docker.elastic.co/kibana/kibana:9.6.0"];
        for name in ["elastic", "kibana"] {
            assert_eq!(tags(name, "9.6.0").unwrap(), elastic);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_one_line() {
        for (image, version, said) in [
            ("promotheus", "3.14.0", "no image is called"),
            ("", "3.14.0", "no image is called"),
            ("prometheus", "3.13.3", "not newer"),
            ("prometheus", "3.9.12", "not newer"),
            ("prometheus", "3.14", "no version of 3 numbers"),
            ("prometheus", "3.14.0-rc.0", "no version of 3 numbers"),
            ("prometheus", "latest", "no version of 3 numbers"),
            ("runtime", "13.0.0", "pinned by name"),
            ("grafana", "13.0.1", "must be below 13 (renovate.json): 13 loses data sources"),
            ("jaeger", "2.20.1", "must be at most 2.20.0 (renovate.json): 2.21 drops an API"),
            ("jaeger", "2.21.0", "2.21 drops an API"),
            ("jaeger", "3.0.0", "2.21 drops an API"),
            ("kit", "1.0.0", "no image is called"),
        ] {
            let error = tags(image, version).unwrap_err();
            assert!(error.contains(said) && !error.contains('\n'), "{image} {version}: {error}");
        }
    }
}
