//! Elasticsearch, asked as each of its users.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

use crate::{
    clients::{Answer, client, send},
    stack::{Stack, repository},
};

/// The users that the setup makes, with the name of the secret that holds the password: `elasticsearch/users`.
///
/// # Errors
/// That the file cannot be read, or has a line of another form.
pub fn users(folder: &Path) -> Result<BTreeMap<String, (String, String)>, String> {
    let path = folder.join("users");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [user, role, secret] => Ok((user.to_owned(), (role.to_owned(), secret.to_owned()))),
            _ => Err(format!("{}: not a user, a role and a secret: {line}", path.display())),
        })
        .collect()
}

impl Stack {
    /// The password of a user of Elasticsearch, out of the stack's secrets.
    pub fn elasticsearch_password(&self, user: &str) -> Result<String, String> {
        let secret = if user == "elastic" {
            "elasticsearch_password".to_owned()
        } else {
            let users = users(&repository().join("elasticsearch"))?;
            users.get(user).ok_or(format!("Elasticsearch has no user {user}"))?.1.clone()
        };
        let path = self.secrets.join(secret);
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(text.trim_end().to_owned())
    }

    /// Asks Elasticsearch as one of its users: `METHOD /path`, with a body or none.
    pub fn elasticsearch_as(
        &self,
        user: &str,
        request: &str,
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let password = self.elasticsearch_password(user)?;
        let (method, path) = request.split_once(' ').ok_or(format!("no method in {request}"))?;
        let method = method.parse().map_err(|e| format!("{method}: {e}"))?;
        let mut sent = client()
            .request(method, format!("{}{path}", self.elasticsearch))
            .basic_auth(user, Some(password));
        if let Some(body) = body {
            sent = sent.json(body);
        }
        send(sent).map_err(|e| format!("{request} as {user}: {e}"))
    }
}
