"""The source checked against its own rules: layers, sizes, names, docstrings, comments on dependencies."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from agents.exits import REASONS
from agents.logs import LIBRARY

ROOT = Path(__file__).resolve().parent.parent

LAYERS = {
    "config": set(),
    "schemas": {"config"},
    "streams": {"config", "schemas"},
    "agents": {"config", "schemas", "streams"},
    "gateway": {"config", "schemas", "streams"},
    "notifier": {"config", "schemas", "streams", "gateway"},
    "market": {"config", "schemas", "agents"},
    "ops": set(),
    "load_tests": {"config", "schemas", "streams", "agents", "gateway", "notifier", "market", "ops", "tests"},
    "cli": {"config", "schemas", "streams", "agents", "gateway", "notifier", "market"},
}
"""Each package, and what it may import besides itself: one way only."""

PURE = ("schemas", "streams")
IMPURE_MODULES = {
    "faust", "mode", "aiokafka", "kafka", "redis", "aiohttp", "fastapi", "os", "time", "random", "secrets", "uuid",
    "socket", "subprocess", "threading", "multiprocessing", "asyncio", "pathlib", "tempfile", "io", "shutil", "logging",
}  # fmt: skip
"""What a deterministic core has no use for: clocks, chance, files, networks, threads."""
IMPURE_CALLS = {"now", "utcnow", "today", "open", "input", "getenv"}

LINES_PER_MODULE = 500
LINES_PER_FUNCTION = 100
EMPTY_NAMES = re.compile(
    r"(?i)(^|_)(utils?|helpers?|managers?|misc|common|base)(_|$)|^Base[A-Z]|(Manager|Helper|Utils?|Base)$"
)
FOREIGN_WORDS = re.compile(r"(?i)/work/|work/shared|shared/(SPEC|DESIGN)|\bissue[s ]+#?\d+\b|DESIGN(\.md)? §|PLAN\.md")
"""The repository speaks of the product alone, not of where or how it was written."""

TEXTS = {".py", ".md", ".toml", ".yml", ".yaml", ".html", ".js", ".css", ".json", ".sh"}


def modules(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


@pytest.mark.parametrize("package", LAYERS)
def test_imports_go_one_way(package: str) -> None:
    allowed = LAYERS[package] | {package}
    wrong = [
        f"{name_of(path)}:{line} imports {module}"
        for path in modules(package)
        for line, module in imports_of(tree_of(path))
        if (top := module.split(".")[0]) in LAYERS.keys() | {"tests"} and top not in allowed
    ]
    assert not wrong


@pytest.mark.parametrize("package", PURE)
def test_the_core_reads_no_clock_and_touches_no_world(package: str) -> None:
    wrong = []
    for path in modules(package):
        tree = tree_of(path)
        wrong += [
            f"{name_of(path)}:{line} imports {module}"
            for line, module in imports_of(tree)
            if module.split(".")[0] in IMPURE_MODULES
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in IMPURE_CALLS:
                    wrong.append(f"{name_of(path)}:{node.lineno} calls {called}()")
    assert not wrong


def test_modules_fit_in_the_head() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules(*LAYERS)}
    assert not {name: length for name, length in lengths.items() if length > LINES_PER_MODULE}


def test_functions_fit_on_a_screen() -> None:
    wrong = [
        f"{name_of(path)}:{node.lineno} {node.name} has {length} lines"
        for path in modules(*LAYERS)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and (length := node.end_lineno - node.lineno + 1) > LINES_PER_FUNCTION
    ]
    assert not wrong


def test_names_say_something() -> None:
    wrong = [name_of(path) for path in modules(*LAYERS, "tests") if EMPTY_NAMES.search(path.stem)]
    wrong += [
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in modules(*LAYERS)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef) and EMPTY_NAMES.search(node.name)
    ]
    assert not wrong


def test_everything_public_says_what_it_is() -> None:
    wrong = []
    for path in modules(*LAYERS):
        tree = tree_of(path)
        if not ast.get_docstring(tree) and tree.body:
            wrong.append(f"{name_of(path)}: the module")
        wrong += [f"{name_of(path)}:{node.lineno} {node.name}" for node in public(tree) if not ast.get_docstring(node)]
    assert not wrong


def public(tree: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        overload = any("overload" in ast.unparse(decorator) for decorator in node.decorator_list)
        if not overload:
            yield node
        if isinstance(node, ast.ClassDef):
            yield from public(node)


KAFKA_CLIENTS = re.compile(r"(^|\.)(AIOKafka|Kafka)(Consumer|Producer|AdminClient|Client)$")
OWN_BROKER = "agents/real_kafka.py"
"""Asks a broker that it has started itself, without security, whether it is there."""


def test_every_client_of_kafka_has_the_security_of_the_settings() -> None:
    made, wrong = 0, []
    for path in modules(*LAYERS):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and KAFKA_CLIENTS.search(ast.unparse(node.func)):
                made += 1
                spread = [ast.unparse(each.value) for each in node.keywords if each.arg is None]
                if not any(each.endswith(".security") for each in spread) and name_of(path) != OWN_BROKER:
                    wrong.append(f"{name_of(path)}:{node.lineno} {ast.unparse(node.func)} without **settings.security")
    assert made > 5
    assert not wrong


WARNS = {"warning", "error", "critical", "exception"}
LOGGERS = {"log", "_log", "logger", "_logger"}
REASON = re.compile(r"[a-z]+(_[a-z]+)*")


def warnings() -> Iterator[tuple[str, ast.Call]]:
    """Every call that logs a warning or worse, and where it is."""
    for path in modules(*LAYERS):
        for node in ast.walk(tree_of(path)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in WARNS
                and ast.unparse(node.func.value).split(".")[-1] in LOGGERS
            ):
                yield f"{name_of(path)}:{node.lineno}", node


def test_every_warning_is_a_sentence_with_a_reason_that_the_docs_explain() -> None:
    """And its words are always the same: what differs stands beside them by name, so that machines can sort it."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    explained = set(
        re.findall(r"^\| `(\w+)` \|", text.partition("| reason | what it is |")[2].partition("\n\n")[0], re.MULTILINE)
    )
    said, wrong = set(), []
    for where, call in warnings():
        sentence = call.args[0] if call.args else None
        if not (isinstance(sentence, ast.Constant) and isinstance(sentence.value, str) and " " in sentence.value):
            wrong.append(f"{where}: no sentence that is always the same")
        given = next((each.value for each in call.keywords if each.arg == "reason"), None)
        reasons = reasons_of(given)
        said |= reasons
        if not reasons:
            wrong.append(f"{where}: no reason")
        wrong += [f"{where}: {each} is no word of the list" for each in reasons if each not in explained]
    assert len(said) > 10
    assert not wrong
    assert all(map(REASON.fullmatch, said))
    assert explained - said == {LIBRARY}, "explained, and never said"


