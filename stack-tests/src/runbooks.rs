//! The pages in `docs/runbooks/`, as far as programs read them: queries, commands and links.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use regex::Regex;

/// First words of a code span that make it a command, rather than the name of something.
const PROGRAMS: [&str; 13] = [
    "amtool",
    "curl",
    "docker",
    "dmesg",
    "elastic",
    "fsck",
    "grep",
    "kill",
    "ln",
    "make",
    "promtool",
    "sudo",
    "systemctl",
];

/// A runbook.
#[derive(Debug)]
pub struct Page {
    /// The name of its alert.
    pub name: String,
    /// The file it was read from.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

impl Page {
    /// Reads all runbooks of a checkout, sorted by name.
    ///
    /// # Errors
    /// The file that cannot be read.
    pub fn all(repository: &Path) -> Result<Vec<Self>, String> {
        let folder = repository.join("docs/runbooks");
        let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let mut pages = Vec::new();
        for entry in entries {
            let path = entry.map_err(|e| e.to_string())?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                pages.push(Self { name, path, text });
            }
        }
        pages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(pages)
    }

    /// Its fenced blocks of one language, without their indentation.
    fn blocks(&self, language: &str) -> Vec<String> {
        let mut blocks = Vec::new();
        let mut open: Option<(usize, bool, String)> = None;
        for line in self.text.lines() {
            let trimmed = line.trim_start();
            match (&mut open, trimmed.strip_prefix("```")) {
                (None, Some(named)) => {
                    open = Some((line.len() - trimmed.len(), named.trim() == language, String::new()));
                }
                (Some(_), Some(_)) => {
                    let (_, wanted, block) = open.take().expect("matched above");
                    blocks.extend(wanted.then_some(block));
                }
                (Some((indentation, _, block)), None) => {
                    block.push_str(line.get(*indentation..).unwrap_or_default());
                    block.push('\n');
                }
                (None, None) => {}
            }
        }
        blocks
    }

    /// Its PromQL queries.
    pub fn queries(&self) -> Vec<String> {
        self.blocks("promql")
    }

    /// Its commands in the order of the page: those of the blocks, then those in the text.
    ///
    /// # Errors
    /// A block that Bash cannot read.
    pub fn commands(&self) -> Result<Vec<String>, String> {
        let mut commands = Vec::new();
        for block in self.blocks("sh") {
            commands.extend(split(&block).map_err(|e| format!("{}: {e}", self.name))?);
        }
        commands.extend(self.spans().into_iter().filter(|span| is_command(span)));
        Ok(commands)
    }

    /// What stands in back quotes outside of blocks. Line ends count as spaces.
    fn spans(&self) -> Vec<String> {
        let prose = regex(r"(?s)```.*?```").replace_all(&self.text, "").replace('\n', " ");
        let spaces = regex(" +");
        let span = |found: regex::Captures<'_>| spaces.replace_all(&found[1], " ").into_owned();
        regex("`([^`]+)`").captures_iter(&prose).map(span).collect()
    }

    /// Where its links lead.
    pub fn links(&self) -> Vec<String> {
        regex(r"\]\(([^)]+)\)").captures_iter(&self.text).map(|found| found[1].to_owned()).collect()
    }
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

/// Whether a code span is a command with at least one argument.
fn is_command(span: &str) -> bool {
    let mut words = span.split_whitespace().skip_while(|word| is_assignment(word));
    words.next().is_some_and(|first| PROGRAMS.contains(&first)) && words.next().is_some()
}

/// Whether a word sets a variable for the command after it.
pub fn is_assignment(word: &str) -> bool {
    regex("^[A-Za-z_][A-Za-z0-9_]*=").is_match(word)
}

/// Whether a command defines a shell function, which the commands after it use.
pub fn is_definition(command: &str) -> bool {
    regex(r"^[a-z_]+\(\) \{").is_match(command)
}

/// The commands of a block: lines are joined until Bash can read them.
///
/// # Errors
/// What is left when the block ends.
fn split(block: &str) -> Result<Vec<String>, String> {
    let mut commands = Vec::new();
    let mut command = String::new();
    for line in block.lines() {
        if !command.is_empty() {
            command.push('\n');
        }
        command.push_str(line);
        let goes_on = command.ends_with('\\') || command.ends_with('|');
        if !command.trim().is_empty() && !goes_on && is_readable(&command)? {
            commands.push(std::mem::take(&mut command));
        }
    }
    if command.trim().is_empty() { Ok(commands) } else { Err(format!("Bash cannot read: {command}")) }
}

/// Whether Bash can read a command (`bash -n`).
///
/// # Errors
/// There is no Bash.
pub fn is_readable(command: &str) -> Result<bool, String> {
    let mut bash = Command::new("bash");
    bash.args(["-n", "-c", command]).stdin(Stdio::null()).stderr(Stdio::null());
    bash.status().map(|status| status.success()).map_err(|e| format!("bash: {e}"))
}

/// A command's words, by pipeline and list: `a 'b c' | d && e` has three parts. Quotes are removed, expansions stay as they are.
pub fn parts(command: &str) -> Vec<Vec<String>> {
    let mut parts = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = command.replace("\\\n", " ").chars().collect::<Vec<_>>().into_iter().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ' | '\n' | '|' | ';' | '&') => {
                parts.last_mut().expect("never empty").extend(word.take());
                if character != ' ' {
                    characters.next_if_eq(&character);
                    parts.push(Vec::new());
                }
            }
            _ => word.get_or_insert_default().push(character),
        }
    }
    parts.last_mut().expect("never empty").extend(word);
    parts.retain(|part| !part.is_empty());
    parts
}

