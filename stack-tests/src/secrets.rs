//! The table of `setup/write-secrets.sh`: which service reads which secrets.
use std::{fs, path::Path};

/// Returns the names of the secrets that a service of `docker-compose.yml` reads; empty for a service that reads none.
///
/// # Errors
/// The script cannot be read, or has no such table.
pub fn read_by(repository: &Path, service: &str) -> Result<Vec<String>, String> {
    let script = repository.join("setup/write-secrets.sh");
    let text = fs::read_to_string(&script).map_err(|e| format!("{}: {e}", script.display()))?;
    let (_, table) =
        text.split_once("\nreaders='\n").ok_or("setup/write-secrets.sh has no table of readers")?;
    let (table, _) = table.split_once("\n'").ok_or("the table of readers does not end")?;
    let mut rows = table.lines().map(str::split_whitespace);
    let row = rows.find_map(|mut row| (row.next() == Some(service)).then_some(row));
    // The user id stands before the names.
    Ok(row.into_iter().flat_map(|row| row.skip(1)).map(str::to_owned).collect())
}
