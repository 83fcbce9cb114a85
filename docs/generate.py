"""Writes the generated parts of the documentation: `make docs`.

    docs/command-line.md       and command-line.es.md, from the program's own help
    `PAGES` below              the text between the marks `<!-- name -->` and `<!-- /name -->`:
                               the output of commands, and tables of benchmarks/results/*.json;
                               also the line numbers in links to code
    docs/images/               the annotated example, eileen-collins.jpg and eileen-collins.es.jpg

A test compares the texts with what this script would write.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import typer
from typer.cli import get_docs_for_click

from semblante.cli.app import app
from semblante.cli.language import localise_command
from semblante.emotions import emotion_name
from semblante.models import DEFAULT_MODEL
from semblante.plots import class_name
from semblante.preprocess import FACE_SIZE
from semblante.train.networks import build_network, count_multiply_adds, count_parameters
from semblante.train.recurrent import RecurrentConvolution, RecurrentNetwork
from semblante.translation import translated

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PROGRAM = Path(sys.executable).parent / "semblante"
PAGES = (
    "README.md", "README.es.md", "docs/model-card.md", "docs/model-card.es.md", "docs/speed.md",
    "docs/how-made.md", "docs/data.md", "docs/data.es.md", "docs/how-it-learns.md",
    "docs/how-it-learns.es.md",
)  # fmt: skip
# What the processor of each file of times calculates with.
_INSTRUCTIONS = {
    "latency": "AVX-512 with VNNI",
    "latency-avx512": "AVX-512 with VNNI",
    "latency-avx2": "AVX2",
}
# A link to a line of code, with a text that identifies the line: (../src/x.py#L12 "def f(").
_CODE = re.compile(r'\(\.\./(src/[^)#\s]+)#L\d+ "([^"]+)"\)')


def main() -> None:
    for path, text in pages().items():
        (ROOT / path).write_text(text, encoding="utf-8")
    annotated = (
        "analyze", "examples/eileen-collins.jpg", "--annotate", "docs/images", "--lang",
    )  # fmt: skip
    images = ROOT / "docs" / "images"
    printed(str(PROGRAM), *annotated, "es")
    (images / "eileen-collins.jpg").replace(images / "eileen-collins.es.jpg")
    printed(str(PROGRAM), *annotated, "en")


def pages() -> dict[str, str]:
    """The up-to-date text of each page with generated parts, by its path."""
    parts = generated_parts()
    texts = {
        path: with_lines(filled((ROOT / path).read_text(encoding="utf-8"), parts)) for path in PAGES
    }
    texts["docs/command-line.md"] = commands("en")
    texts["docs/command-line.es.md"] = commands("es")
    return texts


def commands(language: str) -> str:
    """The program's help as a Markdown page."""
    command = typer.main.get_command(app)
    localise_command(command, language)
    whole_summaries(command)
    page = get_docs_for_click(obj=command, ctx=typer.Context(command), name="semblante")
    # Typer's headings, and its remarks at the end of an option's help.
    typers = re.compile(
        r"(?<=^\*\*)\w+(?=\*\*:$)|(?<=\[)(env var|default|required)(?=[]:])"
        r"|(?<=; )default(?=: [^]]*]$)",
        re.MULTILINE,
    )
    return typers.sub(lambda m: _TYPERS[language].get(m[0], m[0]), page).rstrip() + "\n"


def whole_summaries(command: Any) -> None:
    """Make lists of commands show the first paragraph of each one's help, not only 45 letters."""
    command.short_help = (command.help or "").partition("\n\n")[0]
    for below in getattr(command, "commands", {}).values():
        whole_summaries(below)


def filled(text: str, parts: dict[str, str]) -> str:
    """`text` with the content of each marked part replaced by the one in `parts`."""
    for name, content in parts.items():
        block = f"<!-- {name} -->\n{content}\n<!-- /{name} -->"
        pattern = rf"<!-- {re.escape(name)} -->\n.*?<!-- /{re.escape(name)} -->"
        text = re.sub(pattern, block.replace("\\", r"\\"), text, flags=re.DOTALL)
    return text


