//! The access keys that `dev` creates, one per organization, each in a file that only its owner may read.

use crate::plug::Plugged;
use anyhow::{Context, Result};
use runyard_runs::{Credential, OrganizationId, Scope};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A key and its file.
pub(crate) struct DevKey {
    /// The organization whose apps the key opens.
    pub(crate) organization: OrganizationId,
    /// The file that holds the key.
    pub(crate) path: PathBuf,
    /// The key, if it was just created.
    pub(crate) new: Option<String>,
}

/// Returns the keys for these organizations: `<data>/dev-key` for the first, `<data>/dev-key-<organization>` for
/// others. A missing or invalid key is replaced.
pub(crate) async fn ensure(
    plugged: &Plugged,
    data: &Path,
    organizations: &[OrganizationId],
) -> Result<Vec<DevKey>> {
    let mut keys = Vec::new();
    for (index, organization) in organizations.iter().enumerate() {
        let name = if index == 0 { "dev-key".to_owned() } else { format!("dev-key-{organization}") };
        let path = data.join(name);
        let new = if is_valid(plugged, &path, *organization).await? {
            None
        } else {
            let scope = Scope { organization: *organization, project: None };
            let key = plugged.data.create_key(scope, None).await?.0.reveal();
            write(&path, &key).with_context(|| format!("cannot write {}", path.display()))?;
            Some(key)
        };
        keys.push(DevKey { organization: *organization, path, new });
    }
    Ok(keys)
}

async fn is_valid(plugged: &Plugged, path: &Path, organization: OrganizationId) -> Result<bool> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let Some(credential) = Credential::parse(text.trim()) else { return Ok(false) };
    let key = plugged.data.find_key(credential.id()).await?;
    Ok(key.is_some_and(|key| {
        credential.opens(&key, plugged.data.now()) && key.scope == Scope { organization, project: None }
    }))
}

/// Writes the file atomically, and never with permissions that let others read it.
fn write(path: &Path, key: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    writeln!(file, "{key}")?;
    file.sync_all()?;
    fs::rename(&new, path)
}
