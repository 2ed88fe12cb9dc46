//! Puts the documents that are searched for answers into the binary: the agent's own page and, where the kit is around
//! it, the kit's documentation.
use std::{
    env, fs,
    io::Result,
    path::{Path, PathBuf},
};

fn main() -> Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut files = vec![root.join("README.md")];
    let documentation = root.join("../docs");
    if documentation.is_dir() {
        println!("cargo::rerun-if-changed={}", documentation.display());
        markdown_in(&documentation, &mut files)?;
    }
    files.sort();
    let mut list = String::from("[\n");
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
        let name = file.strip_prefix(root.join("..")).or(file.strip_prefix(&root)).unwrap_or(file);
        list.extend([
            "    (\"",
            &name.display().to_string(),
            "\", include_str!(\"",
            &file.display().to_string(),
            "\")),\n",
        ]);
    }
    list += "]\n";
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("documents.rs"), list)
}

fn markdown_in(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            markdown_in(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
    Ok(())
}