def with_lines(text: str) -> str:
    """`text` with the present line number in each link to a line of code."""

    def found(match: re.Match[str]) -> str:
        path, sought = match.groups()
        lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        (number,) = (n for n, line in enumerate(lines, 1) if sought in line)
        return f'(../{path}#L{number} "{sought}")'

    return _CODE.sub(found, text)


def generated_parts() -> dict[str, str]:
    accuracy = json.loads((RESULTS / "accuracy.json").read_text())
    peers = json.loads((RESULTS / "peers.json").read_text())
    audit = (RESULTS / "audit.txt").read_text(encoding="utf-8")
    parts = {
        "latency": "\n\n".join(
            latency_table(json.loads(path.read_text()), _INSTRUCTIONS.get(path.stem, path.stem))
            for path in sorted(RESULTS.glob("latency*.json"), reverse=True)
        ),
        "robustness": robustness_table(json.loads((RESULTS / "robustness.json").read_text())),
        "failures": failures_table(json.loads((RESULTS / "failures.json").read_text())),
        "audit": f"```text\n{trimmed(audit)}\n```",
        "audit:es": f"```text\n{audit_in(audit, 'es')}\n```",
    }
    for name in dict.fromkeys(row["model"] for row in accuracy):
        early_exit = json.loads((RESULTS / f"early-exit-{name}.json").read_text())
        parts[f"early-exit:{name}"] = early_exit_table(early_exit)
    lessons = json.loads((RESULTS / "lessons.json").read_text())
    curve = json.loads((RESULTS / "learning-curve.json").read_text())
    evidence = json.loads((RESULTS / "evidence.json").read_text())
    for language, words in _WORDS.items():
        parts[f"layers:{language}"] = layers_table(words)
        parts[f"lessons:{language}"] = lessons_table(lessons, words)
        parts[f"evidence:{language}"] = recall_table(evidence, words, language)
        parts[f"learning-curve:{language}"] = learning_curve_table(curve, words)
        shown = printed(str(PROGRAM), "analyze", "examples", "--lang", language)
        parts[f"analyze:{language}"] = f"```text\n{trimmed(shown)}\n```"
        for labels, tta in (("fer2013", "none"), ("ferplus", "flip")):
            wanted = ("PrivateTest", tta, labels)
            parts[f"per-class:{labels}:{language}"] = per_class_table(accuracy, wanted, language)
        parts[f"selective:{language}"] = selective_table(accuracy, words)
        usual = [row for row in accuracy + peers if in_readme(row)]
        parts[f"accuracy:{language}"] = accuracy_table(usual, words)
        parts[f"sure:{language}"] = surest(accuracy, words)
    parts["accuracy:all"] = accuracy_table(accuracy + peers, _WORDS["en"])
    return parts


def printed(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines())


def audit_in(audit: str, language: str) -> str:
    """What `data audit --lang LANGUAGE` would print, from its English output."""
    rows = []
    for line in audit.splitlines():
        name, value = re.split(r"(?<=\S)\s{2,}", line.rstrip(), maxsplit=1)
        if name == "class balance":
            told = (each.split() for each in value.split(", "))
            value = ", ".join(
                f"{emotion_name(emotion, language)} {translated(n, language)}"
                for emotion, n in told
            )
        rows.append((translated(name, language), translated(value, language)))
    wide = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:{wide}}{value}" for name, value in rows)


def as_spanish(text: str) -> str:
    """Figures in Spanish notation: 71,22 % instead of 71.22%."""
    return re.sub(r"(\d)\.(\d)", r"\1,\2", text).replace("%", "\N{NO-BREAK SPACE}%")


def counted_in_spanish(number: int) -> str:
    """A number in Spanish notation: 28 709, but 3589."""
    return f"{number:,}".replace(",", " ") if number >= 10_000 else str(number)


_TYPERS: dict[str, dict[str, str]] = {
    "en": {},
    "es": {
        "Usage": "Uso", "Arguments": "Argumentos", "Options": "Opciones", "Commands": "Órdenes",
        "env var": "variable de entorno", "default": "por omisión", "required": "obligatorio",
    },
}  # fmt: skip

