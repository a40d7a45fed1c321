"""`parley bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bot import config
from bot.cli.running import Model


def bench(
    workload: Annotated[
        str,
        typer.Option(help="steady, chat, turns, mixed, images, unfair or loss."),
    ] = "steady",
    conversations: Annotated[
        str,
        typer.Option(
            help="Concurrent conversations, comma-separated. Each workload has its own default."
        ),
    ] = "",
    peers: Annotated[
        str,
        typer.Option(
            help="Systems to compare with, comma-separated: "
            "generate, generate-static, transformers-cb, llama-cpp."
        ),
    ] = "generate,generate-static",
    runs: Annotated[
        int, typer.Option(min=1, help="Interleaved runs. The report shows their medians.")
    ] = 3,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all measurements to this JSON file.")
    ] = None,
    plot_file: Annotated[
        Path | None, typer.Option("--plot", help="Draw a chart into this PNG file.")
    ] = None,
    model: Model = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads per system.")] = 2,
    seed: Annotated[int, typer.Option(help="Random seed; another seed asks other questions.")] = 0,
    scale: Annotated[
        float,
        typer.Option(help="Below 1: shorter and fewer requests, for a quick look only."),
    ] = 1.0,
    llama_server: Annotated[
        str,
        typer.Option(envvar="LLAMA_SERVER", help="llama.cpp's llama-server, if it isn't on PATH."),
    ] = "",
    llama_gguf: Annotated[
        str,
        typer.Option(
            envvar="LLAMA_GGUF",
            help="The same weights as a GGUF file for llama.cpp. Not needed for the demo.",
        ),
    ] = "",
) -> None:
    """Benchmark Parley against other systems, on the same weights, in one run."""
    from bot.app import engine_config, local_model_folder
    from bot.bench import report
    from bot.bench.systems.base import Setup

    settings = config.load({"model": model})
    report.run_bench(
        report.BenchOptions(
            workload,
            conversations,
            peers,
            runs,
            seed,
            scale,
            json_file=json_file,
            plot_file=plot_file,
        ),
        lambda: Setup(
            engine=engine_config(settings),
            folder=local_model_folder(settings),
            threads=threads,
            llama_server=llama_server,
            llama_gguf=llama_gguf,
            scratch=str(settings.cache_dir / "bench"),
            model=settings.model_name,
        ),
        say=lambda line: typer.echo(line, err=True),
        show=typer.echo,
    )
