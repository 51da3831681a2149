"""The registry: versions of a model, the aliases that say which one is in use, and the story of every change.

Setting an alias is the commit point of a promotion: all tags that tell about it are written before, and the tags of a
version that does not hold the alias are never read. So a crash in between leaves the old champion with its old story.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric
from mlflow.entities.model_registry import ModelVersion as StoredVersion
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from seqsweep.errors import Conflict, NotFound, Problem
from seqsweep.tracking.client import answering, connect, pages

KEY_TAG = "seqsweep.key"
"""Tag of a version: which trial of which sweep it is; one version per key."""
_REMEMBERED = 50
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Of models and aliases that sweeps may have: none of them leaves a folder or a URL."""
_NO_SUCH = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True)
class ModelVersion:
    """A registered model at one version, as the registry knew it when asked."""

    name: str
    version: int
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    run_id: str = ""

    @property
    def uri(self) -> str:
        """The address MLflow knows it by: `models:/electricity/3`."""
        return f"models:/{self.name}/{self.version}"

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True)
class Story:
    """What the pages of a model and its version tell a person."""

    model: str = ""
    """Description of the model, in Markdown; written with its first version only."""
    version: str = ""
    """Description of the version, in Markdown."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Parameters of the version."""
    metrics: tuple[Metric, ...] = ()
    """Finite figures of the version, as points of the run it comes from."""


