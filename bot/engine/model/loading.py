"""Loads the model that the settings name; errors name the setting and the fix."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped, unused-ignore]
import torch
import transformers
from huggingface_hub import snapshot_download
from tqdm.auto import tqdm  # type: ignore[import-untyped, unused-ignore]
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, GenerationConfig

from bot.engine.api import EngineInfo, ModelLoadError
from bot.engine.attention.base import BackendChoice
from bot.engine.attention.registry import choose_backend, log_choice
from bot.engine.model.load_errors import explain_errors, first_line, out_of_memory_error
from bot.engine.model.quantize import cuda_quantization
from bot.engine.text.pan_and_scan import CropRule, PanAndScan
from bot.engine.text.tokenizer import ChatTokenizer, ImageTokens

Progress = Callable[[str], None]
_FILES = ["*.json", "*.safetensors", "*.model", "*.jinja"]
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
# Checkpoints with a vision tower keep the text model under a prefix; the Hub has two layouts.
_TEXT_ONLY_KEYS = {r"^(language_model\.model|model\.language_model)\.": "model."}


@dataclass(frozen=True, slots=True)
class LocalEngineConfig:
    """The settings of a `LocalEngine`."""

    model: str  # a Hub id or a folder; also the name that people see
    locate: Callable[[], str | Path] | None = None
    """Called on the engine's thread; returns the folder or Hub id to load instead of `model`."""
    device: str = "auto"  # auto, cpu, cuda, cuda:1, ...
    device_map: str | None = None  # accelerate's: auto, balanced, ... over several devices
    dtype: str = "auto"  # auto, bfloat16, float16, float32
    quantize: str = "none"  # none, int8; auto: int8 on a CPU that has fast kernels for it
    text_only: bool = False
    allow_pretrained: bool = False
    hf_token: str | None = None
    max_context: int = 8192  # tokens, prompt and reply
    max_batch: int = 64  # sequences in one forward pass
    max_step_tokens: int = 512  # tokens in one forward pass
    max_queue: int = 256  # requests that may wait while the batch is full
    kv_memory_mib: int = 0  # 0: depends on the device
    image_cache_mib: int = 256
    pan_and_scan: PanAndScan = "off"
    block_size: int = 16
    prefix_cache: bool = True
    step_timeout_s: float = 300.0  # a step that takes longer counts as hung; 0: no limit
    threads: int = 0  # 0: PyTorch's choice
    ignore_eos: bool = False  # for benchmarks: every reply gets its full length
    progress: Progress | None = None

    def report_progress(self, line: str) -> None:
        if self.progress is not None:
            self.progress(line)


@dataclass(slots=True)
class LoadedModel:
    """A model ready to run."""

    model: Any  # Gemma3ForCausalLM or Gemma3ForConditionalGeneration
    text_model: Any
    head: Any
    tokenizer: ChatTokenizer
    image_processor: Any | None
    stop_ids: frozenset[int]
    device: torch.device
    dtype: torch.dtype
    max_positions: int
    name: str
    choice: BackendChoice
    weights: str  # the format of the linear layers' weights: "int8", "bfloat16", ...

    def engine_info(self, max_context: int) -> EngineInfo:
        image_tokens = self.tokenizer.image_tokens
        return EngineInfo(
            model=self.name,
            sees_images=image_tokens is not None,
            max_context=max_context,
            image_tokens=image_tokens.num_soft_tokens if image_tokens else 0,
            device=str(self.device),
            dtype=self.weights,
            backend=self.choice.name,
            rejected_backends=tuple(map(str, self.choice.slower_than_expected)),
        )


