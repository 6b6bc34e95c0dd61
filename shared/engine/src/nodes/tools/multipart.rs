//! Forms with files, as the reference's client writes them (RFC 7578).

use std::io::Write as _;
use uuid::Uuid;

/// The content type, and the body: the form's entries, then the files, each under a name that is its file's name as well.
pub(super) fn form(entries: &[(String, String)], files: &[(String, Vec<u8>)]) -> (String, Vec<u8>) {
    // Follows from what it parts, so that a replay sends the same; nobody can write what holds its own hash.
    let mut parts = Uuid::NAMESPACE_OID;
    for part in entries.iter().map(|(_, value)| value.as_bytes()).chain(files.iter().map(|(_, file)| &**file))
    {
        parts = Uuid::new_v5(&parts, part);
    }
    let boundary = parts.simple().to_string();
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
