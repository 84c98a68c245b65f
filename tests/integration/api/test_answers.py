"""The API answers what the commands print, without secrets and paths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.integration.api.conftest import TOKEN, Api

SECRET = "planted-secret-9b1f"
INVALID = "source:\n  type: moc\nprocessing:\n  primary_kee: id\n"


@pytest.fixture(scope="module")
def api(shared_site: Any) -> Api:
    shared_site.install(
        "orders",
        "good",
        "bad_config",
        "import_error",
        "missing_module",
        "claims_twice_a",
        "claims_twice_b",
        "two_in_one",
    )
    folder = shared_site.folder.parent
    return Api(shared_site, folder, DATAFLOW_API_TOKEN=TOKEN, ORDERS_TOKEN=SECRET)


def test_the_list_is_that_of_the_command(api: Api, shared_site: Any) -> None:
    listed = api.get("/workflows/")
    expected = shared_site.json("list")
    # The command names the other place by its whole path.
    assert [{**entry, "error": None} for entry in listed] == [
        {**entry, "error": None} for entry in expected
    ]
    assert {entry["name"]: entry["status"] for entry in listed if entry["status"] != "ok"} == {
        "missing_module": "broken",
        "twice": "broken",
    }


def test_filters_and_pages(api: Api) -> None:
    names = [entry["name"] for entry in api.get("/workflows/")]
    assert [entry["name"] for entry in api.get("/workflows/?tag=nightly")] == ["good"]
    assert [entry["name"] for entry in api.get("/workflows/?owner=shop")] == ["orders"]
    assert {entry["name"] for entry in api.get("/workflows/?status=broken")} == {
        "twice",
        "missing_module",
    }
    assert api.get("/workflows/?status=broken&owner=nobody") == []
    assert api.problem("GET", "/workflows/?status=brokn")[:2] == (422, "invalid-request")
    collected, path = [], "/workflows/?limit=2"
    while path:
        response = api("GET", path)
        assert response.headers["x-total-count"] == str(len(names))
        collected += [entry["name"] for entry in response.json()]
        path = response.links.get("next", {}).get("url")
    assert collected == names
    assert api("GET", "/workflows/?limit=2&offset=4&tag=fixture").links["prev"]["url"] == (
        "/workflows/?tag=fixture&limit=2&offset=2"
    )


def test_details_name_parts_relative_to_the_workflow(api: Api) -> None:
    details = api.get("/workflows/orders")
    assert details["paths"] == {
        "module": "dagster_job.py",
        "config.yaml": "config.yaml",
        "dbt": "dbt",
    }
    assert details["dbt_models"] == ["fct_orders_daily", "stg_orders"]
    assert details["config"]["table"] == "orders_raw.orders"
    assert details["last_run"] is None
    assert api.get("/workflows/bad_config")["config"]["error"].startswith(
        "config.yaml:6:3: processing.primary_kee: "
    )


def test_an_unknown_workflow_is_suggested_another(api: Api) -> None:
    for method, path in (
        ("GET", "/workflows/ordres"),
        ("GET", "/configs/ordres"),
        ("POST", "/workflows/ordres/runs"),
    ):
        status, kind, document = api.problem(method, path)
        assert (status, kind) == (404, "unknown-workflow")
        assert document["hint"] == "did you mean 'orders'?"


def test_a_config_is_that_of_the_command(api: Api, shared_site: Any) -> None:
    expected = shared_site.json("config", "show", "orders", "--origins", ORDERS_TOKEN=SECRET)
    shown = api.get("/configs/orders?origins=true")
    assert {**shown, "origins": None} == {**expected, "origins": None}
    assert shown["config"]["source"]["api"]["auth"]["token"] == "**********"
    origin = shown["origins"]["processing.batch_size"]
    assert origin == expected["origins"]["processing.batch_size"] | {"file": "config.yaml"}
    assert api.get("/configs/orders")["origins"] is None
    assert api.get("/configs/orders?env=strict")["config"]["processing"]["max_rejected_ratio"] == 0
    assert api.problem("GET", "/configs/orders?env=strct")[2]["hint"] == "did you mean 'strict'?"


def test_a_config_that_is_not_valid_says_where(api: Api, shared_site: Any) -> None:
    (expected,) = shared_site.json("config", "validate", "bad_config")
    status, kind, document = api.problem("GET", "/configs/bad_config")
    assert (status, kind) == (409, "invalid-config")
    assert document["errors"] == [error | {"file": "config.yaml"} for error in expected["errors"]]
    assert api("POST", "/configs/bad_config/validate").json() == {
        "name": "bad_config",
        "valid": False,
        "errors": document["errors"],
        "warnings": [],
    }


def test_configs_are_listed_with_their_environments(api: Api) -> None:
    orders = next(config for config in api.get("/configs/") if config["name"] == "orders")
    assert orders == {
        "name": "orders",
        "package": "orders",
        "file": "config.yaml",
        "environments": ["strict"],
        "exists": True,
    }


@pytest.mark.parametrize(
    ("media_type", "body", "places"),
    [
        ("application/yaml", INVALID, [("source.type", 2, 9), ("processing.primary_kee", 4, 3)]),
        (
            "text/yaml; charset=utf-8",
            INVALID,
            [("source.type", 2, 9), ("processing.primary_kee", 4, 3)],
        ),
        ("application/json", '{\n\t"source": {"type": "moc"}}', [("source.type", 2, 21)]),
        # The second half of a pair of escapes is no character of its own.
        ("application/json", r'{"source": {"type": "mock", "name": "\ud83d\ude00\/"}}', []),
        ("application/json", '{"source":{"type":"mock"}}', []),
        ("application/yaml", "", []),
    ],
)
def test_a_candidate_is_validated_in_place(
    api: Api, media_type: str, body: str, places: list[Any]
) -> None:
    response = api(
        "POST", "/configs/good/validate", data=body, headers={"Content-Type": media_type}
    )
    assert response.status_code == 200
    checked = response.json()
    assert checked["valid"] is (not places)
    assert [
        (error["path"], error["line"], error["column"]) for error in checked["errors"]
    ] == places
    assert {error["file"] for error in checked["errors"]} <= {"config.yaml"}


@pytest.mark.parametrize(
    ("media_type", "body", "status", "kind"),
    [
        ("application/json", "{", 422, "invalid-request"),
        ("application/json", "[" * 100_000, 422, "invalid-request"),
        ("application/yaml", b"\xff\xfe\xfa", 422, "invalid-request"),
        ("text/plain", "source: {}", 415, "unsupported-media-type"),
        ("application/yaml", "a: " + "x" * 1_000_000, 413, "too-large"),
    ],
)
def test_a_body_that_is_no_candidate(
    api: Api, media_type: str, body: Any, status: int, kind: str
) -> None:
    found = api.problem(
        "POST", "/configs/good/validate", data=body, headers={"Content-Type": media_type}
    )
    assert found[:2] == (status, kind)


def test_a_candidate_needs_an_overlay_that_is_there(api: Api) -> None:
    more = {"data": "source: {type: mock}\n", "headers": {"Content-Type": "application/yaml"}}
    status, kind, document = api.problem("POST", "/configs/orders/validate?env=strct", **more)
    assert (status, kind, document["hint"]) == (
        404,
        "unknown-environment",
        "did you mean 'strict'?",
    )
    assert api("POST", "/configs/orders/validate?env=strict", **more).json()["valid"] is True


def test_a_body_of_unknown_length_is_cut_off(api: Api) -> None:
    chunks = (b"#" * 100_000 for _ in range(50))
    headers = {"Content-Type": "application/yaml"}
    assert api.problem("POST", "/configs/good/validate", data=chunks, headers=headers)[:2] == (
        413,
        "too-large",
    )


def test_yaml_bodies_meet_the_limits_of_files(api: Api) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
    )
    response = api(
        "POST", "/configs/good/validate", data=bomb, headers={"Content-Type": "application/yaml"}
    )
    assert response.status_code == 200
    assert "more than" in response.json()["errors"][0]["message"]
    assert response.elapsed.total_seconds() < 10


def test_a_candidate_does_not_teach_the_server_secrets(api: Api) -> None:
    # Otherwise anybody who may validate could have any word masked in everyone's answers.
    api_source = "{url: https://a.invalid, auth: {type: bearer, token: orders_raw}}"
    body = f"source: {{type: api, api: {api_source}}}\n"
    response = api(
        "POST", "/configs/good/validate", data=body, headers={"Content-Type": "application/yaml"}
    )
    assert response.json()["warnings"][0]["message"] == "a secret is written into the file"
    assert api.get("/workflows/orders")["config"]["table"] == "orders_raw.orders"
    assert "orders_raw" in json.dumps(api.get("/configs/orders?env=strict&origins=true"))


def test_every_error_is_a_problem_document(api: Api) -> None:
    assert api.problem("GET", "/nowhere")[:2] == (404, "not-found")
    assert api.problem("PUT", "/workflows/")[:2] == (405, "method-not-allowed")
    assert (
        api("OPTIONS", "/runs/8c86778e-481c-5fa5-86a8-22948e788a16").headers["allow"]
        == "GET, DELETE"
    )
    assert api.problem("GET", "/runs/nothing")[:2] == (422, "invalid-request")
    assert api.problem("GET", "/runs/8c86778e-481c-5fa5-86a8-22948e788a16")[:2] == (
        404,
        "unknown-run",
    )
    assert api.problem("GET", "/workflows/", headers={"Authorization": "Bearer no"})[:2] == (
        401,
        "unauthorized",
    )
    status, kind, document = api.problem(
        "POST", "/workflows/good/runs", json={"confg": {}, "env": "../../etc"}
    )
    assert (status, kind) == (422, "invalid-request")
    assert [error["path"] for error in document["errors"]] == ["body.env", "body.confg"]


def test_documents_follow_their_schemas(api: Api) -> None:
    document = api.get("/openapi.json")
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        for example in schema.get("examples", []):
            Draft202012Validator({**schema, "components": {"schemas": schemas}}).validate(example)
    assert schemas["RunRequest"]["examples"]
    answers = {
        (path, method): operation["responses"].get("200") or operation["responses"]["202"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert len(answers) == 9
    for answer in answers.values():
        assert answer["content"]["application/json"]["schema"]
    errors = document["paths"]["/configs/{name}"]["get"]["responses"]
    assert errors.keys() == {"200", "404", "409", "default"}
    assert errors["409"]["content"].keys() == {"application/problem+json"}
    assert document["paths"]["/workflows/"]["get"]["security"] == [{"token": []}]
    assert "security" not in document["paths"]["/health"]["get"]


def test_nothing_secret_and_no_path_is_answered(api: Api, shared_site: Any) -> None:
    """Plants secrets in a variable, a candidate, overrides and the token, then asks everything."""
    source = f"{{url: 'https://me:{SECRET}x@a.invalid', auth: {SECRET}}}"
    candidate = f"source: {{type: api, api: {source}}}\nno: ${{NO}}\n"
    overrides = {
        "source.api.auth.token": f"{SECRET}y",
        "source.database.url": f"nodb://me:{SECRET}z@db/x",
        "no": SECRET,
    }
    requests: list[tuple[str, str, dict[str, Any]]] = [
        *(
            ("GET", path, {})
            for path in (
                "/health",
                "/workflows/",
                "/configs/",
                "/openapi.json",
                "/nowhere",
                "/runs/x",
            )
        ),
        *(
            request
            for name in [entry["name"] for entry in api.get("/workflows/")]
            for request in [
                ("GET", f"/workflows/{name}", {}),
                ("GET", f"/configs/{name}?origins=true", {}),
                ("POST", f"/configs/{name}/validate", {}),
                (
                    "POST",
                    f"/configs/{name}/validate",
                    {"data": candidate, "headers": {"Content-Type": "text/yaml"}},
                ),
            ]
        ),
        ("POST", "/workflows/orders/runs", {"json": {"config": overrides}}),
        ("POST", "/workflows/orders/runs", {"json": {"config": {"source.api.auth": SECRET}}}),
        (
            "POST",
            "/workflows/orders/runs",
            {"json": {"config": [SECRET], "env": SECRET, SECRET: 1}},
        ),
        ("POST", "/workflows/import_error/runs", {}),
        ("POST", "/workflows/missing_module/runs", {}),
    ]
    for method, path, more in requests:
        response = api(method, path, **more)
        assert response.status_code < 500, response.text
        said = response.text.replace(
            f'"body.{SECRET}"', ""
        )  # the name of a key, which is no secret
        for hidden in (SECRET, TOKEN, str(shared_site.folder.parent), str(Path.home()) + "/"):
            assert hidden not in said, (method, path, said)
    log = api.log.read_text()
    assert SECRET not in log
    assert TOKEN not in log