def load_model(config: LocalEngineConfig) -> LoadedModel:
    """Find, check, download and load the model. Slow and blocking.

    Raises:
        ModelLoadError: one line that names the setting and the fix.
    """
    source = _find_source(config)
    device = find_device(config)
    with _quiet_transformers(), explain_errors(config.model, source, config.hf_token):
        hub = {"token": config.hf_token}
        settings = AutoConfig.from_pretrained(source, **hub)
        _check_family(config, settings)
        sees = settings.model_type == "gemma3" and not config.text_only
        text = settings.get_text_config()
        choice = choose_engine_backend(config, text, device)
        log_choice(choice)
        dtype = choice.load_dtype
        raw_tokenizer = AutoTokenizer.from_pretrained(source, **hub)
        _check_instructed(config, source, raw_tokenizer)
        _check_memory(config, settings, sees, device, dtype)
        if not Path(source).is_dir():
            config.report_progress(f"downloading {source}")
            source = snapshot_download(
                source,
                token=config.hf_token,
                allow_patterns=_FILES,
                tqdm_class=_progress_bar(config),
            )
        quantizer = cuda_quantization(config.quantize) if device.type == "cuda" else None
        weights = choice.weights if quantizer is None else "int8"
        config.report_progress(
            f"loading {config.model} ({weights}, {device}, {choice.name} backend)"
        )
        model = _load_weights(config, source, settings, sees, device, dtype, quantizer)
        if sees and device.type == "cpu" and config.dtype == "auto":
            # The backend may load a dtype in which the vision tower is slow.
            model.model.vision_tower.to(fastest_cpu_dtype())
            model.model.multi_modal_projector.to(fastest_cpu_dtype())
        stop_ids = _load_stop_ids(source, settings)
        processor = AutoImageProcessor.from_pretrained(source) if sees else None
    tokenizer = _build_tokenizer(config, settings, raw_tokenizer, processor)
    stop_ids.add(tokenizer.end_of_turn)
    if tokenizer.eos is not None:
        stop_ids.add(tokenizer.eos)
    return LoadedModel(
        model=model,
        text_model=model.model.language_model if sees else model.model,
        head=model.lm_head,
        tokenizer=tokenizer,
        image_processor=processor,
        stop_ids=frozenset(stop_ids),
        device=device,
        dtype=dtype,
        max_positions=text.max_position_embeddings,
        name=config.model,
        choice=choice,
        weights=weights,
    )


def _build_tokenizer(
    config: LocalEngineConfig, settings: Any, raw_tokenizer: Any, processor: Any | None
) -> ChatTokenizer:
    """`processor`: the image processor of a model that sees; else None."""
    vocab_size = settings.get_text_config().vocab_size
    if processor is None:
        return ChatTokenizer(raw_tokenizer, None, vocab_size, CropRule("off"))
    image_tokens = ImageTokens(
        start_id=settings.boi_token_index,
        end_id=settings.eoi_token_index,
        soft_id=settings.image_token_index,
        num_soft_tokens=settings.mm_tokens_per_image,
    )
    crops = CropRule.from_processor(config.pan_and_scan, processor)
    return ChatTokenizer(raw_tokenizer, image_tokens, vocab_size, crops)