/// The services that a part of a command names, where it is one of `docker compose`; with them what it executes there.
#[derive(Debug, PartialEq, Eq)]
pub struct Compose {
    /// Such as `up`.
    pub verb: String,
    /// The services.
    pub services: Vec<String>,
    /// The program that `exec` and `run` start in the service.
    pub program: Option<String>,
}

impl Compose {
    /// Options with a value in the next word.
    const WITH_VALUE: [&str; 3] = ["--tail", "--entrypoint", "--since"];

    /// Reads the words of a part, assignments before it included.
    pub fn parse(part: &[String]) -> Option<Self> {
        let mut words = part.iter().map(String::as_str).skip_while(|word| is_assignment(word));
        (words.next() == Some("docker") && words.next() == Some("compose")).then_some(())?;
        let verb = words.next()?.to_owned();
        let mut entrypoint = None;
        let mut named = Vec::new();
        while let Some(word) = words.next() {
            if Self::WITH_VALUE.contains(&word) {
                let value = words.next();
                entrypoint = if word == "--entrypoint" { value } else { entrypoint };
            } else if !word.starts_with('-') {
                named.push(word.to_owned());
                if ["exec", "run"].contains(&verb.as_str()) {
                    break;
                }
            }
        }
        let program = entrypoint.or_else(|| words.next()).map(str::to_owned);
        Some(Self { verb, services: named, program })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page { name: "A".into(), path: "A.md".into(), text: text.into() }
    }

    #[test]
    fn commands_are_those_of_blocks_and_of_code_spans() {
        let page = page(
            "```sh\na 'b\n  c' |\n  d\ne \\\n  f\n```\n\n`docker` and `docker compose up -d\n  x`, `X=1 make y`, `up{job=\"x\"}`\n\n\
            - item\n\n  ```sh\n  g\n  ```\n\n```promql\nup\n```\n",
        );
        assert_eq!(
            page.commands().unwrap(),
            ["a 'b\n  c' |\n  d", "e \\\n  f", "g", "docker compose up -d x", "X=1 make y"]
        );
        assert_eq!(page.queries(), ["up\n"]);
        assert!(split("a 'b\n").is_err());
    }

    #[test]
    fn parts_have_words_without_quotes() {
        let parts = parts("A=1 docker compose exec -T x sh -c 'a | b' | jq \"c\" && d; e");
        assert_eq!(parts.len(), 4);
        assert_eq!(parts[0].last().unwrap(), "a | b");
        assert_eq!(parts[1], ["jq", "c"]);
    }

    #[test]
    fn compose_has_services_and_programs() {
        let parse = |command: &str| Compose::parse(&parts(command)[0]);
        let compose = parse("X=1 docker compose run --rm --entrypoint sh logstash -c 'rm a'").unwrap();
        assert_eq!((compose.services, compose.program), (vec!["logstash".to_owned()], Some("sh".to_owned())));
        let compose = parse("docker compose exec -T a df -h /").unwrap();
        assert_eq!((compose.services, compose.program), (vec!["a".to_owned()], Some("df".to_owned())));
        let compose = parse("docker compose logs --tail 5 a b").unwrap();
        assert_eq!(compose.services, ["a", "b"]);
        assert_eq!(parse("docker system df"), None);
    }
}
