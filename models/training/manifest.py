"""Fills in what a manifest says of its model's files: size, digests, predicted memory.

    python models/training/manifest.py [NAME ...]

takes the models that ship (or those named), reads their folders, and rewrites these lines of their manifests.
The memory is what `millpond inspect` predicts with one worker of four threads; the command is looked for in
target/, or named by MILLPOND. `cargo test --features cli --test cli shipped` tells whether a manifest is right.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

MODELS = Path(__file__).resolve().parents[1]
FORMS = {"f32": ["--dtype", "f32"], "bf16": ["--dtype", "bf16"], "q4_k": ["--dtype", "f32", "--quantize", "q4_k"]}


def command():
    target = [MODELS.parent / "target" / profile / "millpond" for profile in ("release", "debug")]
    found = [path for path in target if path.is_file()]
    return os.environ.get("MILLPOND") or str(max(found, key=lambda path: path.stat().st_mtime))


def inspect(folder, options=()):
    """What `millpond inspect` says of a folder."""
    fixed = ["--json", "--workers", "1", "--threads", "4"]
    run = subprocess.run([command(), "inspect", "-m", str(folder), *fixed, *options], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{folder}: {run.stderr.strip()}")
    return json.loads(run.stdout)


def weight_files(folder):
    return sorted(path for path in folder.rglob("*.safetensors"))


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fill(manifest, folder, unchecked=()):
    """Rewrites the lines of `manifest` that `folder` decides, and which facts `folder` is no proof of."""
    folder = Path(folder)
    report = inspect(folder)
    forms = dict(FORMS)
    if report["capability"] not in ("text-to-text", "vision"):
        del forms["q4_k"]
    memory = {form: inspect(folder, options)["footprint"]["total"] for form, options in forms.items()}
    files = weight_files(folder)
    lines = {
        "architecture": f'"{report["architecture"]}"',
        "dtype": f'"{report["dtype"]}"',
        "size": sum(path.stat().st_size for path in files),
        "memory": "{ " + ", ".join(f"{form} = {bytes}" for form, bytes in memory.items()) + " }",
    }
    if unchecked:
        lines["unchecked"] = json.dumps(list(unchecked))
    text = manifest.read_text(encoding="utf-8").split("[sha256]")[0].rstrip() + "\n"
    for field, value in lines.items():
        line = f"{field} = {value}"
        text, known = re.subn(rf"(?m)^{field} = .*$", line, text)
        if not known:
            text += line + "\n"
    if "sha256" not in unchecked:
        text += "\n[sha256]\n"
        text += "".join(f'"{path.relative_to(folder).as_posix()}" = "{digest(path)}"\n' for path in files)
    manifest.write_text(text, encoding="utf-8")
    print(manifest.stem, lines)


def main(names):
    for manifest in sorted(MODELS.glob("*.toml")):
        folder = tomllib.loads(manifest.read_text(encoding="utf-8"))["source"].get("folder")
        if folder and (manifest.stem in names or not names):
            fill(manifest, MODELS / folder)


if __name__ == "__main__":
    main(sys.argv[1:])
