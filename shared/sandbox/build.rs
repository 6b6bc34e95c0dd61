//! Collects the part of the standard library that the sandbox offers and freezes it as bytecode into the crate.
//!
//! User code can load only the modules in `LIBRARY`. The binary contains no module that could open a file or a socket,
//! and the interpreter is built without those of its own (`host_env` is off).

#![cfg_attr(
    not(feature = "interpreter"),
    expect(dead_code, reason = "without an interpreter there is nothing to freeze")
)]

use std::{env, fs, io, path::Path};

/// Modules and whole packages of the standard library that is shipped with the interpreter.
const LIBRARY: &[&str] = &[
    "__future__.py",
    "_collections_abc.py",
    "_markupbase.py",
    "_opcode_metadata.py",
    "_py_abc.py",
    "_py_warnings.py",
    "_pydatetime.py",
    "_pydecimal.py",
    "_pylong.py",
    "_strptime.py",
    "_weakrefset.py",
    "abc.py",
    "annotationlib.py",
    "ast.py",
    "base64.py",
    "bisect.py",
    "calendar.py",
    "codecs.py",
    "collections",
    "colorsys.py",
    "contextlib.py",
    "contextvars.py",
    "copy.py",
    "copyreg.py",
    "csv.py",
    "dataclasses.py",
    "datetime.py",
    "decimal.py",
    "difflib.py",
    "encodings/__init__.py",
    "encodings/aliases.py",
    "encodings/ascii.py",
    "encodings/cp1252.py",
    "encodings/idna.py",
    "encodings/latin_1.py",
    "encodings/utf_16.py",
    "encodings/utf_32.py",
    "encodings/utf_8.py",
    "encodings/utf_8_sig.py",
    "enum.py",
    "fractions.py",
    "functools.py",
    "graphlib.py",
    "hashlib.py",
    "heapq.py",
    "hmac.py",
    "html",
    "ipaddress.py",
    "json",
    "keyword.py",
    "numbers.py",
    "operator.py",
    "pprint.py",
    "random.py",
    "re",
    "reprlib.py",
    "secrets.py",
    "statistics.py",
    "string",
    "stringprep.py",
    "struct.py",
    "textwrap.py",
    "types.py",
    "typing.py",
    "urllib/__init__.py",
    "urllib/parse.py",
    "uuid.py",
    "warnings.py",
    "weakref.py",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "interpreter")]
    freeze(Path::new(rustpython_pylib::LIB_PATH)).expect("the standard library, frozen");
}

fn freeze(standard: &Path) -> io::Result<()> {
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    let library = Path::new(&out).join("library");
    if library.exists() {
        fs::remove_dir_all(&library)?;
    }
    for name in LIBRARY {
        copy(&standard.join(name), &library.join(name))?;
    }
    // Ours come last: they replace modules that would otherwise access the system.
    copy(Path::new("python"), &library)?;
    println!("cargo::rerun-if-changed=python");
    // The macro accepts only a literal.
    fs::write(
        Path::new(&out).join("library.rs"),
        format!(
            "rustpython_vm::py_freeze!(dir = {:?}, crate_name = \"rustpython_vm\")",
            library.to_string_lossy()
        ),
    )
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_dir() {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if from.extension().is_some_and(|it| it == "py") {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(from, to)?;
    }
    Ok(())
}
