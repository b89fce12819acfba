"""What a run would trip over beside the file itself, for `driftwarden validate`: references, people, folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from monitor.config import Config, Model
from monitor.errors import ConfigError, ReferenceError_
from monitor.schema import Roles, check_roles, family, is_vector
from monitor.web.people import SHARED
from monitor.web.section import Web


def check(loaded: Config) -> None:
    """`ConfigError` with all faults: columns that are not what they are called, people whom nothing lets in, rights."""
    faults = [f"models.{index}.{fault}" for index, model in enumerate(loaded.models) for fault in _reference(model)]
    faults += [f"models.{index}.{fault}" for index, model in enumerate(loaded.models) for fault in _captions(model)]
    faults += [f"web.people.{fault}" for fault in _people(loaded.web)]
    place = next((one for one in (loaded.store.path, *loaded.store.path.parents) if one.exists()), Path("/"))
    if not os.access(place, os.W_OK):
        faults.append(f"store.path: {place} cannot be written; choose another folder or change its rights")
    if faults:
        raise ConfigError(faults)


def _reference(model: Model) -> Iterator[str]:
    """Rows that can be found, with the columns that are named; an artefact was checked when it was made."""
    from monitor.loading import roles_of
    from monitor.reader import Tables

    paths = model.reference.paths
    if not paths or (len(paths) == 1 and (Path(paths[0]) / "manifest.json").is_file()):
        return
    roles = roles_of(model)
    try:
        schema = Tables(paths).schema
        check_roles(schema.names, roles)
    except ReferenceError_ as error:
        yield f"reference: {error}"
    except ConfigError as error:
        yield from error.faults
    else:
        yield from vector_faults(schema, roles)


def _captions(model: Model) -> Iterator[str]:
    """A table of captions that is there, for a model with embeddings."""
    if model.captions is None:
        return
    if not model.columns.embeddings:
        yield "captions: needs columns.embeddings, in whose space the captions are; name one, or remove it"
    try:
        names = pq.read_schema(model.captions).names
    except (OSError, pa.ArrowException) as error:
        yield f"captions: {model.captions} cannot be read as Parquet: {type(error).__name__}"
        return
    if lacking := [name for name in ("caption", "embedding") if name not in names]:
        yield f"captions: {model.captions} has no column {', '.join(lacking)}; there are: {', '.join(names[:20])}"


def vector_faults(schema: pa.Schema, roles: Roles) -> Iterator[str]:
    """Columns that are named for vectors and hold something else; such a column would be left out."""
    for key, column in roles.named():
        if column not in roles.vectors or column not in schema.names:
            continue
        kind = schema.field(column).type
        if not is_vector(kind) and family(kind) != "null":
            fix = "name a column of lists of numbers, or remove it"
            yield f"columns.{key}: `{column}` is a column of {kind} in the reference and holds no vectors; {fix}"


def _people(web: Web) -> Iterator[str]:
    """People who are listed and can never come in: the gate knows them by a password, a token or a certificate."""
    from monitor.web.webconfig import WebConfig, read

    file = WebConfig() if web.config_file is None else read(web.config_file)
    tokens = bool(web.token) or any(one.token for one in web.people)
    if not web.enabled or (file.tls_server_config.demands and not file.basic_auth_users and not tokens):
        return  # the latter: whoever a certificate names
    where = "config_file (there is none)" if web.config_file is None else f"config_file ({web.config_file})"
    lack = f"is no user in basic_auth_users of {where} and has no token"
    for index, one in enumerate(web.people):
        if one.name not in SHARED and not one.token and one.name not in file.basic_auth_users:
            yield f'{index}.name: "{one.name}" {lack}; add the user there, give token_file or token_env, or remove it'