_WORDS: dict[str, dict[str, Any]] = {
    "en": {
        "head": ["model", "split", "views at test time", "accuracy", "95 % interval",
                 "leak-free", "macro F1", "ECE"],
        "none": "1 (as it is)", "flip": "2 (and mirrored)", "ten-crop": "10 crops",
        "fer2013": "", "ferplus": ", FER+ labels",
        "layers": ["layer", "maps", "steps", "sees", "without further steps", "weights",
                   "multiplications"],
        "stem": "first (stem)", "recurrent": "recurrent", "classifier": "weighted sums",
        "total": "together",
        "lessons": ["run", "epochs", "faces", "at the end: Training", "PublicTest"],
        "per-class": ["emotion", "precision", "recall", "F1", "n"],
        "selective": ["probability at least", "of the faces", "right", "leak-free"],
        "figure": str, "count": "{:,}".format,
        "evidence": ["emotion", "whole face", "eyes hidden", "nose hidden", "mouth hidden"],
        "under": "too small", "first": "first stage", "over": "too few faces",
        "sure": "- **How far to trust it.** For {share} of the {n} faces of PrivateTest on which "
        "FER+'s ten have a majority, `analyze` is at\n  least {sure} sure, and the majority agrees "
        "with {right} of these answers (two views; leak-free {fresh}). Those are\n  FER2013's own "
        "crops: of other pictures, and of faces on which people do not agree, it may be surer than "
        "it should.\n  `semblante evaluate --data mine/ --head ferplus --tta flip` says it of your "
        "own faces.",
    },
    "es": {
        "head": ["modelo", "partición", "vistas al evaluar", "exactitud", "intervalo del 95 %",
                 "sin copias", "F1 macro", "ECE"],
        "none": "1 (tal cual)", "flip": "2 (y reflejada)", "ten-crop": "10 recortes",
        "fer2013": "", "ferplus": ", etiquetas FER+",
        "layers": ["capa", "mapas", "pasos", "ve", "sin más pasos", "pesos", "multiplicaciones"],
        "stem": "primera", "recurrent": "recurrente", "classifier": "sumas ponderadas",
        "total": "en total",
        "lessons": ["ejecución", "épocas", "rostros", "al final: Training", "PublicTest"],
        "per-class": ["emoción", "precisión", "exhaustividad", "F1", "n"],
        "selective": ["probabilidad mínima", "de los rostros", "aciertos", "sin copias"],
        "figure": as_spanish, "count": counted_in_spanish,
        "evidence": ["emoción", "rostro entero", "ojos tapados", "nariz tapada", "boca tapada"],
        "under": "red demasiado pequeña", "first": "primera etapa",
        "over": "demasiado pocos rostros",
        "sure": "- **Hasta dónde confiar.** En el {share} de los {n} rostros de PrivateTest en "
        "los que las diez personas de FER+ tienen una\n  mayoría, `analyze` da a su respuesta un "
        "{sure} o más, y la mayoría coincide con el {right} de esas respuestas (dos vistas;\n"
        "  sin copias, {fresh}). Son recortes del propio FER2013: con otras imágenes, y con "
        "rostros en los que la gente no se\n  pone de acuerdo, puede estar más seguro de lo "
        "debido.\n  `semblante evaluate --data mios/ --head ferplus --tta flip` lo calcula para "
        "sus propios rostros.",
    },
}  # fmt: skip


def accuracy_table(results: list[dict[str, Any]], words: dict[str, Any]) -> str:
    rows = []
    for row in results:
        low, high = row["accuracy_ci95"]
        fresh = row["leak_free"]
        single = row["tta"] == "none"
        rows.append(
            [
                row["model"],
                f"{row['split']}{words[row['labels']]} (n={row['n']})",
                words[row["tta"]],
                *map(
                    words["figure"],
                    [
                        f"**{row['accuracy']:.2%}**" if single else f"{row['accuracy']:.2%}",
                        f"{low:.1%} - {high:.1%}",
                        f"{fresh['accuracy']:.2%} (n={fresh['n']})",
                        f"{row['macro_f1']:.3f}",
                        f"{row['ece']:.3f}",
                    ],
                ),
            ]
        )
    return table(words["head"], rows)


