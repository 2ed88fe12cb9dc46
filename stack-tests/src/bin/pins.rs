//! The images' versions: lists them, or brings one to a newer version in every place that names it.

use std::{fs, io::Write as _, path::PathBuf};

use clap::{Parser, Subcommand};
use command_line::{EXIT_USAGE, fail};
use stack_tests::{kubernetes, pins};

/// Lists the images' versions, or moves one of them on.
#[derive(Parser)]
#[command(name = "pins", version)]
struct Arguments {
    /// The top of the repository
    #[arg(long, default_value = ".")]
    repository: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Print what each image is called, and its version
    List,
    /// Write a newer version wherever the old one stands, and say where
    Set {
        /// The image, as `list` calls it; `elastic` for Elastic's, which go together
        image: String,
        /// Its new version, without prefix and suffix
        version: String,
    },
}

fn main() {
    let Arguments { repository, verb } = command_line::parse();
    let stop = |error: String| -> ! { fail::<Arguments>(1, &error) };
    let pins = pins::of_checkout(&repository).unwrap_or_else(|e| stop(e));
    let mut lines = Vec::new();
    match verb {
        Verb::List => lines.extend(pins.iter().map(|pin| format!("{} {}", pin.name(), pin.image()))),
        Verb::Set { image, version } => {
            // Without it there is no limit either.
            let renovate = fs::read_to_string(repository.join("renovate.json")).unwrap_or_default();
            let bumps = pins::plan(&pins, &image, &version, &renovate);
            let bumps = bumps.unwrap_or_else(|e| fail::<Arguments>(EXIT_USAGE, &e));
            for bump in &bumps {
                lines.push(format!("{} -> {}", bump.pin.image(), bump.tag));
            }
            let files = pins::apply(&repository, &bumps).unwrap_or_else(|e| stop(e));
            lines.extend(files.into_iter().map(str::to_owned));
            let made = kubernetes::generate(&repository);
            let changed = made.and_then(|files| kubernetes::write(&repository, &files));
            let changed = changed.unwrap_or_else(|e| stop(e.to_string()));
            lines.extend(changed.iter().map(|path| format!("{}/{}", kubernetes::FOLDER, path.display())));
        }
    }
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}").unwrap_or_else(|e| stop(e.to_string()));
    }
}
