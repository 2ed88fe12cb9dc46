//! What a shell script runs, reads and writes, by its syntax tree.

use std::collections::{BTreeMap, BTreeSet};

use brush_parser::{
    Parser, ParserOptions,
    ast::{
        AndOr, AssignmentName, AssignmentValue, Command, CommandPrefixOrSuffixItem as Item, CompoundCommand,
        CompoundList, ExtendedTestExpr, IoFileRedirectKind, IoFileRedirectTarget, IoRedirect, Pipeline,
        SimpleCommand, Word,
    },
    word::{self, Parameter, ParameterExpr, WordPiece, WordPieceWithSource},
};

/// Commands that every shell here has built in.
const BUILTINS: &[&str] = &[
    ".", ":", "[", "alias", "bg", "break", "cd", "command", "continue", "echo", "eval", "exec", "exit",
    "export", "false", "fg", "getopts", "hash", "jobs", "kill", "local", "printf", "pwd", "read", "readonly",
    "return", "set", "shift", "test", "times", "trap", "true", "type", "ulimit", "umask", "unalias", "unset",
    "wait",
];
/// Those that only bash has.
const BASH_BUILTINS: &[&str] =
    &["declare", "disown", "let", "mapfile", "readarray", "shopt", "source", "typeset"];
/// Variables that a shell sets by itself.
const OWN: &[&str] = &[
    "EUID", "HOME", "HOSTNAME", "IFS", "LINENO", "OLDPWD", "OPTARG", "OPTIND", "PATH", "PPID", "PWD",
    "RANDOM", "SECONDS", "UID",
];
const BASH_OWN: &[&str] =
    &["BASH_REMATCH", "BASH_SOURCE", "BASHPID", "EPOCHSECONDS", "FUNCNAME", "PIPESTATUS", "REPLY"];
/// Commands whose arguments are a command of their own.
const WRAPPERS: &[&str] =
    &["command", "env", "exec", "nice", "nohup", "setsid", "time", "timeout", "tini", "xargs"];

/// Which shell runs a script.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shell {
    Posix,
    Bash,
}

impl Shell {
    /// The shell of that name: `/bin/bash`.
    pub(crate) fn called(program: &str) -> Option<Self> {
        match program.rsplit('/').next()? {
            "bash" => Some(Self::Bash),
            "sh" | "ash" | "dash" => Some(Self::Posix),
            _ => None,
        }
    }

    fn has(self, command: &str) -> bool {
        BUILTINS.contains(&command) || (self == Self::Bash && BASH_BUILTINS.contains(&command))
    }

    fn sets(self, variable: &str) -> bool {
        OWN.contains(&variable) || (self == Self::Bash && BASH_OWN.contains(&variable))
    }
}

/// Something in a script, and the line where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct At<T> {
    pub(crate) line: usize,
    pub(crate) what: T,
}

/// What a script does.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Commands that are neither built in nor functions, each with its arguments; those that depend on more than this script are empty.
    pub(crate) commands: Vec<At<Vec<String>>>,
    /// Built-in commands that take a file: `.`, `test`, `cd`.
    pub(crate) tests: Vec<At<String>>,
    /// Scripts that become part of this one.
    pub(crate) sourced: Vec<At<String>>,
    /// Files that it reads or writes by redirection.
    pub(crate) reads: Vec<At<String>>,
    pub(crate) writes: Vec<At<String>>,
    /// Variables that must be set when it begins: there is no default, and it sets them nowhere.
    pub(crate) wants: Vec<At<String>>,
    /// All variables that it looks at.
    pub(crate) variables: BTreeSet<String>,
}

/// Reads a script that begins with these variables set.
///
/// # Errors
/// What is no shell, and where.
pub(crate) fn facts(
    script: &str,
    shell: Shell,
    environment: &BTreeMap<String, String>,
) -> Result<Facts, String> {
    let options = ParserOptions { sh_mode: shell == Shell::Posix, ..ParserOptions::default() };
    let mut reader = Reader {
        shell,
        options,
        environment,
        values: BTreeMap::new(),
        set: BTreeSet::new(),
        functions: BTreeSet::new(),
        line: 0,
        base: 0,
        candidates: Vec::new(),
        looked: Vec::new(),
        facts: Facts::default(),
    };
    reader.script(script)?;
    Ok(reader.finish())
}

