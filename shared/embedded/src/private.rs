//! Permissions of the data directory: only its owner may read it, whatever the umask and its creator.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Creates a directory if it does not exist, and makes it private.
pub(crate) fn directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)?;
    make_private(path, &fs::metadata(path)?, DIRECTORY_MODE)
}

/// Creates a private file; fails if it exists.
pub(crate) fn new_file(path: &Path) -> io::Result<File> {
    open_private(path, OpenOptions::new().write(true).create_new(true))
}

/// Opens a private file for writing; creates it if it does not exist.
pub(crate) fn file(path: &Path) -> io::Result<File> {
    open_private(path, OpenOptions::new().write(true).create(true).truncate(false))
}

fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.mode(FILE_MODE).open(path)?;
    make_private(path, &file.metadata()?, FILE_MODE)?;
    Ok(file)
}

/// Makes the files in a directory private.
pub(crate) fn files_in(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(found) if found.is_file() => ignore_not_found(make_private(&entry.path(), &found, FILE_MODE))?,
            Ok(_) => {}
            Err(error) => ignore_not_found(Err(error))?,
        }
    }
    Ok(())
}

/// Makes the directories in a directory private, each after the files in it. Skips a directory that is private already:
/// so are its files, and there may be many of them.
pub(crate) fn directories_in(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(found) if found.is_dir() && is_public(&found, DIRECTORY_MODE) => {
                ignore_not_found(files_in(&entry.path()))?;
                ignore_not_found(make_private(&entry.path(), &found, DIRECTORY_MODE))?;
            }
            Ok(_) => {}
            Err(error) => ignore_not_found(Err(error))?,
        }
    }
    Ok(())
}

fn is_public(found: &fs::Metadata, mode: u32) -> bool {
    found.permissions().mode() & 0o777 != mode
}

fn make_private(path: &Path, found: &fs::Metadata, mode: u32) -> io::Result<()> {
    if !is_public(found, mode) {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::new(
            error.kind(),
            format!(
                "{} is open to others and belongs to another user: use a data directory that belongs to the user who \
                 runs this process, or change its owner",
                path.display()
            ),
        ),
        _ => error,
    })
}

/// Ignores that a file does not exist: another process may have removed it.
fn ignore_not_found(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
