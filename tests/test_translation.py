"""Messages at the command line in languages other than English."""

from __future__ import annotations

import ast
import json
import re
import string
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from conftest import EXAMPLE
from program import semblante
from semblante import translation
from semblante.cli.app import app
from semblante.cli.language import system_language
from semblante.emotions import LANGUAGES
from semblante.errors import OptionError
from semblante.translation import translated
from semblante.wording import figures

SOURCE = Path(translation.__file__).parent
VARIES = re.compile(r"\{[*@#.]?\}")  # in a text of the table
OTHERS = [language for language in LANGUAGES if language != "en"]
# Calls whose text a person at the command line may read. The server's errors are left out, because
# the page has its own texts for them.
SAYING = re.compile(
    r"(?!ValueError)\w*Error|Unreadable|complain|localised|require|translated|new_table|Finding"
    r"|_of_images"
)
ALSO_WORDS = ("localised", "translated", "new_table", "Finding", "_of_images")  # words too
SAME = {"Training", "PublicTest", "PrivateTest", "n"}  # the same in all languages
THE_SERVERS = {
    "app.py", "body.py", "jobs.py", "parameters.py", "pictures.py", "stream.py", "videos.py",
    "work.py",
}  # fmt: skip


def table(language: str) -> dict[str, dict[str, str]]:
    return tomllib.loads((SOURCE / f"{language}.toml").read_text(encoding="utf-8"))


def plain(key: str) -> str:
    return re.sub(r"\{[^{}]*\}", "{}", key)


