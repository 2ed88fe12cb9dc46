//! Writes what of `deploy/kubernetes` is made from other files of the kit, and the schemas that it is checked with.
//!
//! The schemas come out of Go modules, which have them under free licences, and are renewed by hand:
//!
//! ```sh
//! go mod download k8s.io/kubernetes@v1.36.3 github.com/prometheus-operator/prometheus-operator@v0.85.0
//! cd "$(go env GOMODCACHE)" && crds=github.com/prometheus-operator/prometheus-operator@v0.85.0/example/prometheus-operator-crd
//! kubernetes schemas --source 'Kubernetes v1.36.3, …' --source 'prometheus-operator v0.85.0, …' \
//!   k8s.io/kubernetes@v1.36.3/api/openapi-spec/swagger.json "$crds"/monitoring.coreos.com_{servicemonitors,prometheusrules}.yaml
//! ```

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::{Parser, Subcommand};
use stack_tests::{
    kubernetes::{self, schemas::Schemas},
    yaml,
};

/// The kinds of Kubernetes' own that the manifests use.
const KINDS: [&str; 10] = [
    "v1 ConfigMap",
    "v1 Namespace",
    "v1 Secret",
    "v1 Service",
    "v1 ServiceAccount",
    "apps/v1 Deployment",
    "autoscaling/v2 HorizontalPodAutoscaler",
    "batch/v1 Job",
    "networking.k8s.io/v1 NetworkPolicy",
    "policy/v1 PodDisruptionBudget",
];

/// Writes the files of deploy/kubernetes that are made from others.
#[derive(Parser)]
#[command(name = "kubernetes", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Write what has changed, and say what that is
    Write {
        /// The top of the repository
        #[arg(default_value = ".")]
        repository: PathBuf,
    },
    /// Print the schemas, reduced to what the manifests use
    Schemas {
        /// Where all of it is from, with versions and licences, a line each
        #[arg(long = "source", required = true)]
        sources: Vec<String>,
        /// api/openapi-spec/swagger.json of Kubernetes
        openapi: PathBuf,
        /// Files with definitions of custom resources
        crds: Vec<PathBuf>,
    },
}

fn main() {
    let arguments = command_line::parse::<Arguments>();
    let result = match arguments.verb {
        Verb::Write { repository } => write(&repository),
        Verb::Schemas { sources, openapi, crds } => schemas(sources, &openapi, &crds),
    };
    if let Err(error) = result {
        command_line::fail::<Arguments>(1, &error);
    }
}

fn write(repository: &Path) -> Result<(), String> {
    let files = kubernetes::generate(repository).map_err(|e| e.to_string())?;
    let changed = kubernetes::write(repository, &files).map_err(|e| e.to_string())?;
    let mut out = std::io::stdout().lock();
    for path in &changed {
        writeln!(out, "{}/{}", kubernetes::FOLDER, path.display()).map_err(|e| e.to_string())?;
    }
    writeln!(out, "{} of {} files changed", changed.len(), files.len()).map_err(|e| e.to_string())
}

fn schemas(sources: Vec<String>, openapi: &Path, crds: &[PathBuf]) -> Result<(), String> {
    let text = fs::read_to_string(openapi).map_err(|e| format!("{}: {e}", openapi.display()))?;
    let openapi: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let mut schemas = Schemas::from_sources(sources);
    schemas.add_openapi(&openapi, &KINDS)?;
    for crd in crds {
        schemas.add_crd(&yaml::file(crd)?).map_err(|e| format!("{}: {e}", crd.display()))?;
    }
    write!(std::io::stdout(), "{}", schemas.to_text()).map_err(|e| e.to_string())
}