def _find_source(config: LocalEngineConfig) -> str:
    """The folder or Hub id to load from."""
    if config.locate is not None:
        try:
            return str(config.locate())
        except ModelLoadError:
            raise
        except Exception as error:
            raise ModelLoadError(f"PARLEY_MODEL={config.model}: {first_line(error)}") from error
    path = Path(config.model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelLoadError(
                f"PARLEY_MODEL={config.model}: the folder has no config.json: use one that "
                "`save_pretrained` wrote"
            )
        return str(path)
    if config.model.startswith(("/", "./", "../", "~")) or config.model.count("/") > 1:
        raise ModelLoadError(f"PARLEY_MODEL={config.model}: no such folder")
    return config.model


def find_device(config: LocalEngineConfig) -> torch.device:
    """The device that PARLEY_DEVICE names. Raises ModelLoadError if there is no such device."""
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(config.device)
    except RuntimeError as error:
        raise ModelLoadError(
            f"PARLEY_DEVICE={config.device} is not a device: use auto, cpu, cuda or cuda:1"
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelLoadError(
            f"PARLEY_DEVICE={config.device}: PyTorch sees {torch.cuda.device_count()} CUDA devices:"
            " use cpu, or install a CUDA build of torch"
        )
    return device


def choose_engine_backend(
    config: LocalEngineConfig, text_config: Any, device: torch.device
) -> BackendChoice:
    """Choose the backend for a text model's configuration; loads nothing.

    Raises:
        ModelLoadError: PARLEY_DTYPE is unknown.
    """
    return choose_backend(
        text_config,
        device,
        _compute_dtype(config, device),
        dtype_is_set=config.dtype != "auto",
        quantize=config.quantize,
        block_size=config.block_size,
        spread=config.device_map is not None,
    )


def _compute_dtype(config: LocalEngineConfig, device: torch.device) -> torch.dtype:
    if config.dtype != "auto":
        if config.dtype not in _DTYPES:
            raise ModelLoadError(
                f"PARLEY_DTYPE={config.dtype} is unknown: use auto, {', '.join(_DTYPES)}"
            )
        return _DTYPES[config.dtype]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return fastest_cpu_dtype()


@lru_cache(maxsize=1)
def fastest_cpu_dtype() -> torch.dtype:
    """Time two dtypes: without AVX512-BF16 or AMX, a CPU emulates bfloat16 and is slow at it."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        rows, weight = torch.zeros(16, 1024, dtype=dtype), torch.zeros(4096, 1024, dtype=dtype)
        torch.nn.functional.linear(rows, weight)
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            torch.nn.functional.linear(rows, weight)
            best = min(best, time.perf_counter() - start)
        seconds[dtype] = best
    return min(seconds, key=lambda dtype: seconds[dtype])


def _check_family(config: LocalEngineConfig, settings: Any) -> None:
    if settings.model_type not in ("gemma3", "gemma3_text"):
        raise ModelLoadError(
            f"PARLEY_MODEL={config.model} is a {settings.model_type} model, not Gemma 3: "
            "use, for example, google/gemma-3-4b-it"
        )


def _check_instructed(config: LocalEngineConfig, source: str, tokenizer: Any) -> None:
    """Refuse a pretrained checkpoint: it knows no turns and would repeat the question."""
    is_named_pretrained = source.rstrip("/").endswith("-pt")
    if config.allow_pretrained or not (
        is_named_pretrained or not getattr(tokenizer, "chat_template", None)
    ):
        return
    instructed = config.model.removesuffix("-pt") + "-it"
    raise ModelLoadError(
        f"PARLEY_MODEL={config.model} is a pretrained checkpoint, not tuned for chat: use the "
        f"instruction-tuned {instructed} (or set PARLEY_ALLOW_PRETRAINED=true to run it anyway)"
    )


def _check_memory(
    config: LocalEngineConfig, settings: Any, sees: bool, device: torch.device, dtype: torch.dtype
) -> None:
    """Refuse a model that won't fit, before gigabytes are downloaded."""
    if config.device_map is not None:
        return
    with torch.device("meta"):
        empty = _model_class(sees)(settings if sees else settings.get_text_config())
    needed = sum(p.numel() for p in empty.parameters()) * dtype.itemsize
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
    else:
        free = psutil.virtual_memory().available
    if needed > free:
        raise out_of_memory_error(
            config.model, f"it needs {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB is free"
        )


def _model_class(sees: bool) -> Any:
    return transformers.Gemma3ForConditionalGeneration if sees else transformers.Gemma3ForCausalLM


def _load_weights(
    config: LocalEngineConfig,
    folder: str,
    settings: Any,
    sees: bool,
    device: torch.device,
    dtype: torch.dtype,
    quantizer: Any | None = None,
) -> Any:
    options: dict[str, Any] = {}
    if quantizer is not None:
        options["quantization_config"] = quantizer
    if settings.model_type == "gemma3" and not sees:
        options |= {"config": settings.get_text_config(), "key_mapping": _TEXT_ONLY_KEYS}
    if config.device_map is not None:
        options["device_map"] = config.device_map
    elif device.type != "cpu":
        options["device_map"] = {"": device}
    model, report = _model_class(sees).from_pretrained(
        folder, dtype=dtype, attn_implementation="sdpa", output_loading_info=True, **options
    )
    if report["missing_keys"]:
        name = sorted(report["missing_keys"])[0]
        raise ModelLoadError(
            f"PARLEY_MODEL={config.model}: the checkpoint lacks {len(report['missing_keys'])} "
            f"weights ({name}, ...): download it again"
        )
    return model.eval().requires_grad_(False)


def _load_stop_ids(folder: str, settings: Any) -> set[int]:
    """The tokens at which the checkpoint says that generation ends."""
    stop_ids: set[int] = set()
    sources = [settings, settings.get_text_config()]
    if (Path(folder) / "generation_config.json").is_file():
        sources.append(GenerationConfig.from_pretrained(folder))
    for source in sources:
        ids = getattr(source, "eos_token_id", None)
        stop_ids |= {ids} if isinstance(ids, int) else set(ids or ())
    return stop_ids


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep transformers' bars and tables off stderr: progress goes through the callback."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def _progress_bar(config: LocalEngineConfig) -> type[Any]:
    """A tqdm class that reports through the callback, at most every two seconds."""

    class Bar(tqdm):  # type: ignore[type-arg, misc, unused-ignore]
        _reported_at = 0.0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": False, "file": _NullFile()})

        def update(self, n: float | None = 1) -> bool | None:
            done: bool | None = super().update(n)
            now = time.monotonic()
            if self.total and self.unit == "B" and now - Bar._reported_at > 2:
                Bar._reported_at = now
                share = 100 * self.n / self.total
                config.report_progress(f"downloading: {share:.0f} % of {self.total / 1e9:.1f} GB")
            return done

    return Bar


class _NullFile:
    """A file that discards what a bar draws."""

    def write(self, _: str) -> int:
        return 0

    def flush(self) -> None:
        return None
