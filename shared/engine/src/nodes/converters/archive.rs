//! Reads ZIP archives, such as office files, within limits: a few bytes may unpack to any size.

use crate::flow::NodeError;
use std::io::{Cursor, Read};
use zip::ZipArchive;

/// Limit on what is unpacked of one archive, in bytes.
const MAX_UNPACKED_BYTES: u64 = 128 * 1024 * 1024;

/// An archive, with the bytes that may still be unpacked.
pub(super) struct Archive<'b> {
    zip: ZipArchive<Cursor<&'b [u8]>>,
    left: u64,
}

impl<'b> Archive<'b> {
    pub(super) fn open(bytes: &'b [u8]) -> Result<Self, NodeError> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(invalid_archive)?;
        Ok(Self { zip, left: MAX_UNPACKED_BYTES })
    }

    /// Unpacks a file; `None` if it does not exist.
    pub(super) fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, NodeError> {
        let Some(index) = self.zip.index_for_name(name) else { return Ok(None) };
        let mut bytes = Vec::new();
        let read =
            self.zip.by_index(index).map_err(invalid_archive)?.take(self.left + 1).read_to_end(&mut bytes);
        self.count_unpacked(read.map_err(invalid_archive)? as u64)?;
        Ok(Some(bytes))
    }

    /// Unpacks a file that archives of this type must have.
    pub(super) fn main(&mut self, name: &str) -> Result<Vec<u8>, NodeError> {
        // Office files have a list of their content.
        let kind =
            if self.zip.index_for_name("[Content_Types].xml").is_some() { "ValueError" } else { "KeyError" };
        let missing = || NodeError::new(kind, format!("the archive has no `{name}`")).lasting();
        self.read(name)?.ok_or_else(missing)
    }

    /// Unpacks all files without keeping them, to check the limit before a reader that has no limit gets the archive.
    pub(super) fn check_bounds(mut self) -> Result<(), NodeError> {
        for index in 0..self.zip.len() {
            let file = self.zip.by_index(index).map_err(invalid_archive)?;
            let unpacked = std::io::copy(&mut file.take(self.left + 1), &mut std::io::sink())
                .map_err(invalid_archive)?;
            self.count_unpacked(unpacked)?;
        }
        Ok(())
    }

    fn count_unpacked(&mut self, bytes: u64) -> Result<(), NodeError> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or_else(|| {
            let max = MAX_UNPACKED_BYTES >> 20;
            NodeError::limit_exceeded(format!("the file unpacks to more than {max} MiB"))
        })?;
        Ok(())
    }
}

fn invalid_archive(problem: impl std::fmt::Display) -> NodeError {
    NodeError::new("BadZipFile", format!("the file is not a valid archive: {problem}")).lasting()
}
