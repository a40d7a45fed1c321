"""Joins a text model and the vision tower into one multimodal Gemma 3.

The text weights stay the same, bit for bit; only their names get the prefix used by
`Gemma3ForConditionalGeneration`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .scene import SLOTS

if TYPE_CHECKING:
    from torch import Tensor

EYES_PATH = Path(__file__).parent / "eyes.safetensors"

_WEIGHTS = "model.safetensors"
_CONFIG = "config.json"
START_OF_IMAGE_ID, END_OF_IMAGE_ID, SOFT_TOKEN_ID = 255999, 256000, 262144
#: Disables crops: the tower isn't trained on them, and they would fill the context. No picture has
#: such a ratio of sides.
_NEVER = 1_000_000


class EyesError(RuntimeError):
    """The tower doesn't fit the text model; the message is one line that names the fix."""


def add_eyes(text_folder: Path, out_folder: Path, eyes: Path = EYES_PATH) -> None:
    """Write `text_folder`'s model plus the tower to `out_folder`, which may be the same folder.

    Blocking, about a second per 500 MB. The other files (tokenizer, chat template, generation
    config) are copied.

    Args:
        text_folder: a `Gemma3ForCausalLM` in one safetensors file, with its tokenizer.
        out_folder: becomes a `Gemma3ForConditionalGeneration` with an image processor.
        eyes: the tower's and the projector's weights.

    Raises:
        EyesError: the tower was trained for another model.
        OSError: a folder can't be read or written.
    """
    from safetensors.torch import load_file, save_file

    text_config = json.loads((text_folder / _CONFIG).read_text(encoding="utf-8"))
    weights = load_file(str(text_folder / _WEIGHTS))
    sight = load_file(str(eyes))
    _check(sight, text_config)
    dtype = weights["model.embed_tokens.weight"].dtype
    merged = {_seeing_name(name): weight for name, weight in weights.items()}
    merged |= {f"model.{name}": weight.to(dtype) for name, weight in sight.items()}
    out_folder.mkdir(parents=True, exist_ok=True)
    if out_folder != text_folder:
        _take_over(text_folder, out_folder)
    work = out_folder / f"{_WEIGHTS}.part"
    save_file(merged, str(work), metadata={"format": "pt"})
    del weights, merged  # they may be mapped from the file that is replaced now
    work.replace(out_folder / _WEIGHTS)
    _write_json(out_folder / _CONFIG, seeing_config(text_config))
    _write_json(out_folder / "preprocessor_config.json", image_processor_config())
    _write_json(
        out_folder / "processor_config.json",
        {"processor_class": "Gemma3Processor", "image_seq_length": len(SLOTS)},
    )


def seeing_config(text_config: dict[str, Any]) -> dict[str, Any]:
    """The multimodal model's configuration, from its text model's."""
    from .tower import vision_settings

    shared = ("dtype", "transformers_version", "initializer_range")
    return {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        **{key: text_config[key] for key in shared if key in text_config},
        "boi_token_index": START_OF_IMAGE_ID,
        "eoi_token_index": END_OF_IMAGE_ID,
        "image_token_index": SOFT_TOKEN_ID,
        "mm_tokens_per_image": len(SLOTS),
        "tie_word_embeddings": True,
        "text_config": {k: v for k, v in text_config.items() if k != "architectures"},
        "vision_config": vision_settings(),
    }


def image_processor_config() -> dict[str, Any]:
    """Gemma 3's image processing at the tower's size, with Pillow instead of torchvision."""
    from .render import SIZE

    return {
        "image_processor_type": "Gemma3ImageProcessorPil",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": SIZE, "width": SIZE},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "do_pan_and_scan": False,
        "pan_and_scan_min_ratio_to_activate": _NEVER,
    }


def _seeing_name(name: str) -> str:
    return name.replace("model.", "model.language_model.", 1) if name.startswith("model.") else name


def _check(sight: dict[str, Tensor], text_config: dict[str, Any]) -> None:
    projector = sight.get("multi_modal_projector.mm_input_projection_weight")
    if projector is None or projector.shape[1] != text_config["hidden_size"]:
        raise EyesError("eyes.safetensors does not fit the text model: reinstall parley-bot")


def _take_over(source: Path, target: Path) -> None:
    for path in source.iterdir():
        if path.is_file() and path.name not in (_WEIGHTS, _CONFIG):
            shutil.copyfile(path, target / path.name)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