def in_readme(row: dict[str, object]) -> bool:
    """Whether the README's table has the row: PrivateTest, by FER+'s labels as `analyze` answers,
    with two views, and by FER2013's with one; the default model's with two as well."""
    asked = (row["labels"], row["tta"])
    if row["split"] != "PrivateTest" or row["model"] == "rcnn-medium":  # as good as its int8 form
        return False
    if row["model"] == DEFAULT_MODEL:
        return asked in [("ferplus", "flip"), ("fer2013", "none"), ("fer2013", "flip")]
    return asked in [("ferplus", "flip"), ("fer2013", "none")]


def per_class_table(
    results: list[dict[str, Any]], wanted: tuple[str, str, str], language: str
) -> str:
    """A table of the default model, whose rows come first; `wanted`: split, tta and labels."""
    row = next(row for row in results if (row["split"], row["tta"], row["labels"]) == wanted)
    figure = _WORDS[language]["figure"]
    lines = [
        [class_name(emotion, language),
         *(figure(f"{figures[key]:.3f}") for key in ("precision", "recall", "f1")),
         str(figures["n"])]
        for emotion, figures in row["per_class"].items()
    ]  # fmt: skip
    return table(_WORDS[language]["per-class"], lines)


def selective_table(results: list[dict[str, Any]], words: dict[str, Any]) -> str:
    """A table of accuracy by least probability, for each model with the settings of `analyze`, the
    default model first."""
    rows = [row for row in results if is_usual(row)]
    lines = [
        [words["figure"](f"{at['confidence']:.0%}"),
         *(words["figure"](f"{row['selective'][k][part]:.1%}") for row in rows
           for part in ("share", "accuracy", "leak_free"))]
        for k, at in enumerate(rows[0]["selective"])
    ]  # fmt: skip
    heads = (f"{row['model']}: {part}" for row in rows for part in words["selective"][1:])
    return table([words["selective"][0], *heads], lines)


def is_usual(row: dict[str, Any]) -> bool:
    """Whether a row is of the settings of `analyze` (two views, FER+'s labels) on PrivateTest, by
    which nothing was chosen."""
    return (row["split"], row["tta"], row["labels"]) == ("PrivateTest", "flip", "ferplus")


def surest(results: list[dict[str, Any]], words: dict[str, Any]) -> str:
    """The README's item on the surest answers of the default model, whose rows come first."""
    row = next(row for row in results if is_usual(row))
    at = row["selective"][-1]
    sure, share, right, fresh = (
        words["figure"](f"{at[part]:.0%}")
        for part in ("confidence", "share", "accuracy", "leak_free")
    )
    n = words["count"](row["n"])
    return str(words["sure"].format(n=n, sure=sure, share=share, right=right, fresh=fresh))


def failures_table(results: dict[str, Any]) -> str:
    rows = [
        [str(row["row"]), row["label"], f"{row['said']} {row['probability']:.0%}",
         f"{row['people']} {row['share']:.0%}"]
        for row in results["rows"]
    ]  # fmt: skip
    return table(["row", "label", "it says", "FER+'s people say most often"], rows)


