"""The examples of docs/ci are what their readers take, and kdiag takes the lines in them.

GitHub's and GitLab's are held against the published schemas; Kubernetes' and Argo's are decoded strictly into the models
of their clients, which are made from the OpenAPI documents: no unknown field, no wrong type, no required field left out.
"""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes.client
import pytest
import yaml
from argo_workflows.model.io_argoproj_workflow_v1alpha1_cron_workflow import (  # type: ignore[import-untyped]
    IoArgoprojWorkflowV1alpha1CronWorkflow,
)

from kdiag.checks import all_checks
from kdiag.cli.app import built_command
from kdiag.gather.settings_file import KEYS, read_settings
from kdiag.parse.baseline import parse_baseline
from tests.schemas import published_schema

ROOT = Path(__file__).parents[1]
CI = ROOT / "docs" / "ci"
PAGES = (CI / "README.md", ROOT / "docs" / "configuration.md")
YAMLS = sorted(path.name for path in CI.glob("*.y*ml"))
MANIFESTS = ("kubernetes-cronjob.yaml", "argo-cd-hook.yaml", "argo-cron-workflow.yaml")
KINDS = {
    ("v1", "ConfigMap"): "V1ConfigMap",
    ("batch/v1", "Job"): "V1Job",
    ("batch/v1", "CronJob"): "V1CronJob",
}


class RefusedError(Exception):
    """A document is not what its reader takes."""


def documents(file_name: str) -> list[Any]:
    """YAML 1.1 reads GitHub's key `on` as true."""
    loaded = list(yaml.safe_load_all((CI / file_name).read_text(encoding="utf-8")))
    return [{("on" if key is True else key): value for key, value in item.items()} for item in loaded]


def decoded(value: Any, wanted: str, where: str) -> Any:
    """`value` as the Kubernetes client's type of this name. Raises RefusedError."""
    if found := re.fullmatch(r"[Ll]ist\[(.+)\]", wanted):
        if not isinstance(value, list):
            raise RefusedError(f"{where}: no list")
        return [decoded(item, found[1], f"{where}[{index}]") for index, item in enumerate(value)]
    if found := re.fullmatch(r"[Dd]ict[\[(]str, ?(.+)[\])]", wanted):
        if not isinstance(value, dict):
            raise RefusedError(f"{where}: no map")
        return {decoded(key, "str", where): decoded(item, found[1], f"{where}.{key}") for key, item in value.items()}
    plain = {"str": str, "int": int, "bool": bool, "float": float, "datetime": datetime, "object": object}.get(wanted)
    if plain is not None:
        if not isinstance(value, plain) or (plain is int and isinstance(value, bool)):
            raise RefusedError(f"{where}: {value!r} is no {wanted}")
        return value
    model = getattr(kubernetes.client, wanted)
    if not isinstance(value, dict):
        raise RefusedError(f"{where}: no {wanted}")
    names = {written: name for name, written in model.attribute_map.items()}
    if unknown := sorted(set(value) - set(names)):
        raise RefusedError(f"{where}: {wanted} has no {unknown[0]}")
    try:
        return model(
            **{
                names[key]: decoded(item, model.openapi_types[names[key]], f"{where}.{key}")
                for key, item in value.items()
            }
        )
    except ValueError as error:
        raise RefusedError(f"{where}: {error}") from None


def check_argo(value: Any, wanted: Any, where: str) -> None:
    """Raises RefusedError unless `value` is of one of the types that the Argo client's model names."""
    (first, *others) = wanted if isinstance(wanted, tuple) else (wanted,)
    if others:  # any JSON
        return
    if isinstance(first, list):
        if not isinstance(value, list):
            raise RefusedError(f"{where}: no list")
        for index, item in enumerate(value):
            check_argo(item, first[0], f"{where}[{index}]")
    elif isinstance(first, dict):
        if not isinstance(value, dict):
            raise RefusedError(f"{where}: no map")
        for key, item in value.items():
            check_argo(item, first[str], f"{where}.{key}")
    elif not hasattr(first, "attribute_map"):
        if not isinstance(value, first) or (first is int and isinstance(value, bool)):
            raise RefusedError(f"{where}: {value!r} is no {first.__name__}")
    else:
        if not isinstance(value, dict):
            raise RefusedError(f"{where}: no {first.__name__}")
        names = {written: name for name, written in first.attribute_map.items()}
        for key, item in value.items():
            if key not in names:
                raise RefusedError(f"{where}: {first.__name__} has no {key}")
            check_argo(item, first.openapi_types[names[key]], f"{where}.{key}")


def check_manifest(document: Any) -> None:
    """Raises RefusedError unless it is an object that its API would take."""
    kind = (document["apiVersion"], document["kind"])
    if kind == ("argoproj.io/v1alpha1", "CronWorkflow"):
        check_argo(document, IoArgoprojWorkflowV1alpha1CronWorkflow, "CronWorkflow")
    else:
        decoded(document, KINDS[kind], document["kind"])


def nested(value: Any) -> Iterator[Any]:
    """Every map within, the outermost first."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from nested(item)
    elif isinstance(value, list):
        for item in value:
            yield from nested(item)


def script_lines(text: str) -> Iterator[list[str]]:
    """The commands of a shell script that begin with kdiag."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.strip(), comments=True)
        if words[:1] == ["kdiag"]:
            yield words[1:]


def command_lines(file_name: str) -> list[list[str]]:
    """The arguments of every call of kdiag in an example."""
    out = []
    for found in (item for document in documents(file_name) for item in nested(document)):
        if found.get("command") == ["kdiag"]:
            out.append(list(found["args"]))
        for key in ("run", "script", "before_script"):
            scripts = found.get(key, [])
            for script in [scripts] if isinstance(scripts, str) else scripts:
                out += script_lines(script)
    return out


