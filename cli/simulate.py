"""`offbeat simulate`: the capture of a training job made of numbers, with the faults you ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from offbeat.cli.errors import CliError
from offbeat.model import FaultClass
from offbeat.simulator.capture import simulate as run
from offbeat.simulator.catalogue import scenario
from offbeat.simulator.faults import Fault
from offbeat.simulator.spec import JobSpec

app = typer.Typer(add_completion=False)
USAGE_ERROR = 64
NUMBERS = {"times": float, "duty": float, "start": int, "end": int, "leaf": int}


@app.command(
    epilog="Examples: offbeat simulate out --fault slow.compute:rank=13,times=1.1 "
    "| offbeat simulate out --ranks 128 --tp 8 --pp 4 --fault slow.link:link=8-16,times=2 --transfers "
    "| offbeat simulate out --random --seed 7; then: offbeat diagnose out"
)
def simulate(  # noqa: PLR0917 - a parameter is an option
    directory: Annotated[Path, typer.Argument(help="Where to write the capture, and the truth beside it.")],
    ranks: Annotated[int, typer.Option(min=2, max=100_000, help="Number of ranks.")] = 64,
    tp: Annotated[int, typer.Option(min=1, help="Tensor parallelism.")] = 4,
    pp: Annotated[int, typer.Option(min=1, help="Pipeline stages.")] = 2,
    cp: Annotated[int, typer.Option(min=1, help="Context parallelism; a part of the replicas.")] = 1,
    ep: Annotated[int, typer.Option(min=1, help="Expert parallelism; a part of the replicas.")] = 1,
    virtual: Annotated[int, typer.Option(min=1, help="Pieces of the model a stage has (interleaved schedule).")] = 1,
    sharded: Annotated[bool, typer.Option("--sharded", help="Shard parameters over the replicas.")] = False,
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Training steps.")] = 80,
    microbatches: Annotated[int, typer.Option(min=1, max=1000, help="Microbatches a step.")] = 4,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS[:KEY=VALUE,...]",
            help="A fault, as often as you like. Keys: rank (several: 3+4), link (src-dst), leaf, times, start and end "
            "(steps), duty (share of steps), creeps (yes).",
        ),
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="Draw job and fault from published frequencies.")] = False,
    transfers: Annotated[bool, typer.Option("--transfers", help="Record transfers between hosts, too.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same capture.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write into a directory that is not empty.")] = False,
) -> None:
    """Write the capture of a simulated training job with the faults you ask for; labelled simulated."""
    if directory.exists() and any(directory.iterdir()) and not force:
        raise CliError(f"{directory} is not empty; --force writes into it all the same", USAGE_ERROR)
    try:
        if random:
            spec, faults = scenario(seed)
        else:
            faults = [_fault(text, ranks) for text in fault or []]
            spec = JobSpec(
                ranks=ranks,
                tp=tp,
                pp=pp,
                steps=steps,
                microbatches=microbatches,
                cp=cp,
                ep=ep,
                virtual=virtual,
                sharded=sharded,
                transfers=transfers,
                name=f"sim{seed}",
            )
    except ValueError as error:
        raise CliError(str(error), USAGE_ERROR) from None
    capture = run(spec, faults, seed)
    capture.write(directory)
    rows = sum(table.num_rows for table in capture.tables.values())
    typer.echo(f"{directory}: {rows} records of {spec.ranks} ranks, {len(faults)} faults (truth.json); simulated")


def _fault(text: str, ranks: int) -> Fault:
    """Return the fault that CLASS[:KEY=VALUE,...] stands for.

    Raises:
        ValueError: It stands for none; the message names the part at fault.
    """
    name, _, rest = text.partition(":")
    try:
        kind = FaultClass(name)
    except ValueError:
        raise ValueError(f"--fault {text}: unknown class {name!r}; one of {', '.join(FaultClass)}") from None
    values: dict[str, object] = {}
    for pair in filter(None, rest.split(",")):
        key, _, value = pair.partition("=")
        try:
            if key == "rank":
                values["ranks"] = tuple(int(r) for r in value.split("+"))
            elif key == "link":
                src, dst = value.split("-")
                values["links"] = ((int(src), int(dst)),)
            elif key == "creeps":
                values["creeps"] = value in {"yes", "true", "1"}
            else:
                values[key] = NUMBERS[key](value)
        except KeyError:
            raise ValueError(f"--fault {text}: unknown key {key!r}") from None
        except ValueError:
            raise ValueError(f"--fault {text}: {key}={value!r} is not what it must be") from None
    found = Fault(kind, **values)  # type: ignore[arg-type]  # keys and types are those of NUMBERS and of above
    outside = [r for r in (*found.ranks, *(r for link in found.links for r in link)) if not 0 <= r < ranks]
    if outside:
        raise ValueError(f"--fault {text}: rank {outside[0]} is not one of {ranks}")
    return found
