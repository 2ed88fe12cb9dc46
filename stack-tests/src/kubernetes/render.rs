//! kustomize, whichever of its two forms this machine has.

use std::path::Path;

use serde_json::Value;

use crate::{tools::Tool, yaml};

/// Puts the manifests together as `kubectl apply -k` does.
#[derive(Clone)]
pub struct Renderer {
    tool: Tool,
    arguments: &'static [&'static str],
}

impl Renderer {
    /// `kustomize`, or the one within `kubectl`.
    pub fn find() -> Option<Self> {
        let kustomize = Tool::find("kustomize").map(|tool| Self { tool, arguments: &["build"] });
        kustomize.or_else(|| Tool::find("kubectl").map(|tool| Self { tool, arguments: &["kustomize"] }))
    }

    /// The objects that a folder stands for. No flag loosens what it may read.
    ///
    /// # Errors
    /// What kustomize says.
    pub fn render(&self, folder: &Path) -> Result<Vec<Value>, String> {
        let folder_name = folder.display().to_string();
        let arguments: Vec<_> = self.arguments.iter().copied().chain([folder_name.as_str()]).collect();
        yaml::documents(&self.tool.run(folder, &arguments)?)
    }
}
