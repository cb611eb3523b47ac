"""The answers of :mod:`helpers.wandb_server` to GraphQL operations, by name."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helpers.wandb_server import ServedArtifact, ServedRun, WandbServer

ENTITY = "somebody"
Json = dict[str, Any]


def _user() -> Json:
    return {
        "id": "VXNlcjox",
        "entity": ENTITY,
        "username": ENTITY,
        "name": ENTITY,
        "email": "somebody@example.org",
        "admin": False,
        "flags": json.dumps({}),
        "deletedAt": None,
        "apiKeys": {"edges": []},
        "teams": {"edges": [{"node": {"name": ENTITY}}]},
    }


def _viewer(server: WandbServer, _: Json) -> Json:
    return {"viewer": _user()}


def _upsert_run(server: WandbServer, asked: Json) -> Json:
    from helpers.wandb_server import ServedRun

    entity, project = asked.get("entity") or ENTITY, asked.get("project") or "uncategorized"
    # A change of a run that is known comes with its id in place of its name.
    known = next((run for run in server.runs.values() if _run_id(run) == asked.get("id")), None)
    name = known.name if known else asked["name"]
    inserted = name not in server.runs
    run = server.runs.setdefault(name, ServedRun(entity, project, name))
    run.fields.update({key: value for key, value in asked.items() if value is not None})
    run.exit_code = None
    return {"upsertBucket": {"bucket": _bucket(run), "inserted": inserted}}


def _run_id(run: ServedRun) -> str:
    return base64.b64encode(f"Run:v1:{run.name}:{run.project}:{run.entity}".encode()).decode()


def _bucket(run: ServedRun) -> Json:
    project = {"id": "UHJvamVjdDox", "name": run.project, "entity": {"id": "RW50aXR5OjE=", "name": run.entity}}
    return {
        "id": _run_id(run),
        "name": run.name,
        "displayName": run.fields.get("displayName") or run.name,
        "description": run.fields.get("description"),
        "config": run.fields.get("config") or "{}",
        "sweepName": None,
        "project": project,
        "historyLineCount": len(run.history),
    }


def _resume_status(server: WandbServer, asked: Json) -> Json:
    entity, project = asked.get("entity") or ENTITY, asked.get("project") or "uncategorized"
    model: Json = {"id": "TW9kZWw6MQ==", "name": project, "entity": {"id": "RW50aXR5OjE=", "name": entity}}
    run = server.runs.get(asked["name"])
    bucket = None
    if run is not None:
        lines = {key: run.files.get(name, []) for key, name in _FILES.items()}
        bucket = {
            **_bucket(run),
            "summaryMetrics": json.dumps(run.summary),
            "logLineCount": len(lines["log"]),
            "historyLineCount": len(lines["history"]),
            "eventsLineCount": len(lines["events"]),
            "historyTail": json.dumps(lines["history"][-1:]),
            "eventsTail": json.dumps(lines["events"][-1:]),
            "tags": run.fields.get("tags") or [],
            "notes": run.fields.get("notes"),
            "wandbConfig": json.dumps({"t": 1}),
        }
    return {"model": {**model, "bucket": bucket}}


_FILES = {"log": "output.log", "history": "wandb-history.jsonl", "events": "wandb-events.jsonl"}


def _create_run_files(server: WandbServer, asked: Json) -> Json:
    files = [{"name": name, "uploadUrl": server.url_of(f"{asked['run']}/{name}")} for name in asked["files"]]
    return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}


def _create_artifact(server: WandbServer, asked: Json) -> Json:
    from helpers.wandb_server import ServedArtifact

    fields = asked["input"]
    same = [one for one in server.artifacts if one.collection == fields["artifactCollectionName"]]
    for alias in fields.get("aliases") or []:  # an alias means one version
        for one in same:
            one.fields["aliases"] = [known for known in one.fields["aliases"] if known["alias"] != alias["alias"]]
    made = ServedArtifact(f"QXJ0aWZhY3Q6{len(server.artifacts)}", len(same), fields)
    server.artifacts.append(made)
    latest = {"id": same[-1].id} if same else None
    found = {"id": made.id, "state": "PENDING", "artifactSequence": {"latestArtifact": latest}}
    return {"createArtifact": {"artifact": found}}


def _artifact(server: WandbServer, identity: str) -> ServedArtifact:
    return next(one for one in server.artifacts if one.id == identity)


def _create_artifact_files(server: WandbServer, asked: Json) -> Json:
    edges = []
    for spec in asked["input"]["artifactFiles"]:
        artifact = _artifact(server, spec["artifactID"])
        key = f"artifacts/{artifact.id}/{spec['name']}"
        artifact.files[spec["name"]] = key
        node = {"storagePath": key, "uploadUrl": server.url_of(key), "uploadHeaders": [], "uploadMultipartUrls": None}
        edges.append({"node": {**node, "artifact": {"id": artifact.id}}})
    return {"createArtifactFiles": {"files": {"edges": edges}}}


def _create_manifest(server: WandbServer, asked: Json) -> Json:
    artifact = _artifact(server, asked["artifactID"])
    artifact.manifest = f"artifacts/{artifact.id}.manifest"
    file = {"id": "RmlsZTox", "uploadUrl": server.url_of(artifact.manifest), "uploadHeaders": []}
    return {"createArtifactManifest": {"artifactManifest": {"id": f"M{artifact.id}", "file": file}}}


def _commit_artifact(server: WandbServer, asked: Json) -> Json:
    artifact = _artifact(server, asked["artifactID"])
    artifact.committed = True
    return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.fields["digest"]}}}


def _manifest(server: WandbServer, asked: Json) -> Json:
    artifact = _artifact(server, asked.get("artifact_id") or asked["id"])
    return {"artifact": {"currentManifest": {"file": {"directUrl": server.url_of(artifact.manifest)}}}}


def _file_urls(server: WandbServer, asked: Json) -> Json:
    artifact = _artifact(server, asked["id"])
    wanted = [entry["name"] for entry in asked["entries"]]
    return {"artifact": {"filesByManifestEntries": _page(server, artifact, wanted)}}


def _page(server: WandbServer, artifact: ServedArtifact, names: list[str]) -> Json:
    page = {"__typename": "PageInfo", "hasNextPage": False, "endCursor": None}
    nodes = [{"__typename": "File", "name": name, "directUrl": server.url_of(artifact.files[name])} for name in names]
    return {"pageInfo": page, "edges": [{"node": node} for node in nodes]}


def _by_name(server: WandbServer, name: str) -> ServedArtifact | None:
    """The artifact that ``collection:alias`` or ``collection:v3`` means."""
    collection, _, alias = name.partition(":")
    same = [one for one in server.artifacts if one.collection == collection and one.committed]
    return next((one for one in same if alias in (*one.aliases, f"v{one.version}")), None)


def _membership(server: WandbServer, asked: Json) -> Json:
    artifact = _by_name(server, asked["name"])
    if artifact is None:
        return {"project": {"artifactCollectionMembership": None}}
    fields = artifact.fields
    info = {"id": "UDox", "internalId": "UDox", "name": asked["project"], "entity": {"name": asked["entity"]}}
    collection = {"__typename": "ArtifactSequence", "name": artifact.collection, "project": info}
    aliases = [{"__typename": "ArtifactAlias", "id": "QTox", "alias": alias} for alias in artifact.aliases]
    now = "2026-01-01T00:00:00Z"
    known = {
        "__typename": "Artifact",
        "id": artifact.id,
        "artifactSequence": collection,
        "versionIndex": artifact.version,
        "artifactType": {"name": fields["artifactTypeName"]},
        "description": fields.get("description"),
        "metadata": fields.get("metadata"),
        "ttlDurationSeconds": -2,
        "ttlIsInherited": True,
        "tags": [],
        "historyStep": None,
        "state": "COMMITTED",
        "size": sum(len(server.storage[key]) for key in artifact.files.values()),
        "digest": fields["digest"],
        "digestAlgorithm": "MANIFEST_MD5",
        "commitHash": "0" * 20,
        "fileCount": len(artifact.files),
        "createdAt": now,
        "updatedAt": now,
    }
    found = {
        "__typename": "ArtifactCollectionMembership",
        "id": "TTox",
        "versionIndex": artifact.version,
        "createdAt": now,
        "aliases": aliases,
        "artifactCollection": collection,
        "artifact": known,
    }
    return {"project": {"artifactCollectionMembership": found}}


def _membership_files(server: WandbServer, asked: Json) -> Json:
    artifact = _by_name(server, f"{asked['collection']}:{asked['alias']}")
    assert artifact is not None
    files = _page(server, artifact, list(artifact.files))
    collection = {"__typename": "ArtifactSequence", "artifactMembership": {"files": files}}
    return {"project": {"artifactCollection": collection}}


def _views(server: WandbServer, asked: Json) -> Json:
    kind, name = asked.get("viewType", "runs"), asked.get("viewName")
    found = [view for view in server.views.values() if view["type"] == kind and name in (None, view["name"])]
    user = {"username": ENTITY, "photoUrl": "", "email": ""}
    now = "2026-01-01T00:00:00Z"
    edges = [
        {"cursor": view["id"], "node": {**view, "user": user, "createdAt": now, "updatedAt": now}} for view in found
    ]
    return {"project": {"allViews": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}}


def _upsert_view(server: WandbServer, asked: Json) -> Json:
    known = asked.get("id")
    identity = known or f"VmlldzoxMDA{len(server.views)}"
    names = ("name", "displayName", "description", "type", "spec")
    project = {"id": "UDox", "name": asked["projectName"], "entityName": asked["entityName"]}
    server.views[identity] = {"id": identity, **{name: asked.get(name) for name in names}}
    now = "2026-01-01T00:00:00Z"
    view = {**server.views[identity], "project": project, "createdAt": now, "updatedAt": now}
    return {"upsertView": {"view": view, "inserted": not known}}


def _projects(server: WandbServer, asked: Json) -> Json:
    known = {"id": "UDox", "internalId": "UHJvamVjdDox", "name": "localrules", "entityName": ENTITY}
    node = {**known, "createdAt": "2026-01-01T00:00:00Z", "isBenchmark": False, "user": _user()}
    page = {"endCursor": None, "hasNextPage": False}
    return {"models": {"edges": [{"cursor": "1", "node": node}], "pageInfo": page}}


def _create_chart(server: WandbServer, asked: Json) -> Json:
    name = f"{asked['entity']}/{asked['chartName']}"
    server.charts[name] = json.loads(asked["spec"])
    return {"createCustomChart": {"chart": {"id": name}}}


ANSWERS: dict[str, Callable[[WandbServer, Json], Json]] = {
    "Viewer": _viewer,
    "GetViewer": _viewer,
    "GetDefaultEntity": _viewer,
    "ServerFeaturesQuery": lambda server, asked: {"serverInfo": {"features": []}},
    "XXHashDigestsEnabled": lambda server, asked: {"entity": {"xxhashDigestsEnabled": False}},
    "OrganizationCoreWeaveOrganizationID": lambda server, asked: {"entity": {"organization": None}},
    "FetchArtifactDigestAlgorithm": lambda server, asked: {"project": None},
    "UpsertBucket": _upsert_run,
    "View": _views,
    "ProjectViews": _views,
    "UpsertView2": _upsert_view,
    "upsertView": _upsert_view,
    "GetProjects": _projects,
    "ProjectInternalId": lambda server, asked: {"project": {"id": "UDox", "internalId": "UHJvamVjdDox"}},
    "CreateCustomChart": _create_chart,
    "RunResumeStatus": _resume_status,
    "RunStoppedStatus": lambda server, asked: {"project": {"run": {"stopped": False}}},
    "CreateRunFiles": _create_run_files,
    "MarkRunFilesUploaded": lambda server, asked: {"markRunFilesUploaded": {"success": True}},
    "CreateArtifact": _create_artifact,
    "CreateArtifactFiles": _create_artifact_files,
    "CreateArtifactManifest": _create_manifest,
    "CommitArtifact": _commit_artifact,
    "UseArtifact": lambda server, asked: {
        "useArtifact": {
            "artifact": {
                "id": (asked.get("input") or asked)["artifactID"],
                "digest": "",
                "state": "COMMITTED",
                "createdAt": "",
                "metadata": None,
                "description": None,
            }
        }
    },
    "ArtifactType": lambda server, asked: {"project": None},
    "ArtifactManifest": _manifest,
    "FetchArtifactManifest": _manifest,
    "ArtifactFileURLsByManifestEntries": _file_urls,
    "ArtifactMembershipByName": _membership,
    "GetArtifactMembershipFileUrls": _membership_files,
}