def reasons_of(given: ast.expr | None) -> set[str]:
    """What a warning's ``reason`` may be: a word, one of two, a constant of agents.logs, or that of an exit code."""
    if isinstance(given, ast.Constant):
        return {str(given.value)}
    if isinstance(given, ast.IfExp):
        return reasons_of(given.body) | reasons_of(given.orelse)
    if isinstance(given, ast.Subscript) and ast.unparse(given.value).split(".")[-1] == "REASONS":
        return set(REASONS.values())
    return set()


def test_there_is_one_way_to_log() -> None:
    wrong = [
        f"{name_of(path)}:{node.lineno} {ast.unparse(node)[:60]}"
        for path in modules(*LAYERS)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and node.value is not None
        and ast.unparse(node.value).startswith("logging.getLogger(")
        and name_of(path) != "agents/logs.py"
    ]
    assert not wrong


def test_every_dependency_says_why_it_is_there() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)
    names = [*project["project"]["dependencies"], *chain(*project["dependency-groups"].values())]
    wrong = [name for name in names if not re.search(re.escape(f'"{name}",') + r" # \w+", text)]
    assert not wrong


def test_every_import_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    distributions = [*project["project"]["dependencies"], *chain(*project["dependency-groups"].values())]
    declared = {re.split(r"[=<>!;\[ ]", name)[0] for name in distributions}
    wrong = [
        f"{name_of(path)}:{line} imports {module}"
        for path in modules(*LAYERS, "tests")
        for line, module in imports_of(tree_of(path))
        if (top := module.split(".")[0]) not in LAYERS.keys() | {"tests"}
        and not is_standard(top)
        and not declared & known_as(top)
    ]
    assert not wrong


def is_standard(module: str) -> bool:
    return module in sys.stdlib_module_names


def known_as(module: str) -> set[str]:
    """The distributions that an import may come from."""
    others = {
        "faust": "faust-streaming", "mode": "mode-streaming", "kafka": "kafka-python", "yaml": "pyyaml",
        "starlette": "fastapi", "click": "typer", "yarl": "faust-streaming", "markupsafe": "jinja2", "llvmlite": "numba", "_pytest": "pytest",
        "opentelemetry": "opentelemetry-sdk",
    }  # fmt: skip
    return {others.get(module, module.replace("_", "-"))}


def test_the_repository_speaks_of_the_product_alone() -> None:
    wrong = [
        f"{name_of(path)}:{number} {found.group()}"
        for path in repository_texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (found := FOREIGN_WORDS.search(line)) and path != Path(__file__)
    ]
    assert not wrong


def repository_texts() -> Iterator[Path]:
    skipped = {".git", ".venv", ".cache", "golden", "vendor", "results"}
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if (
            path.is_file()
            and path.suffix in TEXTS
            and not any(part in skipped or part.endswith("_cache") for part in parts)
        ):
            yield path


def test_what_may_come_later_is_not_left_in_comments() -> None:
    wrong = [
        f"{name_of(path)}:{number}"
        for path in modules(*LAYERS)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"#.*\b(TODO|FIXME|XXX|HACK)\b", line)
    ]
    assert not wrong


def test_sources_are_utf8_with_unix_line_ends() -> None:
    wrong = [name_of(path) for path in modules(*LAYERS, "tests") if b"\r\n" in path.read_bytes()]
    assert not wrong