def page_lines(path: Path) -> list[list[str]]:
    """Those in the consoles of a page."""
    lines = re.findall(r"^\$ (kdiag .*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [arguments for line in lines for arguments in script_lines(line)]


def accept(arguments: list[str]) -> None:
    """Raises what kdiag raises for arguments that it does not take; runs nothing."""
    slug, *rest = arguments
    built_command(slug).make_context(slug, rest)


def test_every_file_is_looked_at() -> None:
    assert sorted([*MANIFESTS, "github-actions.yml", "gitlab-ci.yml"]) == YAMLS
    page = (CI / "README.md").read_text(encoding="utf-8")
    for name in [*YAMLS, "Dockerfile"]:
        assert f"]({name})" in page


@pytest.mark.parametrize("file_name", YAMLS)
def test_commands_are_taken(file_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kdiag.toml").touch()
    lines = command_lines(file_name)
    assert lines
    for arguments in lines:
        accept([word.replace("/etc/kdiag/", "") for word in arguments])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_in_pages_are_taken(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert page_lines(path)
    for arguments in page_lines(path):
        accept(arguments)


def test_an_unknown_option_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["preflight", "--nonsense"], ["preflight", "-o", "xml=x"], ["preflght"]):
        with pytest.raises(Exception, match=r"nonsense|xml|preflght"):
            accept(arguments)


@pytest.mark.parametrize(
    ("file_name", "schema"), [("github-actions.yml", "github-workflows"), ("gitlab-ci.yml", "gitlab-ci")]
)
def test_published_schemas(file_name: str, schema: str) -> None:
    validator = jsonschema.Draft7Validator(published_schema(schema))
    (document,) = documents(file_name)
    validator.validate(document)
    broken = copy.deepcopy(document)
    next(item for item in nested(broken) if "image" in item)["imaeg"] = 3
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(broken)


def test_no_word_of_an_event_reaches_a_script() -> None:
    """What others can choose (titles, branch names) must not be put into a script by `${{ }}`."""
    for item in nested(documents("github-actions.yml")[0]):
        for key in ("run", "script"):
            assert "${{" not in item.get(key, "")


@pytest.mark.parametrize("file_name", MANIFESTS)
def test_manifests_are_decoded_strictly(file_name: str) -> None:
    for document in documents(file_name):
        check_manifest(document)
        for index, _ in enumerate(nested(document)):
            broken = copy.deepcopy(document)
            found = list(nested(broken))[index]
            if all(isinstance(value, str) for value in found.values()) and "name" not in found:
                continue  # labels, annotations: any key will do
            found["nosuchfield"] = {"a": 1}
            with pytest.raises(RefusedError):
                check_manifest(broken)


@pytest.mark.parametrize(
    ("key", "value"),
    [("image", 3), ("backoffLimit", "none"), ("restartPolicy", None), ("containers", {}), ("defaultMode", True)],
)
def test_the_decoder_minds_types(key: str, value: object) -> None:
    document = documents("kubernetes-cronjob.yaml")[1]
    next(item for item in nested(document) if key in item)[key] = value
    with pytest.raises(RefusedError):
        check_manifest(document)


def test_the_decoder_misses_what_is_missing() -> None:
    document = documents("kubernetes-cronjob.yaml")[1]
    del document["spec"]["schedule"]
    with pytest.raises(RefusedError):
        check_manifest(document)


@pytest.mark.parametrize("file_name", MANIFESTS)
def test_pods_run_as_the_service_account_that_there_is(file_name: str) -> None:
    permissions = yaml.safe_load_all((ROOT / "deploy" / "rbac.yaml").read_text(encoding="utf-8"))
    account = next(item for item in permissions if item["kind"] == "ServiceAccount")["metadata"]
    named = [
        item["serviceAccountName"]
        for document in documents(file_name)
        for item in nested(document)
        if "serviceAccountName" in item
    ]
    assert named == [account["name"]]
    assert {document["metadata"]["namespace"] for document in documents(file_name)} == {account["namespace"]}


def test_volumes_are_mounted_that_there_are() -> None:
    for file_name in MANIFESTS:
        for item in (item for document in documents(file_name) for item in nested(document)):
            if "volumes" in item:
                mounted = {mount["name"] for inner in nested(item) for mount in inner.get("volumeMounts", [])}
                assert mounted == {volume["name"] for volume in item["volumes"]}


def test_settings_in_the_manifest_are_settings(tmp_path: Path) -> None:
    settings = documents("kubernetes-cronjob.yaml")[0]["data"]
    for name, text in settings.items():
        (tmp_path / name).write_text(text)
    found = read_settings(config=tmp_path / "kdiag.toml", without_files=False, environment={}, directory=tmp_path)
    assert {item.key for item in found} == {"ssh_user", "fail_on", "deadline", "baseline"}
    parse_baseline(settings["baseline.toml"], "baseline.toml", codes=())


def toml_blocks(path: Path) -> list[str]:
    return re.findall(r"^```toml\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_pages_show_what_there_is(tmp_path: Path) -> None:
    (example,) = toml_blocks(ROOT / "docs" / "configuration.md")
    (tmp_path / "kdiag.toml").write_text(example)
    assert read_settings(config=None, without_files=False, environment={}, directory=tmp_path)
    (baseline,) = toml_blocks(CI / "README.md")
    assert len(parse_baseline(baseline, "b", codes=[check.code for check in all_checks()]).entries) == 1


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \| .* \| `(-[a-z-]+)` \|$", page, re.MULTILINE)
    assert [key for key, _ in rows] == list(KEYS)
    options = {item.name: item.opts for item in built_command("preflight").params}
    for key, option in rows:
        assert option in options[key]
