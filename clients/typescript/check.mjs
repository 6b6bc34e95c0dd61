// Fails unless src/types.ts is current (generated from openapi.json), and all of src type-checks.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));

/** Runs a tool of this package; returns whether it succeeded. */
function run(tool, ...args) {
  const { status } = spawnSync(join(here, "node_modules", ".bin", tool), args, { cwd: here, stdio: ["ignore", "ignore", "inherit"] });
  return status === 0;
}

const folder = mkdtempSync(join(tmpdir(), "runyard-types-"));
try {
  const generated = join(folder, "types.ts");
  if (!run("openapi-typescript", "../../openapi.json", "--immutable", "--default-non-nullable=false", "--output", generated)) process.exit(1);
  if (readFileSync(generated, "utf8") !== readFileSync(join(here, "src", "types.ts"), "utf8")) {
    console.error("src/types.ts does not match openapi.json: run `npm run generate` and commit it");
    process.exitCode = 1;
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
const { status } = spawnSync(join(here, "node_modules", ".bin", "tsc"), ["--noEmit"], { cwd: here, stdio: "inherit" });
if (status !== 0) process.exitCode = 1;
if (!process.exitCode) console.log("the TypeScript definitions are current and type-check");
