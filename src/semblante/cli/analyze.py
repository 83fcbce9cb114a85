"""`semblante analyze`."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Final, Literal

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from semblante.cli.checks import (
    check_not_an_input,
    check_output_file,
    check_output_folder,
    complain,
)
from semblante.cli.formats import (
    WHOLE_FILES,
    Format,
    check_format,
    format_of,
    text_file,
    write_lines,
    write_results,
    write_table,
)
from semblante.cli.inputs import annotated_places, crop_names, find_inputs
from semblante.cli.journal import Journal
from semblante.cli.options import (
    DetectorName,
    EarlyExitOption,
    HeadOption,
    LanguageOption,
    MinFaceOption,
    MinScoreOption,
    ModelOption,
    StepsOption,
    ThreadsOption,
)
from semblante.cli.overviews import ContactSheet, Overview, Overviews, Timelines, TrackTable
from semblante.cli.work import Result, Work
from semblante.errors import OptionError
from semblante.files import identities, identity, write_atomically
from semblante.models import DEFAULT_MODEL
from semblante.recognise.pipeline import Analyzer
from semblante.recognise.tracks import SMOOTHING_S
from semblante.recognise.video import LEAST_EVERY_S
from semblante.results import Analysis
from semblante.translation import translated
from semblante.wording import clock, figures

PictureTta = Literal["none", "flip"]  # `pipeline.TTA`
# Both mean "write to sys.stdout". To open /dev/stdout would truncate a file that the shell has
# redirected the output to.
_STANDARD_OUTPUT: Final = (Path("-"), Path("/dev/stdout"))


def analyze_command(
    # readable=False: not Typer but `analyze` reports files that cannot be read, each by itself.
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH",
            help="pictures, videos, or folders of them, without hidden files and libraries of "
            "macOS's Photos",
            readable=False,
        ),
    ],
    format: Annotated[
        Format | None,
        typer.Option(
            help="json: one object per line (default: by the ending of --out, else table)",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="write here instead of to the terminal; - is the terminal", readable=False
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="go on with an interrupted run of the same --out, or begin it"
        ),
    ] = False,
    annotate: Annotated[
        Path | None,
        typer.Option(help="folder for copies with boxes drawn", readable=False),
    ] = None,
    blur: Annotated[
        bool,
        typer.Option(
            "--blur",
            help="pixelate the faces in annotated copies; every frame of a video is then "
            "searched, which takes longer",
        ),
    ] = False,
    crops: Annotated[
        Path | None,
        typer.Option(
            help="folder for each face as a picture of its own, NAME-1.png, NAME-2.png, ...; of a "
            "video, each track where its estimate is surest",
            readable=False,
        ),
    ] = None,
    contact_sheet: Annotated[
        Path | None,
        typer.Option(
            help="picture to write: thumbnails of the faces (the first 2,000), grouped by "
            "emotion; for a video's tracks, the frame where each emotion is clearest",
            readable=False,
        ),
    ] = None,
    timeline: Annotated[
        Path | None,
        typer.Option(
            help="folder for plots of emotions over time, a PNG for each video", readable=False
        ),
    ] = None,
    tracks: Annotated[
        Path | None,
        typer.Option(
            help="table to write, .csv, .xlsx, .parquet or .json: when each track of a video was "
            "seen, what it showed on average, and the share of its frames for each emotion",
            readable=False,
        ),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(
            help="analyse only one video frame every 0.5s, 200ms, ...; copies contain only "
            "these; from 0.5s on, each frame is judged by itself like a picture, mirrored "
            "too; below, a track's last moments are averaged"
        ),
    ] = None,
    smoothing: Annotated[
        float | None,
        typer.Option(
            help="seconds over which a track's probabilities are averaged; 0: each frame by itself "
            f"(default: {SMOOTHING_S}, and 0 with --every 0.5s or more)",
            show_default=False,
        ),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    steps: StepsOption = None,
    early_exit: EarlyExitOption = None,
    head: HeadOption = None,
    detector: Annotated[
        DetectorName, typer.Option(help="face detector; none: each picture is a face")
    ] = "cnn",
    min_face: MinFaceOption = None,
    min_score: MinScoreOption = None,
    tta: Annotated[
        PictureTta,
        typer.Option(help="views of a picture's face to average; flip: also mirrored"),
    ] = "flip",
    threads: ThreadsOption = None,
    lang: LanguageOption = "en",
) -> None:
    """Find the faces in pictures and videos and estimate the emotion each shows.

    Reads JPEG, PNG, WebP, AVIF, BMP, GIF, TIFF, PPM and JPEG 2000, HEIC with the extra "heic", and
    the videos that FFmpeg reads; of animations, and of TIFFs with several pages, the first picture.
    Exits with 1 when some inputs could not be read; the others are still done.
    """
    if out in _STANDARD_OUTPUT:
        out = None
    streamed = out is None or (out.exists() and not out.is_file())  # a pipe, a device
    if format is None:
        format = Format.table if out is None or streamed else _format_of(out)
    _check(format, out, resume=resume, streamed=streamed)
    if annotate is not None:
        check_output_folder("--annotate", annotate)
    elif blur:
        raise OptionError("--blur needs --annotate DIR, where the copies go")
    if crops is not None:
        check_output_folder("--crops", crops)
    every_s = None if every is None else _seconds(every)
    if smoothing is not None and not 0 <= smoothing < math.inf:
        raise OptionError(f"--smoothing: expected seconds, 0 or more, found {smoothing}")
    sheet = None if contact_sheet is None else ContactSheet(contact_sheet, lang, every_s)
    for option, shown in (("--contact-sheet", contact_sheet), ("--crops", crops)):
        if shown is not None and blur:
            complain(f"{option} {shown}: --blur does not pixelate its faces")
    plots = None if timeline is None else Timelines(timeline, lang)
    table = None if tracks is None else TrackTable(tracks)
    chosen: list[Overview] = [one for one in (sheet, plots, table) if one is not None]
    inputs = find_inputs(paths, [*filter(None, [annotate, crops]), *(one.place for one in chosen)])
    paths_read = [item.path for item in inputs]
    copies = annotated_places(inputs, annotate) if annotate is not None else {}
    files = {one.option: one.place for one in (sheet, table) if one is not None}
    if out is not None:
        files["--out"] = out
    for option, written in files.items():
        check_not_an_input(option, written, Path(model), *paths_read)
    _check_apart(*files.values(), *copies.values())
    # Only later is it known which plots, and how many faces, there are to write: they give way.
    taken = [*paths_read, *copies.values(), *files.values()]
    if plots is not None:
        plots.avoid(taken)
    analyzer = Analyzer(
        model, detector=detector, min_face=min_face, min_score=min_score, threads=threads,
        steps=steps, early_exit=early_exit, tta=tta, head=head,
    )  # fmt: skip
    work = Work(
        analyzer, inputs, copies, crop_names(inputs, crops) if crops is not None else {},
        every_s=every_s, smoothing_s=smoothing, lang=lang, blur=blur,
        kept=frozenset(itertools.chain.from_iterable(map(identities, taken if crops else ()))),
    )  # fmt: skip
    overviews = Overviews(inputs, chosen)
    if out is None:
        failed = _as_they_come(work, format, overviews, sys.stdout)
    elif streamed:
        with text_file(out) as file:
            failed = _as_they_come(work, format, overviews, file)
    else:
        about = {
            "inputs": list(map(str, paths_read)), "model": analyzer.classifier.about,
            "detector": detector, "min_face": min_face, "min_score": min_score,
            "every_s": every_s, "smoothing_s": smoothing, "steps": steps, "early_exit": early_exit,
            "tta": tta, "head": analyzer.classifier.head,
            "annotate": None if annotate is None else str(annotate), "lang": lang, "blur": blur,
            "crops": None if crops is None else str(crops),
        }  # fmt: skip
        journal = Journal(out, about, resume=resume)
        failed = _to_file(work, format, out, journal, overviews)
    if failed or overviews.failed:
        raise typer.Exit(1)


def _check(format: Format, out: Path | None, *, resume: bool, streamed: bool) -> None:
    if out is not None:
        check_output_file("--out", out)
    if resume and streamed:
        raise OptionError("--resume needs the --out FILE of the run that was interrupted")
    check_format(format)
    if format in WHOLE_FILES and streamed:
        raise OptionError(f"--format {format} needs --out FILE")


def _format_of(out: Path) -> Format:
    if not out.suffix:
        return Format.table
    try:
        return format_of("--out", out)
    except OptionError as error:
        raise OptionError(f"{error}, or --format") from None


def _seconds(text: str) -> float:
    """Return the seconds that `text` stands for: `0.5s`, `0,5s`, `200ms` or `2`."""
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("", 1.0)):
        if text.endswith(unit):
            try:
                seconds = float(text.removesuffix(unit).replace(",", ".")) * factor
            except ValueError:
                break
            if LEAST_EVERY_S <= seconds < math.inf:
                return seconds
            break
    raise OptionError(f"--every: expected a time such as 0.5s or 200ms, found {text!r}")


def _check_apart(*written: Path) -> None:
    seen: set[Hashable] = set()
    for path in written:
        this = identity(path)
        if this in seen:
            raise OptionError(
                f"{path} would be written twice: choose different places for --out, "
                "--contact-sheet, --tracks and --annotate"
            )
        seen.add(this)


def _as_they_come(work: Work, format: Format, overviews: Overviews, file: IO[str]) -> int:
    """Write each result to `file` as soon as it is known (a table only when all are); return how
    many inputs could not be read."""
    errors: list[str] = []
    kept: list[tuple[int, Analysis]] = []  # only for a table
    try:
        # A progress bar would mix with lines that are printed to the same terminal.
        with _progress(work, shown=format is Format.table or not file.isatty()) as tell:
            found = _found(work, overviews, tell, errors)
            if format is Format.table:
                kept.extend(found)
            else:
                write_lines((analysis for _, analysis in found), file, format)
    except BaseException:
        overviews.complain_of_unwritten()
        raise
    finally:  # the bar is gone by now; after an interruption, too, the results so far are shown
        if format is Format.table:
            write_table(kept, file, work.lang)
    overviews.write()
    return len(errors)


def _found(
    work: Work, overviews: Overviews, tell: Callable[[Result], None], errors: list[str]
) -> Iterator[tuple[int, Analysis]]:
    """Yield the number of each input with its results, after adding them to the overviews. Errors
    are reported and added to `errors`; `tell` is called with every result."""
    for result in work.results():
        if result.analysis is not None:
            if result.analysis.error is not None:
                complain(result.analysis.error)
                errors.append(result.analysis.error)
            overviews.add(result.number, result.analysis)
            yield result.number, result.analysis
        tell(result)


@contextmanager
def _progress(
    work: Work, *, first: int = 0, shown: bool = True
) -> Iterator[Callable[[Result], None]]:
    """Show a progress bar if stderr is a terminal: how many inputs are done, and how fast, or the
    time reached in the current video. Yields a function to call with every result; `first` inputs
    are done already."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[how]}"), TimeRemainingColumn(),
    )  # fmt: skip
    if not shown or not console.is_terminal or console.is_dumb_terminal:
        yield lambda _: None
        return
    with Progress(*columns, console=console, transient=True) as bar:
        inputs = translated("inputs", work.lang)
        task = bar.add_task(inputs, total=len(work.inputs), completed=first, how="")

        def tell(result: Result) -> None:
            speed = bar.tasks[0].speed
            how = figures(f"{speed:.1f}/s", work.lang) if speed else ""
            if not result.ended and result.analysis is not None:
                how = clock(result.analysis.time_s or 0.0)
            done = 1.0 if result.ended else result.share
            bar.update(task, completed=result.number + done, how=how)

        yield tell


