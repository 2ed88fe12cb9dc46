//! The kit's own images: what their stages in the `Dockerfile` add to their base.

use std::{collections::BTreeMap, fs, path::Path};

use super::list::{Folder, Holds, Official};

/// What the image of a stage holds.
///
/// # Errors
/// One line: there is no such stage, or its base is not listed.
pub(crate) fn stage(repository: &Path, official: &Official, target: &str) -> Result<Holds, String> {
    let text = fs::read_to_string(repository.join("Dockerfile")).map_err(|e| format!("Dockerfile: {e}"))?;
    let joined = text.replace("\\\n", " ");
    let (mut arguments, mut stages, mut name) =
        (BTreeMap::new(), BTreeMap::<String, Holds>::new(), String::new());
    for line in joined.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let (instruction, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_whitespace().filter(|word| !word.starts_with("--mount")).collect();
        match instruction {
            "ARG" if name.is_empty() => {
                let (argument, default) = rest.split_once('=').unwrap_or((rest, ""));
                arguments.insert(argument.to_owned(), default.to_owned());
            }
            "FROM" => {
                let from = words.iter().find(|word| !word.starts_with("--")).copied().unwrap_or_default();
                let from = arguments.iter().fold(from.to_owned(), |from, (argument, default)| {
                    from.replace(&format!("${{{argument}}}"), default)
                });
                let called = words.iter().skip_while(|word| !word.eq_ignore_ascii_case("as")).nth(1);
                name = called.map_or_else(String::new, |called| (*called).to_owned());
                let base = match stages.get(&from) {
                    Some(stage) => Ok(stage.clone()),
                    None if from == "scratch" => Ok(Holds::default()),
                    None => official.find(&from),
                };
                match base {
                    Ok(holds) => {
                        let image = format!("the Dockerfile's {name}");
                        stages.insert(name.clone(), Holds { image, ..holds });
                    }
                    Err(why) if name == target => return Err(why),
                    Err(_) => {}
                }
            }
            _ => {
                if let Some(holds) = stages.get_mut(&name) {
                    instruction_of(holds, instruction, rest, &words);
                }
            }
        }
    }
    stages.remove(target).ok_or_else(|| format!("the Dockerfile has no stage {target}"))
}

fn instruction_of(holds: &mut Holds, instruction: &str, rest: &str, words: &[&str]) {
    let list = || serde_json::from_str::<Vec<String>>(rest).unwrap_or_default();
    match instruction {
        "USER" => {
            rest.trim().clone_into(&mut holds.user);
            if !rest.contains(|c: char| c.is_ascii_alphabetic()) {
                let ids =
                    if rest.contains(':') { rest.trim().to_owned() } else { format!("{}:0", rest.trim()) };
                holds.users.insert(rest.trim().to_owned(), ids);
            }
        }
        "ENTRYPOINT" => {
            holds.entrypoint = list();
            holds.cmd.clear();
        }
        "CMD" => holds.cmd = list(),
        "ENV" => {
            let pairs = words.iter().filter_map(|word| word.split_once('='));
            holds
                .environment
                .extend(pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())));
        }
        "COPY" => {
            let paths: Vec<_> = words.iter().filter(|word| !word.starts_with("--")).collect();
            if let Some((to, from)) = paths.split_last() {
                for file in from.iter().filter(|_| to.contains("bin")) {
                    let program = if to.ends_with('/') {
                        format!("{to}{}", file.rsplit('/').next().unwrap_or_default())
                    } else {
                        (**to).to_owned()
                    };
                    let program = holds.followed(&program);
                    holds.programs.insert(program);
                }
            }
        }
        "RUN" => {
            if rest.contains("apt-get install") || rest.contains("apk add") {
                holds.installs = true;
            }
            for command in rest.split("&&").map(str::trim).filter(|command| command.starts_with("install ")) {
                folders(holds, command);
            }
        }
        _ => {}
    }
}

/// `install -d -o 10001 -g 10001 -m 0755 /var/log/agent`.
fn folders(holds: &mut Holds, command: &str) {
    let words: Vec<_> = command.split_whitespace().collect();
    let after =
        |option: &str| words.iter().position(|word| *word == option).and_then(|n| words.get(n + 1)).copied();
    if !words.contains(&"-d") {
        return;
    }
    let owner = format!("{}:{}", after("-o").unwrap_or("0"), after("-g").unwrap_or("0"));
    for path in words.iter().filter(|word| word.starts_with('/')) {
        let mode = after("-m").unwrap_or("0755").to_owned();
        holds.writable.push(Folder { path: (*path).to_owned(), owner: owner.clone(), mode });
    }
}
