//! The archives that office files are, read within bounds: what a few bytes unpack to may be anything.

use crate::flow::NodeError;
use std::io::{Cursor, Read};
use zip::ZipArchive;

/// How much may be unpacked of one archive, in bytes.
const MOST_UNPACKED: u64 = 128 * 1024 * 1024;

/// An archive.
pub(super) struct Archive<'b> {
    zip: ZipArchive<Cursor<&'b [u8]>>,
    left: u64,
}

impl<'b> Archive<'b> {
    pub(super) fn open(bytes: &'b [u8]) -> Result<Self, NodeError> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(bad)?;
        Ok(Self { zip, left: MOST_UNPACKED })
    }

    /// A file of it, if it has it.
    pub(super) fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, NodeError> {
        let Some(place) = self.zip.index_for_name(name) else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = self.zip.by_index(place).map_err(bad)?.take(self.left + 1).read_to_end(&mut bytes);
        self.unpacked(read.map_err(bad)? as u64)?;
        Ok(Some(bytes))
    }

    /// A file that makes the archive what it should be.
    pub(super) fn main(&mut self, name: &str) -> Result<Vec<u8>, NodeError> {
        // Office files have a list of what is in them.
        let kind =
            if self.zip.index_for_name("[Content_Types].xml").is_some() { "ValueError" } else { "KeyError" };
        let missing = || NodeError::new(kind, format!("the archive holds no `{name}`")).lasting();
        self.read(name)?.ok_or_else(missing)
    }

    /// Unpacks all of it once and keeps nothing, so that a reader without bounds may have it.
    pub(super) fn check_bounds(mut self) -> Result<(), NodeError> {
        for place in 0..self.zip.len() {
            let file = self.zip.by_index(place).map_err(bad)?;
            let unpacked = std::io::copy(&mut file.take(self.left + 1), &mut std::io::sink()).map_err(bad)?;
            self.unpacked(unpacked)?;
        }
        Ok(())
    }

    fn unpacked(&mut self, bytes: u64) -> Result<(), NodeError> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or_else(|| {
            let most = MOST_UNPACKED >> 20;
            NodeError::limit_exceeded(format!(
                "the file unpacks to more than the {most} MiB that a node reads"
            ))
        })?;
        Ok(())
    }
}

fn bad(problem: impl std::fmt::Display) -> NodeError {
    NodeError::new("BadZipFile", format!("the file is no archive: {problem}")).lasting()
}
