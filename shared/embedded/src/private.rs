//! What only the owner of the data directory may read: all of it, whatever the umask is and whoever made it.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

const DIRECTORY: u32 = 0o700;
const FILE: u32 = 0o600;

/// Makes a directory if need be, and closes it to others.
pub(crate) fn directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(DIRECTORY).create(path)?;
    close(path, &fs::metadata(path)?, DIRECTORY)
}

/// Makes a file that is not there yet.
pub(crate) fn new_file(path: &Path) -> io::Result<File> {
    closed(path, OpenOptions::new().write(true).create_new(true))
}

/// Makes a file if need be.
pub(crate) fn file(path: &Path) -> io::Result<File> {
    closed(path, OpenOptions::new().write(true).create(true).truncate(false))
}

fn closed(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.mode(FILE).open(path)?;
    close(path, &file.metadata()?, FILE)?;
    Ok(file)
}

/// Closes the files that lie in a directory.
pub(crate) fn files_in(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(found) if found.is_file() => or_gone(close(&entry.path(), &found, FILE))?,
            Ok(_) => {}
            Err(error) => or_gone(Err(error))?,
        }
    }
    Ok(())
}

/// Closes the directories that lie in a directory, each after the files in it. One that is closed was made so, and its
/// files too: there may be many of them, so they are not looked at again.
pub(crate) fn directories_in(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(found) if found.is_dir() && is_open(&found, DIRECTORY) => {
                or_gone(files_in(&entry.path()))?;
                or_gone(close(&entry.path(), &found, DIRECTORY))?;
            }
            Ok(_) => {}
            Err(error) => or_gone(Err(error))?,
        }
    }
    Ok(())
}

fn is_open(found: &fs::Metadata, mode: u32) -> bool {
    found.permissions().mode() & 0o777 != mode
}

fn close(path: &Path, found: &fs::Metadata, mode: u32) -> io::Result<()> {
    if !is_open(found, mode) {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::new(
            error.kind(),
            format!(
                "{} is open to others and belongs to another user: give a data directory that belongs to the user who \
                 runs this, or change its owner",
                path.display()
            ),
        ),
        _ => error,
    })
}

/// Another process may remove what is looked at.
fn or_gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