def layers_table(words: dict[str, Any]) -> str:
    """The layers of rcnn-small: what a unit sees of the face, and what they cost."""
    network = build_network("rcnn-small", 7)
    assert isinstance(network, RecurrentNetwork)
    count = words["count"]
    rows: list[list[str]] = []

    def add(name: str, maps: str, steps: str, *squares: int, weights: int, work: int) -> None:
        seen = [f"{square}x{square}" for square in squares] or ["", ""]
        rows.append([words[name], maps, steps, *seen, count(weights), count(work)])

    side = FACE_SIZE
    stem = network.stem
    weights = count_parameters(stem) + count_parameters(network.stem_norm)
    spent = stem.weight.numel() * side**2
    add("stem", f"{stem.out_channels} * {side}x{side}", "", 3, 3, weights=weights, work=spent)
    sees, plain, between = 3, 3, 1  # pixels of the face; `between` two neighbours of a map
    for layer in network.layers:
        assert isinstance(layer, RecurrentConvolution)
        side //= 2
        sees, plain, between = sees + 2 * between, plain + 2 * between, 2 * between
        sees = min(FACE_SIZE, sees + 2 * between * layer.steps)
        work = layer.feed_forward.weight.numel() + layer.steps * layer.recurrent.weight.numel()
        maps = f"{layer.feed_forward.out_channels} * {side}x{side}"
        weights, work = count_parameters(layer), work * side**2
        add("recurrent", maps, str(layer.steps), sees, plain, weights=weights, work=work)
        spent += work
    last = network.classifier
    add("classifier", "", "", weights=count_parameters(last), work=last.weight.numel())
    work = count_multiply_adds(network)
    assert work == spent + last.weight.numel()
    add("total", "", "", weights=count_parameters(network), work=work)
    return table(words["layers"], rows)


def lessons_table(lessons: dict[str, Any], words: dict[str, Any]) -> str:
    rows = [
        [words[name], str(len(lessons[name]["history"])),
         words["count"](lessons[name]["training"]["n"]),
         *(words["figure"](f"{lessons[name]['history'][-1][f'{split}_accuracy']:.1%}")
           for split in ("training", "public"))]
        for name in ("under", "first", "over")
    ]  # fmt: skip
    return table(words["lessons"], rows)


def recall_table(results: dict[str, Any], words: dict[str, Any], language: str) -> str:
    rows = [
        [emotion_name(emotion, language), *(words["figure"](f"{p:.0%}") for p in shares.values())]
        for emotion, shares in results["recall"].items()
    ]
    return table(words["evidence"], rows)


def learning_curve_table(results: dict[str, Any], words: dict[str, Any]) -> str:
    rows = [
        [words["count"](point["faces"]),
         *(words["figure"](f"{point[split]:.1%}") for split in ("training", "public"))]
        for point in results["points"]
    ]  # fmt: skip
    return table([words["lessons"][2], "Training", "PublicTest"], rows)


def latency_table(results: dict[str, Any], instructions: str) -> str:
    about = results["machine"]
    kinds = list(results["results"][0]["ms"])
    finder = about.get("detector", "OpenCV's cascade, the detector then")
    heads = [kind.replace("detection", f"detection ({finder})") for kind in kinds]
    rows = [
        [row["model"], str(row["threads"] or "its own"),
         *(f"{ms['median']:.2f} ({ms['fastest']:.2f})" if (ms := row["ms"].get(kind)) else ""
           for kind in kinds)]
        for row in results["results"]
    ]  # fmt: skip
    where = (
        f"Median and, in brackets, fastest of up to {about['rounds']} rounds on a machine with\n"
        f"{about['cores']} cores ({about['processor']}, {instructions}), Python {about['python']}, "
        f"ONNX Runtime {about['onnxruntime']}, OpenCV {about['opencv-python-headless']}."
    )
    return f"{table(['model', 'threads', *heads], rows)}\n\n{where}"


def early_exit_table(results: dict[str, Any]) -> str:
    rows = [
        [way, f"{row['accuracy']:.2%}", f"{row['ece']:.3f}", f"{row['mean_steps']:.2f}",
         f"{row['ms_batch_1']:.2f}", f"{row['ms_batch_64']:.2f}"]
        for way, row in results["ways"].items()
    ]  # fmt: skip
    head = ["last layer", f"PublicTest (n={results['n']})", "ECE", "steps a face",
            "ms a face, alone", "ms a face, by 64"]  # fmt: skip
    return table(head, rows)


def robustness_table(results: dict[str, Any]) -> str:
    models = results["accuracy"]
    rows = [
        [what, *(f"{accuracies[what]:.1%}" for accuracies in models.values())]
        for what in next(iter(models.values()))
    ]
    return table([f"faces of PublicTest (n={results['n']})", *models], rows)


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