struct Reader<'a> {
    shell: Shell,
    options: ParserOptions,
    environment: &'a BTreeMap<String, String>,
    /// What the script's own variables were last set to, as far as that is known.
    values: BTreeMap<String, Option<String>>,
    set: BTreeSet<String>,
    functions: BTreeSet<String>,
    line: usize,
    /// Lines before the part that is being read: a substitution is parsed by itself.
    base: usize,
    candidates: Vec<At<Vec<String>>>,
    looked: Vec<At<String>>,
    facts: Facts,
}

impl Reader<'_> {
    fn script(&mut self, text: &str) -> Result<(), String> {
        let program = Parser::new(text.as_bytes(), &self.options)
            .parse_program()
            .map_err(|e| format!("line {}: {e}", self.base + 1))?;
        for list in &program.complete_commands {
            self.list(list)?;
        }
        Ok(())
    }

    /// A part of a script that is a text of its own, at the present line.
    fn nested(&mut self, text: &str) -> Result<(), String> {
        let (base, line) = (self.base, self.line);
        self.base = line.saturating_sub(1);
        let read = self.script(text);
        (self.base, self.line) = (base, line);
        read
    }

    fn finish(mut self) -> Facts {
        for command in self.candidates {
            if !self.functions.contains(&command.what[0]) {
                self.facts.commands.push(command);
            }
        }
        for variable in self.looked {
            let known = self.set.contains(&variable.what)
                || self.environment.contains_key(&variable.what)
                || self.shell.sets(&variable.what);
            if !known {
                self.facts.wants.push(variable);
            }
        }
        self.facts
    }

    fn list(&mut self, list: &CompoundList) -> Result<(), String> {
        for item in &list.0 {
            self.pipeline(&item.0.first)?;
            for more in &item.0.additional {
                let (AndOr::And(pipeline) | AndOr::Or(pipeline)) = more;
                self.pipeline(pipeline)?;
            }
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline) -> Result<(), String> {
        pipeline.seq.iter().try_for_each(|command| self.command(command))
    }

    fn command(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::Simple(simple) => self.simple(simple),
            Command::Compound(compound, redirects) => {
                self.compound(compound)?;
                self.redirects(redirects.as_ref().map_or(&[], |list| &list.0))
            }
            Command::Function(function) => {
                self.functions.insert(function.fname.value.clone());
                self.compound(&function.body.0)?;
                self.redirects(function.body.1.as_ref().map_or(&[], |list| &list.0))
            }
            Command::ExtendedTest(test, redirects) => {
                self.extended(&test.expr)?;
                self.redirects(redirects.as_ref().map_or(&[], |list| &list.0))
            }
        }
    }

    fn compound(&mut self, compound: &CompoundCommand) -> Result<(), String> {
        match compound {
            CompoundCommand::Arithmetic(arithmetic) => {
                self.arithmetic(&arithmetic.expr.value);
                Ok(())
            }
            CompoundCommand::ArithmeticForClause(clause) => {
                for part in [&clause.initializer, &clause.condition, &clause.updater].into_iter().flatten() {
                    self.arithmetic(&part.value);
                }
                self.list(&clause.body.list)
            }
            CompoundCommand::BraceGroup(group) => self.list(&group.list),
            CompoundCommand::Subshell(subshell) => self.list(&subshell.list),
            CompoundCommand::ForClause(clause) => {
                for value in clause.values.iter().flatten() {
                    self.word(value)?;
                }
                self.assign(&clause.variable_name, None);
                self.list(&clause.body.list)
            }
            CompoundCommand::CaseClause(clause) => {
                self.word(&clause.value)?;
                for case in &clause.cases {
                    for pattern in &case.patterns {
                        self.word(pattern)?;
                    }
                    if let Some(list) = &case.cmd {
                        self.list(list)?;
                    }
                }
                Ok(())
            }
            CompoundCommand::IfClause(clause) => {
                self.list(&clause.condition)?;
                self.list(&clause.then)?;
                for other in clause.elses.iter().flatten() {
                    if let Some(condition) = &other.condition {
                        self.list(condition)?;
                    }
                    self.list(&other.body)?;
                }
                Ok(())
            }
            CompoundCommand::WhileClause(clause) | CompoundCommand::UntilClause(clause) => {
                self.list(&clause.0)?;
                self.list(&clause.1.list)
            }
            CompoundCommand::Coprocess(coprocess) => self.command(&coprocess.body),
        }
    }

    fn simple(&mut self, command: &SimpleCommand) -> Result<(), String> {
        for item in command.prefix.iter().flat_map(|prefix| &prefix.0) {
            self.item(item)?;
        }
        let mut words = Vec::new();
        if let Some(name) = &command.word_or_name {
            if let Some(place) = &name.loc {
                self.line = self.base + place.start.line;
            }
            words.push(self.word(name)?.unwrap_or_default());
        }
        let line = self.line;
        let declares = words.first().is_some_and(|name| {
            matches!(
                name.as_str(),
                "declare" | "export" | "local" | "read" | "readonly" | "mapfile" | "readarray" | "typeset"
            )
        });
        for item in command.suffix.iter().flat_map(|suffix| &suffix.0) {
            if let Some(word) = self.item(item)? {
                if declares && !word.starts_with('-') && words[0] != "export" {
                    self.assign(&word, None);
                }
                words.push(word);
            }
        }
        self.line = line;
        if words.is_empty() { Ok(()) } else { self.ran(words) }
    }

    /// A command with its arguments.
    fn ran(&mut self, words: Vec<String>) -> Result<(), String> {
        let name = words[0].as_str();
        let argument = |n: usize| words.get(n).filter(|word| !word.is_empty()).cloned();
        match name {
            "." | "source" => {
                let file = argument(1).into_iter();
                self.facts.sourced.extend(file.map(|what| At { line: self.line, what }));
            }
            "[" | "test" | "cd" => {
                let files = words[1..].iter().filter(|word| word.starts_with('/')).cloned();
                self.facts.tests.extend(files.map(|what| At { line: self.line, what }));
            }
            "trap" | "eval" => {
                if let Some(script) = argument(1).filter(|script| script != "-") {
                    self.nested(&script)?;
                }
            }
            "printf" if argument(1).as_deref() == Some("-v") => {
                if let Some(name) = argument(2) {
                    self.assign(&name, None);
                }
            }
            "getopts" => {
                if let Some(name) = argument(2) {
                    self.assign(&name, None);
                }
            }
            _ => {}
        }
        if WRAPPERS.contains(&name.rsplit('/').next().unwrap_or_default())
            && let Some(wrapped) = wrapped(&words)
        {
            self.ran(wrapped.to_vec())?;
        }
        let name = words[0].as_str();
        if !name.is_empty() && !self.shell.has(name) {
            self.candidates.push(At { line: self.line, what: words });
        }
        Ok(())
    }

    /// What stands before or after a command's name; its value, where it is a word.
    fn item(&mut self, item: &Item) -> Result<Option<String>, String> {
        match item {
            Item::IoRedirect(redirect) => self.redirects(std::slice::from_ref(redirect)).map(|()| None),
            Item::Word(word) => self.word(word).map(|value| Some(value.unwrap_or_default())),
            Item::AssignmentWord(assignment, whole) => {
                self.line = self.base + assignment.loc.start.line;
                let value = match &assignment.value {
                    AssignmentValue::Scalar(word) => self.word(word)?,
                    AssignmentValue::Array(items) => {
                        for (index, item) in items {
                            index.iter().try_for_each(|word| self.word(word).map(drop))?;
                            self.word(item)?;
                        }
                        None
                    }
                };
                let (AssignmentName::VariableName(name) | AssignmentName::ArrayElementName(name, _)) =
                    &assignment.name;
                self.assign(name, value);
                Ok(Some(whole.value.clone()))
            }
            Item::ProcessSubstitution(_, subshell) => self.list(&subshell.list).map(|()| Some(String::new())),
        }
    }

    fn assign(&mut self, name: &str, value: Option<String>) {
        let name = name.split('=').next().unwrap_or(name).to_owned();
        self.values.insert(name.clone(), value);
        self.set.insert(name);
    }

    fn redirects(&mut self, redirects: &[IoRedirect]) -> Result<(), String> {
        for redirect in redirects {
            match redirect {
                IoRedirect::File(_, kind, IoFileRedirectTarget::Filename(word)) => {
                    let Some(what) = self.word(word)?.filter(|file| file.starts_with('/')) else { continue };
                    let file = At { line: self.line, what };
                    match kind {
                        IoFileRedirectKind::Read | IoFileRedirectKind::DuplicateInput => {
                            self.facts.reads.push(file);
                        }
                        _ => self.facts.writes.push(file),
                    }
                }
                IoRedirect::File(_, _, IoFileRedirectTarget::Duplicate(word))
                | IoRedirect::HereString(_, word) => {
                    self.word(word)?;
                }
                IoRedirect::File(_, _, IoFileRedirectTarget::ProcessSubstitution(_, subshell)) => {
                    self.list(&subshell.list)?;
                }
                IoRedirect::File(_, _, IoFileRedirectTarget::Fd(_)) => {}
                IoRedirect::HereDocument(_, document) => {
                    if document.requires_expansion {
                        let pieces = word::parse_heredoc(&document.doc.value, &self.options)
                            .map_err(|e| e.to_string())?;
                        self.pieces(&pieces)?;
                    }
                }
                IoRedirect::OutputAndError(word, _) => {
                    if let Some(what) = self.word(word)?.filter(|file| file.starts_with('/')) {
                        self.facts.writes.push(At { line: self.line, what });
                    }
                }
            }
        }
        Ok(())
    }

    fn extended(&mut self, test: &ExtendedTestExpr) -> Result<(), String> {
        match test {
            ExtendedTestExpr::And(left, right) | ExtendedTestExpr::Or(left, right) => {
                self.extended(left)?;
                self.extended(right)
            }
            ExtendedTestExpr::Not(inner) | ExtendedTestExpr::Parenthesized(inner) => self.extended(inner),
            ExtendedTestExpr::UnaryTest(_, word) => self.word(word).map(drop),
            ExtendedTestExpr::BinaryTest(_, left, right) => {
                self.word(left)?;
                self.word(right).map(drop)
            }
        }
    }

    /// The value of a word, if this script alone decides it.
    fn word(&mut self, word: &Word) -> Result<Option<String>, String> {
        if let Some(place) = &word.loc {
            self.line = self.line.max(self.base + place.start.line);
        }
        self.text(&word.value)
    }

    fn text(&mut self, text: &str) -> Result<Option<String>, String> {
        let pieces = word::parse(text, &self.options).map_err(|e| format!("line {}: {e}", self.line))?;
        self.pieces(&pieces)
    }

    fn pieces(&mut self, pieces: &[WordPieceWithSource]) -> Result<Option<String>, String> {
        let mut whole = Some(String::new());
        for piece in pieces {
            let part = self.piece(&piece.piece)?;
            whole = whole.zip(part).map(|(whole, part)| whole + &part);
        }
        Ok(whole)
    }

    fn piece(&mut self, piece: &WordPiece) -> Result<Option<String>, String> {
        Ok(match piece {
            WordPiece::Text(text) | WordPiece::SingleQuotedText(text) | WordPiece::AnsiCQuotedText(text) => {
                Some(text.clone())
            }
            WordPiece::EscapeSequence(text) => Some(text.trim_start_matches('\\').to_owned()),
            WordPiece::DoubleQuotedSequence(pieces) | WordPiece::GettextDoubleQuotedSequence(pieces) => {
                self.pieces(pieces)?
            }
            WordPiece::TildeExpansion(_) => None,
            WordPiece::CommandSubstitution(script) | WordPiece::BackquotedCommandSubstitution(script) => {
                self.nested(script)?;
                None
            }
            WordPiece::ArithmeticExpression(expression) => {
                self.arithmetic(&expression.value);
                None
            }
            WordPiece::ParameterExpansion(expansion) => self.parameter(expansion)?,
        })
    }

    fn arithmetic(&mut self, expression: &str) {
        let names = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in names.filter(|name| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')) {
            self.look(name, false);
        }
    }

    fn look(&mut self, name: &str, has_default: bool) -> Option<String> {
        self.facts.variables.insert(name.to_owned());
        if !has_default {
            self.looked.push(At { line: self.line, what: name.to_owned() });
        }
        match self.values.get(name) {
            Some(value) => value.clone(),
            None => self.environment.get(name).cloned(),
        }
    }

    fn parameter(&mut self, expansion: &ParameterExpr) -> Result<Option<String>, String> {
        let named = |parameter: &Parameter| match parameter {
            Parameter::Named(name)
            | Parameter::NamedWithIndex { name, .. }
            | Parameter::NamedWithAllIndices { name, .. } => Some(name.clone()),
            Parameter::Positional(_) | Parameter::Special(_) => None,
        };
        Ok(match expansion {
            ParameterExpr::Parameter { parameter, .. } => {
                named(parameter).and_then(|name| self.look(&name, false))
            }
            ParameterExpr::UseDefaultValues { parameter, default_value, .. }
            | ParameterExpr::AssignDefaultValues { parameter, default_value, .. } => {
                let default = match default_value {
                    Some(text) => self.text(text)?,
                    None => Some(String::new()),
                };
                let Some(name) = named(parameter) else { return Ok(None) };
                let set = self.values.contains_key(&name);
                let value = self.look(&name, true);
                match value.filter(|value| !value.is_empty()) {
                    Some(value) => Some(value),
                    None if set => None,
                    None => default,
                }
            }
            ParameterExpr::UseAlternativeValue { parameter, alternative_value, .. } => {
                if let Some(text) = alternative_value {
                    self.text(text)?;
                }
                if let Some(name) = named(parameter) {
                    self.look(&name, true);
                }
                None
            }
            ParameterExpr::IndicateErrorIfNullOrUnset { parameter, .. } => {
                named(parameter).and_then(|name| self.look(&name, false))
            }
            ParameterExpr::ParameterLength { parameter, .. }
            | ParameterExpr::RemoveSmallestSuffixPattern { parameter, .. }
            | ParameterExpr::RemoveLargestSuffixPattern { parameter, .. }
            | ParameterExpr::RemoveSmallestPrefixPattern { parameter, .. }
            | ParameterExpr::RemoveLargestPrefixPattern { parameter, .. }
            | ParameterExpr::Substring { parameter, .. }
            | ParameterExpr::Transform { parameter, .. }
            | ParameterExpr::UppercaseFirstChar { parameter, .. }
            | ParameterExpr::UppercasePattern { parameter, .. }
            | ParameterExpr::LowercaseFirstChar { parameter, .. }
            | ParameterExpr::LowercasePattern { parameter, .. }
            | ParameterExpr::ReplaceSubstring { parameter, .. } => {
                if let Some(name) = named(parameter) {
                    self.look(&name, false);
                }
                None
            }
            ParameterExpr::VariableNames { .. } | ParameterExpr::MemberKeys { .. } => None,
        })
    }
}

/// The command within `env A=b command`, `timeout 5 command`, `tini -- command`.
pub(crate) fn wrapped(words: &[String]) -> Option<&[String]> {
    let wrapper = words[0].rsplit('/').next()?;
    let mut rest = &words[1..];
    loop {
        let word = rest.first()?;
        let skipped = word.starts_with('-') || (wrapper == "env" && word.contains('='));
        if !skipped {
            break;
        }
        rest = &rest[1..];
        if word == "--" {
            break;
        }
    }
    if wrapper == "timeout" {
        rest = rest.get(1..)?;
    }
    (!rest.is_empty() && !rest[0].is_empty()).then_some(rest)
}