def _to_file(work: Work, format: Format, out: Path, journal: Journal, overviews: Overviews) -> int:
    """Collect the results in the journal, then write all of them to `out`; return how many inputs
    failed."""
    done = False  # whether `out` and all overviews have been written
    first = journal.next_input
    try:
        with _progress(work, first=first) as tell:
            for result in work.results(first):
                journal.add(result.number, result.analysis, ended=result.ended)
                if result.analysis is not None and result.analysis.error is not None:
                    complain(result.analysis.error)
                tell(result)
        write_atomically(
            out, lambda beside: write_results(journal.found(), beside, format, work.lang)
        )
        failed = faces = showing = 0
        for number, analysis in journal.found():
            failed += analysis.error is not None
            faces, showing = faces + len(analysis.faces), showing + bool(analysis.faces)
            overviews.add(number, analysis)
        overviews.write()
        done = not overviews.failed
        if sys.stderr.isatty():  # in place of the progress bar
            complain(
                f"{out}: inputs {len(work.inputs):,}; faces {faces:,}, in {showing:,} of their "
                f"pictures and frames; not read {failed:,}"
            )
    except PermissionError as error:  # on Windows, when the table is open in Excel
        complain(f"{error.filename or out}: is it open in another program?")
        raise
    finally:
        journal.close(done=done)
        if not done:
            complain(f"the same command with --resume continues from {journal.path}")
    return failed
