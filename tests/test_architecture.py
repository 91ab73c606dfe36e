"""The shape of the package: who may import whom, what needs torch, what is public."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import glottis

ROOT = Path(glottis.__file__).parent
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))

# A line imports only from lines below it; names on one line do not import each other.
LAYERS = """
    cli
    serve
    training evaluation conversion originals
    export
    graph
    models
    alignment blocks corpus
    likelihood
    voice
    voices
    kernels
    text audio
    config
    files
    errors signals
    recipes
"""
LEVEL = {
    name: level
    for level, line in enumerate(reversed(LAYERS.strip().splitlines()))
    for name in line.split()
}
SPEAKING = ("cli", "serve", "voice", "voices", "kernels", "text", "audio", "config")
HEAVY = ("torch", "numba", "lightning", "lhotse")


def part(module: str) -> str:
    """The piece of the package that ``glottis.<part>...`` belongs to; "" is the package itself."""
    return module.split(".")[1] if "." in module else ""


def name_of(path: Path) -> str:
    parts = ["glottis", *path.with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> list[tuple[str, int, bool]]:
    """Every module that a file imports, with its line, and whether it does so when imported."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    late = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or _for_types(node)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*name_of(path.parent / "__init__.py").split("."), base]).rstrip(
                    "."
                )
            # `from glottis import voices` imports a piece, not a name of the package.
            names = [f"{base}.{a.name}" if base == "glottis" else base for a in node.names]
        else:
            continue
        found += [(name, node.lineno, node not in late) for name in names]
    return found


def _for_types(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def ours(module: str) -> bool:
    return module == "glottis" or module.startswith("glottis.")


def test_every_piece_has_a_layer():
    pieces = {path.parts[0].removesuffix(".py") for path in FILES} - {"__init__"}
    assert pieces <= set(LEVEL), f"give {pieces - set(LEVEL)} a line in LAYERS"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_go_down_the_layers(path):
    here = part(name_of(path))
    if here == "":
        return
    for module, line, _ in imports(path):
        there = part(module) if ours(module) else None
        # The package itself holds the version, and its face, which is loaded when it is used.
        if there in (None, here, "", "__version__"):
            continue
        assert there in LEVEL, f"{path}:{line} imports {module}"
        assert LEVEL[there] < LEVEL[here], f"{path}:{line}: {here} must not import {there}"


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] == "models"], ids=str)
def test_models_do_not_import_each_other(path):
    if path.parent.name == "models" and path.name == "__init__.py":
        return
    own = ".".join(name_of(path).split(".")[:3])
    for module, line, _ in imports(path):
        if module != own and not module.startswith(f"{own}."):
            assert not module.startswith("glottis.models."), f"{path}:{line} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_kernels_are_reached_through_the_dispatcher(path):
    if path.parts[0] == "kernels":
        return
    for module, line, _ in imports(path):
        assert not module.startswith("glottis.kernels."), f"{path}:{line} imports {module}"


@pytest.mark.parametrize("path", [p for p in FILES if part(name_of(p)) in SPEAKING], ids=str)
def test_the_speaking_half_imports_nothing_heavy_at_once(path):
    # A kernel's fast forms are loaded by the dispatcher, by name, when they are used.
    if path.parts[0] == "kernels" and path.name != "__init__.py":
        return
    for module, line, at_once in imports(path):
        if at_once:
            assert module.split(".")[0] not in HEAVY, f"{path}:{line} imports {module}"


def test_the_speaking_half_speaks_with_the_training_half_blocked():
    pieces = [name for name in SPEAKING if (ROOT / name).exists() or (ROOT / f"{name}.py").exists()]
    code = f"""
import importlib, sys
for name in {HEAVY!r}:
    sys.modules[name] = None
for name in {pieces!r}:
    importlib.import_module("glottis." + name)
import glottis
voice = glottis.Voice.load({str(Path(__file__).parent / "data" / "fake.onnx")!r})
assert voice.speak("Hello there.").duration > 0.2
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_star_imports(path):
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names), f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_modules_are_named_by_what_they_are_about(path):
    stems = {part.removesuffix(".py").strip("_") for part in path.parts}
    assert not stems & {"util", "utils", "helper", "helpers", "common", "misc", "tools"}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_can_be_read_in_one_sitting(path):
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= 700


def test_the_public_face():
    assert glottis.__all__ == ["InputError", "Mark", "Speech", "Voice", "__version__", "speak"]
    for name in glottis.__all__:
        assert getattr(glottis, name) is not None
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = glottis.nothing_here


def test_importing_glottis_costs_next_to_nothing():
    code = "import sys; import glottis; print(len([m for m in sys.modules if 'numpy' in m]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