class Registry:
    """The model registry behind one MLflow address. Every method raises Unavailable where MLflow does not answer.

    `create`: whether a database file that is not there is made, or NotFound raised.
    """

    def __init__(self, uri: str, *, create: bool = False) -> None:
        self._uri = uri
        self._client = connect(uri, create=create)

    def resolve(self, reference: str) -> ModelVersion:
        """Find `electricity@champion`, `electricity/3`, or `electricity`: its newest version.

        Raises NotFound, which names what there is instead.
        """
        name, alias, number = _parse(reference)
        versions = self.versions(name)
        if alias:
            return _first(versions, lambda version: alias in version.aliases, f"{name} has no alias {alias}")
        if number:
            return _first(versions, lambda version: version.version == int(number), f"{name} has no version {number}")
        return _first(versions, lambda _: True, f"{name} has no version")

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """All versions of a model, newest first. Raises NotFound where there is no such model."""
        with self._answering():
            try:
                holders = self._client.get_registered_model(name).aliases
            except MlflowException as error:
                if error.error_code not in _NO_SUCH:
                    raise
                raise NotFound(Problem("", f"no registered model {name!r}", self._models_known())) from None
            found = [_version(stored, holders) for stored in self._search(name)]
        return tuple(sorted(found, key=lambda version: -version.version))

    def of_models(self, names: Collection[str]) -> dict[str, tuple[ModelVersion, ...]]:
        """The versions of several models, each newest first, in a few requests; without those that are not there."""
        with self._answering():
            holders = {model.name: model.aliases for model in pages(self._client.search_registered_models)
                       if model.name in names}
            found: dict[str, list[ModelVersion]] = {name: [] for name in holders}
            for stored in pages(self._client.search_model_versions):
                if stored.name in holders:
                    found[stored.name].append(_version(stored, holders[stored.name]))
        return {name: tuple(sorted(each, key=lambda version: -version.version)) for name, each in found.items()}

    def register(self, name: str, folder: Path, *, run_id: str, key: str, alias: str,
                 tags: Mapping[str, str], story: Story | None = None) -> ModelVersion:
        """Upload a package as a model of the run, and register it as a new version that gets the alias.

        Doing it again with the same key returns the version there is; a half-done upload is gone on with.
        A later version that already holds the alias keeps it.
        """
        story = story or Story()
        with self._answering():
            self._ensure_model(name, story.model)
            version = self._with_key(name, key) or self._create_version(
                name, folder, run_id, {**tags, KEY_TAG: key}, story)
            holder = self._holder(name, alias)
            if holder is None or holder < version.version:
                self._client.set_registered_model_alias(name, alias, str(version.version))
        return self.resolve(f"{name}/{version.version}")

    def download(self, version: ModelVersion, folder: Path) -> Path:
        """Copy a version's package into an existing or new folder and return where it lies."""
        with self._answering():
            source = self._client.get_model_version_download_uri(version.name, str(version.version))
            return Path(download_artifacts(artifact_uri=source, dst_path=str(folder), tracking_uri=self._uri))

    def holder(self, name: str, alias: str) -> ModelVersion | None:
        """The version that holds the alias; None where none does or the model does not exist."""
        with self._answering():
            number = self._holder(name, alias)
        return None if number is None else self.resolve(f"{name}/{number}")

    def promote(self, name: str, version: int, to: str, *, by: str, why: str,
                figures: Mapping[str, float]) -> ModelVersion:
        """Give a version the alias and remember whom it followed. Nothing changes where it holds the alias already."""
        self.resolve(f"{name}/{version}")
        with self._answering():
            holder = self._holder(name, to)
            if holder != version:
                previous = [] if holder is None else [*self._previous(name, holder, to), holder]
                self._tell(name, version, to, previous, promoted_by=by, promoted_at=_now(), reason=why,
                           figures=json.dumps(dict(figures), sort_keys=True))
                self._client.set_registered_model_alias(name, to, str(version))
        return self.resolve(f"{name}/{version}")

    def rollback(self, name: str, to: str, *, by: str, why: str) -> ModelVersion:
        """Give the alias back to the version that held it before; may be repeated down to the first.

        Raises NotFound where nothing holds the alias, Conflict where nothing held it before. Deleted versions are
        passed over.
        """
        existing = {version.version: version for version in self.versions(name)}
        with self._answering():
            holder = self._holder(name, to)
            if holder is None:
                raise NotFound(f"{name} has no {to}, so there is nothing to roll back")
            previous = [number for number in self._previous(name, holder, to) if number in existing]
            if not previous:
                raise Conflict(f"{name}/{holder} is the first {to}: there is no earlier one to go back to")
            restored = previous.pop()
            self._tell(name, restored, to, previous, restored_by=by, restored_at=_now(), restored_from=str(holder),
                       restored_reason=why)
            self._client.set_registered_model_alias(name, to, str(restored))
        return self.resolve(f"{name}/{restored}")

    @contextmanager
    def _answering(self) -> Iterator[None]:
        with answering(self._uri):
            yield

    def _search(self, name: str) -> Iterator[StoredVersion]:
        yield from pages(self._client.search_model_versions, _of_name(name))

    def _models_known(self) -> str:
        names = [model.name for model in self._client.search_registered_models(max_results=20)]
        return f"registered are: {', '.join(names)}" if names else "no model is registered yet"

    def registered(self, name: str, key: str) -> ModelVersion | None:
        """The version that was registered with this key; None where there is none."""
        with self._answering():
            return self._with_key(name, key)

    def _with_key(self, name: str, key: str) -> ModelVersion | None:
        with_key = [_version(stored, {}) for stored in self._search(name) if stored.tags.get(KEY_TAG) == key]
        return min(with_key, key=lambda version: version.version, default=None)

    def _ensure_model(self, name: str, description: str) -> None:
        try:
            self._client.create_registered_model(name, description=description)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _create_version(self, name: str, folder: Path, run_id: str, tags: Mapping[str, str],
                        story: Story) -> ModelVersion:
        model = self._upload(name, folder, run_id, tags, story)
        # A source of the form models:/m-... would be looked up at MLflow's global address instead of the client's.
        stored = self._client.create_model_version(name, source=model.artifact_location, run_id=run_id,
                                                   tags=dict(tags), model_id=model.model_id,
                                                   description=story.version)
        self._client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(
            [{"name": name, "version": int(stored.version)}])})  # else its page says that it is not registered
        return _version(stored, {})

    def _upload(self, name: str, folder: Path, run_id: str, tags: Mapping[str, str],
                story: Story) -> LoggedModel:
        run = self._client.get_run(run_id)
        experiment = run.info.experiment_id
        same_key = f"tags.`{KEY_TAG}` = '{tags[KEY_TAG]}' AND name = '{name}'"
        begun = self._client.search_logged_models([experiment], filter_string=same_key, max_results=1)
        model = begun[0] if begun else self._client.create_logged_model(
            experiment, name=name, source_run_id=run_id, tags=dict(tags), params=dict(story.params),
            model_type="seqsweep")
        if model.status != "READY":
            linked = run.outputs.model_outputs if run.outputs else []
            if model.model_id not in {output.model_id for output in linked}:
                self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
            self._client.log_model_artifacts(model.model_id, str(folder))
            self._client.log_batch(run_id, [
                Metric(point.key, point.value, point.timestamp, point.step, model_id=model.model_id)
                for point in story.metrics])
            model = self._client.finalize_logged_model(model.model_id, "READY")
        return model

    def _holder(self, name: str, alias: str) -> int | None:
        try:
            number = self._client.get_registered_model(name).aliases.get(alias)
        except MlflowException as error:
            if error.error_code not in _NO_SUCH:
                raise
            return None
        return None if number is None else int(number)

    def _tags(self, name: str, version: int) -> dict[str, str]:
        return dict(self._client.get_model_version(name, str(version)).tags)

    def _previous(self, name: str, version: int, alias: str) -> list[int]:
        return [int(number) for number in json.loads(self._tags(name, version).get(f"{alias}.previous", "[]"))]

    def _tell(self, name: str, version: int, alias: str, previous: list[int], **story: str) -> None:
        for tag, value in {"previous": json.dumps(previous[-_REMEMBERED:]), **story}.items():
            self._client.set_model_version_tag(name, str(version), f"{alias}.{tag}", value)


