//! The console page's settings: where its links lead, and who may talk to the admin port from a browser.
use std::{collections::BTreeMap, str::FromStr};

use clap::Args;
use reqwest::Url;
use serde_json::{Value, json};

/// Settings of the console page. Of these variables an empty one is not an unset one: it takes the link away.
#[derive(Clone, Debug, Args)]
pub struct ConsoleSettings {
    /// Jaeger, as browsers reach it; empty: no link
    #[arg(long, env = "AGENT_LINK_JAEGER", default_value = "http://localhost:16686", global = true)]
    pub link_jaeger: Link,
    /// Grafana, as browsers reach it; empty: no link
    #[arg(long, env = "AGENT_LINK_GRAFANA", default_value = "http://localhost:3000", global = true)]
    pub link_grafana: Link,
    /// Prometheus, as browsers reach it; empty: no link
    #[arg(long, env = "AGENT_LINK_PROMETHEUS", default_value = "http://localhost:9090", global = true)]
    pub link_prometheus: Link,
    /// Kibana, as browsers reach it; empty: no link
    #[arg(long, env = "AGENT_LINK_KIBANA", default_value = "http://localhost:5601", global = true)]
    pub link_kibana: Link,
    /// The admin port, as browsers reach it; empty: a console without faults and live numbers [default: localhost]
    #[arg(long, env = "AGENT_LINK_ADMIN", global = true)]
    pub link_admin: Option<Link>,
    /// Origins, with commas between, whose pages may use the admin port [default: the API port of localhost]
    #[arg(long, env = "AGENT_CONSOLE_ORIGINS", value_delimiter = ',', global = true)]
    pub console_origins: Vec<Origin>,
}

/// What the variables of links begin with.
pub(crate) const LINK_VARIABLES: &str = "AGENT_LINK_";

/// A base URL without a slash at its end, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link(Option<Url>);

impl FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let url: Url = text.parse().map_err(|e| format!("{e} (for example http://localhost:3000)"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("must start with http:// or https:// and name a host".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return Err("must not have a user, a `?` or a `#`".to_owned());
        }
        Ok(Self(Some(url)))
    }
}

impl Link {
    fn as_str(&self) -> Option<&str> {
        self.0.as_ref().map(|url| url.as_str().trim_end_matches('/'))
    }
}

/// Scheme, host and port, as a browser writes them into the header `origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_end_matches('/');
        let origin = text.parse::<Url>().map(|url| url.origin().ascii_serialization());
        match origin {
            Ok(origin) if origin == text => Ok(Self(origin)),
            Ok(origin) if origin != "null" => Err(format!("must be an origin, as {origin}")),
            _ => Err("must be an origin, as http://localhost:8080".to_owned()),
        }
    }
}

/// What the page is told, and what the listeners tell browsers.
#[derive(Debug)]
pub struct Console {
    links: BTreeMap<&'static str, Option<String>>,
    admin_origin: Option<String>,
    origins: Vec<Origin>,
}

impl Console {
    /// For an agent that listens on these ports.
    pub fn new(settings: &ConsoleSettings, api_port: u16, admin_port: u16) -> Self {
        let at = |host: &str, port: u16| format!("http://{host}:{port}");
        let admin =
            settings.link_admin.clone().unwrap_or_else(|| Link(at("localhost", admin_port).parse().ok()));
        let links = [
            ("jaeger", &settings.link_jaeger),
            ("grafana", &settings.link_grafana),
            ("prometheus", &settings.link_prometheus),
            ("kibana", &settings.link_kibana),
            ("admin", &admin),
        ];
        let origins = if settings.console_origins.is_empty() {
            ["localhost", "127.0.0.1", "[::1]"].map(|host| Origin(at(host, api_port))).to_vec()
        } else {
            settings.console_origins.clone()
        };
        Self {
            links: links.into_iter().map(|(name, link)| (name, link.as_str().map(str::to_owned))).collect(),
            admin_origin: admin.0.as_ref().map(|url| url.origin().ascii_serialization()),
            origins,
        }
    }

    /// For the page.
    pub fn to_json(&self) -> Value {
        json!({ "links": self.links })
    }

    /// Whether pages of this origin may use the admin port.
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed.0 == origin)
    }

    /// The page's `content-security-policy`: its own files, this agent's two ports, and text that stays text.
    pub fn security_policy(&self) -> String {
        let admin = self.admin_origin.as_deref().unwrap_or_default();
        format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' {admin}; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'"
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::settings::Cli;

    fn console(args: &[&str]) -> Console {
        let args = ["example-agent"].iter().chain(args);
        Console::new(&Cli::parse_from(args).settings.console, 8080, 8000)
    }

    #[test]
    fn links_have_defaults_and_can_be_taken_away() {
        let links = console(&["--link-kibana=", "--link-grafana=https://g.example/grafana/"]).to_json();
        let expected = json!({
            "jaeger": "http://localhost:16686",
            "grafana": "https://g.example/grafana",
            "prometheus": "http://localhost:9090",
            "kibana": null,
            "admin": "http://localhost:8000",
        });
        assert_eq!(links["links"], expected);
    }

    #[test]
    fn only_the_consoles_own_origins_may_use_the_admin_port() {
        let default = console(&[]);
        for origin in ["http://localhost:8080", "http://127.0.0.1:8080"] {
            assert!(default.allows(origin));
        }
        for origin in
            ["http://localhost:8000", "https://localhost:8080", "http://evil.example:8080", "null", ""]
        {
            assert!(!default.allows(origin), "{origin}");
        }
        let set = console(&["--console-origins=https://agent.example,http://10.0.0.1:8080/"]);
        assert!(set.allows("https://agent.example") && set.allows("http://10.0.0.1:8080"));
        assert!(!set.allows("http://localhost:8080"));
        for bad in ["*", "null", "agent.example", "https://agent.example/console", "file:///x"] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }

    #[test]
    fn without_an_admin_port_the_page_may_not_talk_to_one() {
        assert!(console(&[]).security_policy().contains("connect-src 'self' http://localhost:8000;"));
        assert!(console(&["--link-admin="]).security_policy().contains("connect-src 'self' ;"));
    }
}
