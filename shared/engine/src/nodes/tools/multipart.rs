//! Forms with files, as the reference's client writes them (RFC 7578).

use std::io::Write as _;
use uuid::Uuid;

/// Returns the content type and the body: the entries, then the files. The name of a file is also its file name.
pub(super) fn form(entries: &[(String, String)], files: &[(String, Vec<u8>)]) -> (String, Vec<u8>) {
    // The boundary is a hash of the parts, so that a replay sends the same body and no part can contain the boundary.
    let mut hash = Uuid::NAMESPACE_OID;
    for part in entries.iter().map(|(_, value)| value.as_bytes()).chain(files.iter().map(|(_, file)| &**file))
    {
        hash = Uuid::new_v5(&hash, part);
    }
    let boundary = hash.simple().to_string();
    let mut body = Vec::new();
    let mut part = |name: &str, file: &str, content: &[u8]| {
        let _ = write!(body, "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    };
    for (name, value) in entries {
        part(&escaped(name), "", value.as_bytes());
    }
    for (name, content) in files {
        let name = escaped(name);
        part(&name, &format!("; filename=\"{name}\""), content);
    }
    let _ = write!(body, "--{boundary}--\r\n");
    (format!("multipart/form-data; boundary={boundary}"), body)
}

fn escaped(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}
