"""The settings of `sam build` for the workspace."""

import tomllib

from stack import ROOT

MANIFEST = tomllib.loads((ROOT / "Cargo.toml").read_text())


def test_sam_builds_with_the_profile_for_a_zip():
    """SAM's builder calls `cargo lambda build --release` and supports no other profile; cargo-lambda applies these
    settings."""
    profile = MANIFEST["profile"]["zip"]
    assert profile["inherits"] == "release"
    wanted = {f"profile.release.{name}={value!r}".replace("'", '"') for name, value in profile.items() if name != "inherits"}
    assert set(MANIFEST["workspace"]["metadata"]["lambda"]["build"]["config"]) == wanted


def test_a_panic_of_a_node_does_not_end_the_function():
    """If the release profile does not set `panic`, cargo-lambda sets it to "abort", and no panic can be caught."""
    assert MANIFEST["profile"]["release"]["panic"] == "unwind"
    assert {"strip", "lto", "codegen-units"} <= set(MANIFEST["profile"]["release"])