def template(node: ast.expr) -> str | None:
    """Return a text as the table has it; None if the expression is not a literal text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return plain(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) else "{}" for part in node.values
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = template(node.left), template(node.right)
        return None if left is None else left + ("{}" if right is None else right)
    return None


def modules() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text())) for path in sorted(SOURCE.rglob("*.py"))]


class Names:
    """The expressions that the names in a piece of code may stand for: assigned, or looped over."""

    def __init__(self, code: Iterable[ast.AST], around: Names | None = None) -> None:
        self._values: dict[str, list[ast.expr]] = {}
        self._around = around
        for node in code:
            if isinstance(node, ast.Assign):
                self._add(node.targets, node.value)
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                self._add([node.target], node.value)
            elif isinstance(node, ast.For | ast.comprehension):
                self._add([node.target], node.iter)
            elif isinstance(node, ast.FunctionDef):
                yields = [n.value for n in ast.walk(node) if isinstance(n, ast.Yield) and n.value]
                self._values.setdefault(node.name, []).extend(yields)

    def _add(self, targets: list[ast.expr], value: ast.expr) -> None:
        for target in targets:
            for name in ast.walk(target):
                if isinstance(name, ast.Name):
                    self._values.setdefault(name.id, []).append(value)

    def texts(self, node: ast.expr, seen: set[str] | None = None) -> set[str]:
        """Return the texts that an expression may stand for, as far as they are literals."""
        seen = set() if seen is None else seen
        if (text := template(node)) is not None:
            return {text}
        parts: list[ast.expr] = []
        if isinstance(node, ast.Name) and node.id not in seen:
            seen.add(node.id)
            here: Names | None = self
            while here is not None and node.id not in here._values:
                here = here._around
            parts = [] if here is None else here._values[node.id]
        elif isinstance(node, ast.Tuple | ast.List):
            parts = node.elts
        elif isinstance(node, ast.Dict):
            parts = node.values
        elif isinstance(node, ast.IfExp):
            parts = [node.body, node.orelse]
        elif isinstance(node, ast.Subscript | ast.Starred):
            parts = [node.value]
        elif isinstance(node, ast.Call):  # a generator's yields; of `a.values()`, `a.format(...)` a
            parts = [node.func.value if isinstance(node.func, ast.Attribute) else node.func]
        return {text for part in parts for text in self.texts(part, seen)}


def said_texts() -> dict[str, str]:
    """Return the texts of errors, complaints and other translated messages, with the place of
    each in the code."""
    found = {}
    trees = modules()
    constants = Names(node for _, tree in trees for node in tree.body)
    for path, tree in trees:
        if path.parent.name == "server" and path.name in THE_SERVERS:
            continue
        here = Names(tree.body, constants)
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            inside = list(ast.walk(function))
            names = Names(inside, here)
            for call in inside:
                if not isinstance(call, ast.Call):
                    continue
                name = getattr(call.func, "id", getattr(call.func, "attr", ""))
                if not SAYING.fullmatch(name):
                    continue
                arguments = call.args
                if name in ("Finding", "_of_images"):  # its key and its split are no texts
                    arguments = [word.value for word in call.keywords if word.arg != "split"]
                for argument in arguments:
                    texts = {template(argument)} - {None}
                    if name in ALSO_WORDS:
                        texts = names.texts(argument)
                    for text in texts - SAME:
                        if re.search("[a-z]", text) and (" " in text or name in ALSO_WORDS):
                            found[text] = f"{path.name}:{call.lineno}"
    return found


def help_texts() -> set[str]:
    found = set()

    def walk(command: Any) -> None:
        for text in (command.help, command.epilog, command.short_help):
            found.update(" ".join(part.split()) for part in (text or "").split("\n\n"))
        for option in command.params:
            for part in ("help", "rich_help_panel", "metavar", "show_default"):
                text = getattr(option, part, None)
                found.add(text if isinstance(text, str) else "")
        for below in getattr(command, "commands", {}).values():
            walk(below)

    walk(typer.main.get_command(app))
    return found - {""}


@pytest.mark.parametrize("language", OTHERS)
def test_whatever_is_said_is_translated(language: str) -> None:
    keys = {plain(key) for part in table(language).values() for key in part}
    lacking = {text: place for text, place in said_texts().items() if text not in keys}
    assert not lacking


@pytest.mark.parametrize("language", OTHERS)
def test_all_of_help_is_translated(language: str) -> None:
    # Names that messages refer to, and texts that are the same in all languages.
    names = {"OUT", "P"}
    assert {text for text in help_texts() if translated(text, language) == text} == names


@pytest.mark.parametrize("language", OTHERS)
def test_nothing_is_translated_that_nobody_says(language: str) -> None:
    written = {
        text
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.expr) and (text := template(node))
    }
    # Texts joined from several: a list's "a; or b"; an error and its possible cause.
    joined = re.compile(r"\{\}; or .*|\{\} \(.*\)|.*inside its kernels.*")
    shown = help_texts()
    for part, texts in table(language).items():
        for key in map(plain, texts):
            pattern = re.compile("(.*?)".join(map(re.escape, key.split("{}"))))
            known = part in ("typer", "system") or key in written or joined.fullmatch(key)
            assert known or (part == "help" and any(map(pattern.fullmatch, shown))), key


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_same_things_that_vary(language: str) -> None:
    seen: set[str] = set()
    for texts in table(language).values():
        for key, other in texts.items():
            n = plain(key).count("{}")
            names = [name for _, name, _, _ in string.Formatter().parse(other) if name is not None]
            assert len(names) == n, key
            assert set(names) in ({""}, set(map(str, range(n))), set()), key
            assert plain(key) not in seen, key
            seen.add(plain(key))


@pytest.mark.parametrize("language", OTHERS)
def test_no_text_is_taken_for_another(language: str) -> None:
    values = {"{}": "a.jpg", "{#}": "7", "{.}": "+1.5%", "{@}": "c/d.csv", "{*}": "not read"}
    said = {**values, "{*}": translated("not read", language), "{.}": figures("+1.5%", language)}
    for texts in table(language).values():
        for key, other in texts.items():
            kinds = VARIES.findall(key)
            text = VARIES.sub(lambda kind: values[kind[0]], key)
            assert translated(text, language) == other.format(*(said[kind] for kind in kinds)), key


def test_another_language() -> None:
    with pytest.raises(OptionError, match="unknown language 'fr'; known: en, es"):
        translated("not read", "fr")


def test_a_long_text() -> None:
    """Trying all ways to match this text would take minutes."""
    found = "a: expected b, found c; or d, line 3 " * 2000
    text = "x.csv, line 2: expected a split of a, b (or train, val, test), found "
    assert translated(text + found, "es").startswith("x.csv, línea 2: se esperaba una partición de")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it is not known here", "it is not known here"),
        (
            "faces without a label cannot be converted",
            "no se pueden convertir rostros sin etiqueta",
        ),
        # Varying parts are not translated, though they may be texts, or contain braces or newlines.
        ("nothing: the file is empty", "nothing: el archivo está vacío"),
        ("not read: cannot be read: not read", "not read: no se puede leer: no leída"),
        ("{}/{0}\n.jpg: the file is empty", "{}/{0}\n.jpg: el archivo está vacío"),
        # But numbers are written as in Spanish.
        ("28,709 of 35,887 judged", "28709 de 35887 juzgadas"),
        ("a 1,234 groups", "a 1,234 groups"),
        ("1,23 groups", "1,23 groups"),
        ("1,234: the file is empty", "1,234: el archivo está vacío"),
        (
            "bread and butter: cannot be read: Permission denied",
            "bread and butter: no se puede leer: permiso denegado",
        ),
        ("a.jpg: cannot be read: who knows", "a.jpg: no se puede leer: who knows"),
        # Texts nested in texts, several levels deep.
        (
            "x.csv: not one face in it: 2 bad rows, the first: x.csv, line 3: expected pixels of "
            "0..255, found 300",
            "x.csv: no contiene ningún rostro: 2 filas defectuosas; la primera: x.csv, línea 3: se "
            "esperaban píxeles de 0..255; se encontró 300",
        ),
        (
            "x: expected a; found README.md (first line '# x'); a.csv (text in UTF-16: save it as "
            "UTF-8)",
            "x: se esperaba a; se encontró README.md (primera línea: '# x'); a.csv (texto en "
            "UTF-16: guárdelo como UTF-8)",
        ),
        ("a.zip: Permission denied", "a.zip: permiso denegado"),
        ("camera 7: there is no such camera", "cámara 7: no existe esa cámara"),
        # Names of files are not translated; line numbers are, in an archive too.
        ("poem, line 3.jpg: the file is empty", "poem, line 3.jpg: el archivo está vacío"),
        (
            "a.zip, member b.csv, line 4: expected pixels of 0..255, found 300",
            "a.zip, miembro b.csv, línea 4: se esperaban píxeles de 0..255; se encontró 300",
        ),
        # Word order may differ.
        (
            'reading HEIC needs more packages: pip install "semblante[heic]"',
            'leer HEIC requiere más paquetes: pip install "semblante[heic]"',
        ),
        # If two patterns match, the more specific one is used.
        ("expected scale below 1, found 3", "se esperaba scale menor que 1; se encontró 3"),
        ("expected epochs at least 1, found 0", "se esperaba epochs de al menos 1; se encontró 0"),
        (
            "expected optimiser to be one of sgd, adam, found 'x'",
            "se esperaba optimiser igual a uno de sgd, adam; se encontró 'x'",
        ),
    ],
)
def test_translated(text: str, expected: str) -> None:
    assert translated(text, "es") == expected
    assert translated(text, "en") == text


ENGLISH = "semblante: nowhere.jpg: cannot be read: No such file or directory\n"
SPANISH = "semblante: nowhere.jpg: no se puede leer: no existe ese archivo o carpeta\n"


@pytest.mark.parametrize(
    ("variables", "options", "expected"),
    [
        ({}, [], ENGLISH),
        ({"SEMBLANTE_LANG": "es"}, [], SPANISH),
        ({}, ["--lang", "es"], SPANISH),
        ({}, ["--lang=es"], SPANISH),
        ({"SEMBLANTE_LANG": "es"}, ["--lang", "en"], ENGLISH),
        # The system's language, in POSIX's order of variables; English if it is not one of ours.
        ({"LC_ALL": "", "LANG": "es_MX.UTF-8"}, [], SPANISH),
        ({"SEMBLANTE_LANG": "", "LC_ALL": "es"}, [], SPANISH),
        ({"SEMBLANTE_LANG": "", "LC_ALL": "est_EE"}, [], ENGLISH),
        ({"LC_ALL": "", "LC_MESSAGES": "es_ES", "LANG": "de_DE.UTF-8"}, [], SPANISH),
        ({"LC_ALL": "", "LANG": "de_DE.UTF-8"}, [], ENGLISH),
        ({"LC_ALL": "es_AR.UTF-8", "SEMBLANTE_LANG": "en"}, [], ENGLISH),
        ({"LC_ALL": "es_AR.UTF-8"}, ["--lang", "en"], ENGLISH),
    ],
)
def test_complaints_are_in_the_language_of_the_reader(
    variables: dict[str, str], options: list[str], expected: str
) -> None:
    done = semblante("analyze", "nowhere.jpg", "--format", "json", *options, **variables)
    assert done.stderr == expected
    # Files are the same in all languages.
    assert json.loads(done.stdout)["error"] == ENGLISH.removeprefix("semblante: ").strip()


@pytest.mark.parametrize(
    ("number", "expected"), [(0x080A, "es"), (0x580A, "es"), (0x0409, "en"), (0x7777, "en")]
)
def test_the_language_of_windows(
    number: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel32 = SimpleNamespace(GetUserDefaultUILanguage=lambda: number)
    monkeypatch.setattr("ctypes.windll", SimpleNamespace(kernel32=kernel32), raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LC_ALL", "es_ES.UTF-8")
    assert system_language() == "es"
    monkeypatch.delenv("LC_ALL")
    for name in ("LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    assert system_language() == expected


@pytest.mark.parametrize("named", ["es", "ES", "es_MX", "es-419", "es_ES.UTF-8"])
def test_the_language_of_a_variable(named: str) -> None:
    done = semblante("analyze", "x.jpg", "--out", "x.y", SEMBLANTE_LANG=named)
    assert "se esperaba un nombre que termine en" in done.stderr
    assert "o bien --format" in done.stderr


def test_results_are_in_the_language_of_the_system() -> None:
    done = semblante("data", "inspect", "nowhere", LC_ALL="es_ES.UTF-8")
    assert done.stderr == "semblante: nowhere: no se puede leer: no existe ese archivo o carpeta\n"
    done = semblante("models", "list", LC_ALL="es_ES.UTF-8")
    assert done.stdout.split()[:2] == ["modelo", "parámetros"]
    for none in ({}, {"SEMBLANTE_LANG": ""}):
        done = semblante("analyze", str(EXAMPLE), LC_ALL="es_ES.UTF-8", **none)
        assert "alegría" in done.stdout


def test_errors_end_a_command_in_spanish() -> None:
    done = semblante("models", "pull", "mtcnn", SEMBLANTE_LANG="es")
    assert done.returncode == 2
    assert done.stderr == "semblante: detector desconocido: 'mtcnn'; conocidos: yunet\n"


def test_help_in_spanish() -> None:
    done = semblante("explain", "--help", SEMBLANTE_LANG="es")
    assert "Uso: semblante explain [OPCIONES] {RUTA}..." in done.stdout
    assert "imágenes, o carpetas de imágenes [obligatorio]" in done.stdout
    assert "[por omisión: cnn]" in done.stdout
    assert "Muestra esta ayuda y termina." in done.stdout
    # Paragraphs are wrapped at the terminal's width, not where the code breaks lines.
    assert "tiene esa expresión. Tarda hasta un segundo por " in done.stdout
    assert "Show" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["analyse"], "No existe la orden 'analyse'. ¿Quiso decir 'analyze'?"),
        (["analyze"], "Falta el argumento 'RUTA'."),
        (["analyze", "--nope"], "No existe la opción --nope"),
        (["analyze", "x", "--format"], "La opción '--format' requiere un argumento."),
        (["evaluate"], "Falta la opción '--data'."),
        (
            ["analyze", "x", "--lang", "fr"],
            "para '--lang' (variable de entorno: 'SEMBLANTE_LANG'): 'fr'",
        ),
        (["watch", "1", "2"], "Sobran argumentos (2)"),
        (["analyze", "x", "--tta", "all"], "Valor no válido para '--tta': 'all' no es ninguno de"),
        (
            ["train", "--data", "x", "--out", "y", "--epochs", "z"],
            "Valor no válido para '--epochs': debe ser un número entero",
        ),
        (["serve", "--port", "99999"], "Valor no válido para '--port': debe ser 65535 como máximo"),
    ],
)
def test_wrong_usage_is_said_in_spanish(arguments: list[str], expected: str) -> None:
    done = semblante(*arguments, SEMBLANTE_LANG="es")
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Uso: semblante" in done.stderr or "--format" in arguments
