//! The table of `docs/security.md`: which ports are published, and what whoever reaches them can do without a log-in.

/// A row of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Whose it is.
    pub service: String,
    /// In the container.
    pub port: u16,
    /// The setting that moves it on the host.
    pub setting: String,
    /// What is asked without credentials: method, path, and the status of the answer. None where it is only connected to.
    pub asked: Vec<(String, String, u16)>,
}

/// Reads the page.
///
/// # Errors
/// The row that is none.
pub fn table(page: &str) -> Result<Vec<Port>, String> {
    // The page has other tables below.
    let rows = page.lines().skip_while(|line| !line.starts_with("| service ")).skip(1);
    let rows = rows.take_while(|line| line.starts_with('|')).filter(|line| line.starts_with("| "));
    rows.map(|row| parse(row).ok_or_else(|| format!("no service, port, setting and requests: {row}")))
        .collect()
}

fn parse(row: &str) -> Option<Port> {
    let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
    let [service, port, setting, what, asked] = cells[..] else { return None };
    let asked = match asked {
        "tcp" => Some(Vec::new()),
        requests => requests.split(", ").map(request).collect(),
    }?;
    let port = port.parse().ok()?;
    (!what.is_empty()).then(|| Port { service: service.to_owned(), port, setting: setting.to_owned(), asked })
}

/// Reads `` `GET /path` 200 ``.
fn request(text: &str) -> Option<(String, String, u16)> {
    let (request, status) = text.strip_prefix('`')?.split_once("` ")?;
    let (method, path) = request.split_once(' ')?;
    Some((method.to_owned(), path.to_owned(), status.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_requests_or_none() {
        let page = "| service | port | setting | x | asked |\n|---|---|---|---|---|\n\
            | a | 80 | A_PORT | all | `GET /x` 200, `PUT /y?z` 401 |\n| b | 81 | B_PORT | little | tcp |\n";
        let ports = table(page).unwrap();
        let asked = [("GET", "/x", 200), ("PUT", "/y?z", 401)];
        assert_eq!(ports[0].asked, asked.map(|(method, path, status)| (method.into(), path.into(), status)));
        assert_eq!((ports.len(), ports[1].port, ports[1].asked.len()), (2, 81, 0));
        for bad in
            ["| a | 80 | A_PORT | all | GET /x |", "| a | b | A_PORT | all | tcp |", "| a | 80 | tcp |"]
        {
            assert!(table(&format!("| service | port |\n|---|---|\n{bad}\n")).is_err(), "{bad}");
        }
        let below = format!("{page}\n## Limits\n\n| limit | value |\n|---|---|\n| body | 64 KiB |\n");
        assert_eq!(table(&below).unwrap(), ports);
    }
}