def _parse(reference: str) -> tuple[str, str, str]:
    """Split into name, alias and version number; at most one of the two is not empty."""
    name, at, alias = reference.partition("@")
    name, slash, number = name.partition("/")
    if not _NAME.fullmatch(name) or (at and not _NAME.fullmatch(alias)) or (at and slash) or (
            slash and not re.fullmatch("[0-9]{1,18}", number)):
        raise NotFound(Problem("", f"{reference[:200]!r} names no model",
                               "Write electricity@champion, electricity/3, or electricity for its newest version."))
    return name, alias, number


def _first(versions: tuple[ModelVersion, ...], fits: Callable[[ModelVersion], bool], missing: str) -> ModelVersion:
    for version in versions:
        if fits(version):
            return version
    known = [str(version.version) + "".join(f" @{alias}" for alias in version.aliases) for version in versions[:20]]
    raise NotFound(Problem("", missing, f"there are: {', '.join(known)}" if known else "it has no versions yet"))


def _version(stored: StoredVersion, holders: Mapping[str, str]) -> ModelVersion:
    """`holders`: alias -> version, asked of the model, since a search leaves the aliases out on some stores."""
    number = int(stored.version)
    aliases = tuple(sorted(alias for alias, holder in holders.items() if int(holder) == number))
    return ModelVersion(stored.name, number, dict(stored.tags), aliases, stored.run_id or "")


def with_aliases(client: MlflowClient, found: Iterable[StoredVersion]) -> tuple[ModelVersion, ...]:
    """Versions of whatever models by name and number, with the aliases that each has now."""
    holders = dict[str, Mapping[str, str]]()
    versions = list[ModelVersion]()
    for stored in found:
        if stored.name not in holders:
            holders[stored.name] = client.get_registered_model(stored.name).aliases
        versions.append(_version(stored, holders[stored.name]))
    return tuple(sorted(versions, key=lambda version: (version.name, version.version)))


def _of_name(name: str) -> str:
    return f"name='{name}'"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
