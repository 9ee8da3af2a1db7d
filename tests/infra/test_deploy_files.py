"""What is shipped to deploy with: valid by the published schemas, true to each other, and to the metrics there are."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import pytest
import yaml
from checkout import ROOT
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from infra.secrets.generate import make_secrets
from infra.secrets.inject import SECRETS, read_secrets
from infra.serving.__main__ import parser
from infra.serving.http.service import allowed_hosts, host_name
from infra.serving.options import ServeOptions
from infra.serving.telemetry.exposition import EVENTS, FAMILIES, PREFIX
from tasks.errors import UserError
from tasks.registry.status_tags import Subject, Tone

INFRA = ROOT / "infra"
ALERTS = INFRA / "prometheus" / "alerts.yml"
COMPOSE: dict[str, Any] = yaml.safe_load((INFRA / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OBJECTS: list[dict[str, Any]] = [
    document
    for path in sorted((INFRA / "k8s").glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for document in yaml.safe_load_all(path.read_text())
]
SERVER: dict[str, Any] = next(
    entry["spec"]["template"]["spec"]["containers"][0]
    for entry in OBJECTS
    if (entry["kind"], entry["metadata"]["name"]) == ("StatefulSet", "server")
)
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((INFRA / "k8s" / "kustomization.yaml").read_text())


@pytest.mark.slow
def test_compose_file_fits_the_compose_specification() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "check_jsonschema"]
    command += ["--builtin-schema", "vendor.compose-spec", str(INFRA / "compose.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_each_module_that_a_file_starts_is_there() -> None:
    files = [path for kind in ("*.yaml", "*.Dockerfile") for path in sorted(INFRA.rglob(kind))]
    started = {
        module
        for path in files
        for module in re.findall(r'-m"?,? "?((?:flows|infra)[\w.]+)', path.read_text())
    }
    assert {"flows.orchestration.deployment", "infra.secrets.inject", "infra.serving"} <= started
    for module in started:
        file = ROOT / module.replace(".", "/")
        assert file.with_suffix(".py").is_file() or (file / "__main__.py").is_file(), module


def test_what_a_service_mounts_is_declared_and_there(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    made = {path.name for path in tmp_path.iterdir()}
    assert {Path(entry["file"]).name for entry in COMPOSE["secrets"].values()} == made
    assert all((INFRA / entry["file"]).is_file() for entry in COMPOSE["configs"].values())
    for name, service in SERVICES.items():
        assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys(), name
        assert {entry["source"] for entry in service.get("configs", ())} <= COMPOSE["configs"].keys(), name
        mounted = "".join(
            (INFRA / COMPOSE["configs"][entry["source"]]["file"]).read_text()
            for entry in service.get("configs", ())
        )
        wanted = set(re.findall(r"/run/secrets/(\w+)", json.dumps(service) + mounted))
        assert wanted == set(service.get("secrets", ())), name
        if "build" in service:
            assert (INFRA.parent / service["build"]["dockerfile"]).is_file(), name


def test_no_service_holds_a_secret_or_is_open_to_a_network() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            assert not re.search(r"PASSWORD|SECRET|AUTH_STRING|ACCESS_KEY", variable) or str(
                value
            ).startswith("/run/secrets/"), (name, variable)
            assert not re.search(r"//[^/]*:[^/]*@", str(value)), (name, variable)
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
    for name in ("postgres", "redis", "s3"):
        assert "front" not in SERVICES[name]["networks"] and "ports" not in SERVICES[name]


def test_every_secret_variable_is_one_that_is_read() -> None:
    names = {
        n for service in SERVICES.values() for n in service.get("environment", {}) if n.endswith("_FILE")
    }
    names |= set(
        re.findall(r"name: (\w+_FILE)", "".join(p.read_text() for p in (INFRA / "k8s").glob("*.yaml")))
    )
    ours = {name for name in names if not name.startswith(("POSTGRES_", "GF_"))}
    assert {name.removesuffix("_FILE") for name in ours} == set(SECRETS)


def test_secrets_come_from_files_unless_they_are_given(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("from the file\n")
    given = {"PGPASSWORD_FILE": str(tmp_path / "p"), "SSL_CERT_FILE": "/nowhere"}
    assert read_secrets(given) == {"PGPASSWORD": "from the file"}
    assert read_secrets({**given, "PGPASSWORD": "given"}) == {}
    (tmp_path / "p").write_text("\n")
    with pytest.raises(UserError, match=r"PGPASSWORD_FILE=.*/p is empty: put the secret in it"):
        read_secrets(given)
    with pytest.raises(UserError, match=r"PGPASSWORD_FILE=/nowhere cannot be read \(No such file"):
        read_secrets({"PGPASSWORD_FILE": "/nowhere"})


def test_secrets_are_made_once_and_are_their_owners(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    make_secrets(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "serve_keys").unlink()
    make_secrets(folder)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"serve_keys"}
    assert folder.stat().st_mode & 0o777 == 0o700 and len(set(after.values())) == len(after)


@pytest.mark.parametrize(
    "document", OBJECTS, ids=lambda document: f"{document['kind']}-{document['metadata']['name']}"
)
def test_kubernetes_object_fits_its_schema(document: dict[str, Any]) -> None:
    import kubernetes_validate

    if document["kind"] == "RayJob":
        node = document["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
        metadata = {"name": "node"}
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": node["spec"]}
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_kustomization_names_what_is_there() -> None:
    assert {path.name for path in (INFRA / "k8s").glob("*.yaml")} == {
        *KUSTOMIZATION["resources"],
        "kustomization.yaml",
        "ray-job.yaml",
    }
    images = {entry["name"] for entry in KUSTOMIZATION["images"]}
    assert images == {service["image"] for service in SERVICES.values() if "build" in service}
    settings = (INFRA / "k8s" / "settings.env").read_text()
    assert re.findall(r"^(\w+)=", settings, re.M) and "PASSWORD" not in settings


def test_every_pod_is_probed_bounded_and_without_rights() -> None:
    pods = [
        entry["spec"]["template"]["spec"]
        for entry in OBJECTS
        if entry["kind"] in ("Deployment", "StatefulSet")
    ]
    assert len(pods) == 4
    for pod in pods:
        (container,) = pod["containers"]
        assert {"livenessProbe", "startupProbe"} <= container.keys()
        assert container["resources"]["limits"]["memory"] and container["resources"]["requests"]["cpu"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]


def test_the_model_server_scales_on_what_every_cluster_measures() -> None:
    (scaler,) = of_kind("HorizontalPodAutoscaler")
    scaled = named(scaler["spec"]["scaleTargetRef"]["kind"], "server")
    assert "replicas" not in scaled["spec"], "an apply would undo what the scaler did"
    assert [metric["resource"]["name"] for metric in scaler["spec"]["metrics"]] == ["cpu"]
    (container,) = scaled["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"], "utilisation is a share of it"
    assert {entry["spec"]["selector"]["matchLabels"]["app"] for entry in of_kind("PodDisruptionBudget")} == {
        "mlflow",
        "server",
        "signer",
    }


def test_a_model_server_that_starts_anew_has_its_verified_models_still() -> None:
    spec = named("StatefulSet", "server")["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    home = next(entry["value"] for entry in container["env"] if entry["name"] == "SLIPWAY_HOME")
    mount = next(entry["name"] for entry in container["volumeMounts"] if entry["mountPath"] == home)
    assert mount in {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
    volume = next(entry for entry in SERVICES["server"]["volumes"] if entry.endswith(":/state"))
    assert volume.split(":")[0] in COMPOSE["volumes"]


def test_the_model_server_is_no_admin_of_mlflow() -> None:
    admin = re.search(r"admin_username = (\w+)", (INFRA / "docker" / "basic_auth.ini").read_text())
    environment = {entry["name"]: entry["value"] for entry in SERVER["env"]}
    for given in (environment, SERVICES["server"]["environment"]):
        assert admin is not None and given["MLFLOW_TRACKING_USERNAME"] != admin[1]
        assert given["MLFLOW_TRACKING_PASSWORD_FILE"] == "/run/secrets/mlflow_server_password"
    made = json.dumps(SERVICES["mlflow-account"]["command"]) + json.dumps(named("Job", "mlflow-account"))
    assert made.count("infra.platform.mlflow_account") == 2


def test_all_that_runs_may_be_reached_by_who_needs_it_and_by_nobody_else() -> None:
    """Every pod has a policy, those that are asked have one that says by whom, and Compose's services meet only on networks that both need."""
    assert named("NetworkPolicy", "deny-all")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    pods = [entry for entry in OBJECTS if entry["kind"] in ("Deployment", "StatefulSet", "Job")]
    labels = {entry["spec"]["template"]["metadata"]["labels"]["app"] for entry in pods}
    ray = of_kind("RayJob")[0]["spec"]["rayClusterSpec"]
    groups = [ray["headGroupSpec"], *ray["workerGroupSpecs"]]
    labels |= {group["template"]["metadata"]["labels"]["app"] for group in groups}
    policies = {
        entry["spec"]["podSelector"].get("matchLabels", {}).get("app") for entry in of_kind("NetworkPolicy")
    }
    assert labels <= policies
    asked = named("NetworkPolicy", "mlflow")["spec"]["ingress"][0]["from"][0]["podSelector"][
        "matchExpressions"
    ]
    assert set(asked[0]["values"]) == labels - {"mlflow", "signer"}
    assert ray["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "0.0.0.0", "the operator submits there"
    signing = named("NetworkPolicy", "signer")["spec"]
    assert signing["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]["values"] == [
        "worker",
        "ray",
    ]
    assert "egress" not in signing, "it asks nobody"
    on = {name: set(service["networks"]) for name, service in SERVICES.items()}
    meet = {(a, b) for a in on for b in on if a < b and (on[a] & on[b]) - {"front"}}
    assert {pair for pair in meet if "redis" in pair} == {("prefect", "redis"), ("prefect-services", "redis")}
    assert {pair for pair in meet if "s3" in pair} == {("mlflow", "s3"), ("s3", "worker")}
    assert {pair for pair in meet if "server" in pair} == {
        ("mlflow", "server"),
        ("alertmanager", "server"),
        ("grafana", "server"),
        ("prometheus", "server"),
    }
    assert {pair for pair in meet if "signer" in pair} == {("signer", "worker")}
    assert all(
        network == {"internal": True} for name, network in COMPOSE["networks"].items() if name != "front"
    )


def test_the_nodes_of_a_ray_job_admit_each_other_and_its_operator_and_go_where_a_worker_may() -> None:
    def pods(app: str) -> dict[str, object]:
        return {"podSelector": {"matchLabels": {"app": app}}}

    nodes, worker = (named("NetworkPolicy", name)["spec"] for name in ("ray", "worker"))
    assert {**pods("ray"), "policyTypes": ["Ingress", "Egress"]}.items() <= nodes.items()
    operator = {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}}
    assert nodes["ingress"] == [
        {"from": [pods("ray")]},
        {"from": [{"namespaceSelector": {}, "podSelector": operator}], "ports": [{"port": 8265}]},
    ]
    prefect = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "prefect"}}}
    asked = ((pods("mlflow"), 5000), (pods("signer"), 8090), (prefect, 4200))
    named_ones = [{"to": [whom], "ports": [{"port": port}]} for whom, port in asked]
    assert worker["egress"] == [*named_ones, {"ports": [{"port": 443}]}]
    assert nodes["egress"] == [{"to": [pods("ray")]}, *worker["egress"]]


def test_nothing_that_trains_can_reach_the_private_key() -> None:
    """It is mounted where it signs and nowhere else, in a secret of its own on Kubernetes; who trains has the service's key and address."""
    holders = {name for name, service in SERVICES.items() if "signing_private" in json.dumps(service)}
    assert holders == {"signer"} and set(SERVICES["signer"]["networks"]) == {"signing"}
    mounted = {
        entry["metadata"]["name"]
        for entry in OBJECTS
        if re.search("signing_private|slipway-signing", json.dumps(entry))
    }
    assert mounted == {"signer"}
    assert [
        each["name"] for each in KUSTOMIZATION["secretGenerator"] if "signing_private" in json.dumps(each)
    ] == ["slipway-signing"]
    for entry in (entry for entry in OBJECTS if entry["kind"] in ("StatefulSet", "Deployment", "RayJob")):
        assert '"secret": {"secretName": "slipway"}' not in json.dumps(entry), (
            "a whole secret is more than it needs"
        )
    for pod in (
        json.dumps(SERVICES["worker"]),
        json.dumps(named("StatefulSet", "worker")),
        json.dumps(of_kind("RayJob")),
    ):
        assert "http://signer:8090" in pod and "signer_key" in pod and "SLIPWAY_PRIVATE_KEY" not in pod


def test_every_service_has_a_bound_on_what_it_takes() -> None:
    for name, service in SERVICES.items():
        assert service["cpus"] and service["mem_limit"] and service["pids_limit"], name


def test_alerts_reach_somebody() -> None:
    configuration = yaml.safe_load((INFRA / "prometheus" / "prometheus.yml").read_text())
    (address,) = configuration["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert address.split(":")[0] in SERVICES
    manager = yaml.safe_load((INFRA / "prometheus" / "alertmanager.yml").read_text())
    receivers = {entry["name"]: entry for entry in manager["receivers"]}
    used = [manager["route"], *manager["route"]["routes"]]
    assert {route["receiver"] for route in used} == receivers.keys()
    files = [hook["url_file"] for entry in receivers.values() for hook in entry["webhook_configs"]]
    secrets = set(SERVICES["alertmanager"]["secrets"])
    assert files and {Path(file).name for file in files} == secrets


def test_a_run_that_is_being_cancelled_is_not_taken_for_lost() -> None:
    automations = yaml.safe_load((INFRA / "automations" / "lost-runs.yaml").read_text())["automations"]
    waiting = [each["trigger"] for each in automations if each["trigger"]["posture"] == "Proactive"]
    assert len(waiting) == 2
    for trigger in waiting:
        assert {"prefect.flow-run.Cancelling", "prefect.flow-run.Cancelled"} <= {*trigger["expect"]}


def test_the_model_server_is_asked_by_prometheus_as_it_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the pod's address on Kubernetes, by the service's name in Compose, and with no key."""
    monkeypatch.delenv("SLIPWAY_SERVE_KEYS", raising=False)
    scrape = yaml.safe_load((INFRA / "prometheus" / "prometheus.yml").read_text())["scrape_configs"][0]
    (address,) = scrape["static_configs"][0]["targets"]
    for words, host in ((SERVER["args"], "10.0.0.7:8080"), (SERVICES["server"]["command"].split(), address)):
        options = options_of(words)
        assert options.open_metrics or "authorization" in scrape
        hosts = allowed_hosts(options)
        assert hosts is None or host_name(host.encode()) in hosts


def test_the_model_server_goes_away_within_its_grace_and_after_the_proxies_know() -> None:
    options, probe = options_of(SERVER["args"]), SERVER["readinessProbe"]
    pod = next(entry for entry in of_kind("StatefulSet") if entry["metadata"]["name"] == "server")
    grace = pod["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < options.drain_delay
    assert options.drain_delay + options.drain + 5 < grace
    composed = options_of(SERVICES["server"]["command"].split())
    grace = int(SERVICES["server"]["stop_grace_period"].removesuffix("s"))
    assert composed.drain_delay + composed.drain + 5 < grace


def test_images_of_others_are_named_by_version_and_digest() -> None:
    """A tag is whatever its owner last pushed; ours are named by the one who pushes them."""
    files = [path for kind in ("*.yaml", "*.Dockerfile") for path in sorted(INFRA.rglob(kind))]
    named = [
        name
        for path in files
        for name in re.findall(r"^(?:FROM| *(?:- )?image:) (\S+)", path.read_text(), re.M)
        if "slipway-" not in name
    ]
    assert len({*named}) >= 7
    assert [name for name in named if not re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", name)] == []


def test_images_are_built_from_what_they_need_and_never_from_secrets() -> None:
    left_out, *rules = (INFRA.parent / ".dockerignore").read_text().splitlines()[1:]
    copied = {
        source.split("/")[0]
        for file in (INFRA / "docker").glob("*.Dockerfile")
        for words in re.findall(r"^COPY (?!--from)(.+)$", file.read_text(), re.M)
        for source in words.split()[:-1]
    }
    assert left_out == "*" and {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert "**/.secrets" in rules


@pytest.mark.parametrize("file", ["prometheus/alerts.yml", "grafana/serving.json"])
def test_what_is_watched_is_exported(file: str) -> None:
    asked = set(re.findall(r"slipway_serving_\w+", (INFRA / file).read_text()))
    assert len(asked) > 5 and asked <= exported(), asked - exported()


VALUES = {"event": set(EVENTS), "subject": set(get_args(Subject)), "tone": set(get_args(Tone))}
"""Of labels that have few."""

SELECTOR = re.compile(r"(slipway_serving_\w+|up)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')


def test_alerts_ask_for_labels_that_the_metrics_have_and_values_that_they_take() -> None:
    """What promtool does not know: an expression that fits no series never fires."""
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) and len(rules) > 10
    for rule in rules:
        said = rule["expr"]
        assert said.count("(") == said.count(")") and said.count("{") == said.count("}"), rule["alert"]
        assert re.search(r"(==|[<>]=?) *[\d.]+$", said), f"{rule['alert']} is held to nothing"
        labels = set[str]()
        for series, matchers in SELECTOR.findall(said):
            labels |= labels_of(series)
            for label, how, value in MATCHER.findall(matchers):
                assert label in labels_of(series), f"{rule['alert']}: {series} has no {label}"
                assert set(value.split("|") if "~" in how else [value]) <= VALUES.get(
                    label, {value, *value.split("|")}
                )
        for kept in re.findall(r"by \(([^)]*)\)", said):
            assert {name.strip() for name in kept.split(",")} <= labels, rule["alert"]
        asked = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        (grouped,) = re.findall(r"by \(([^)]*)\)", said)[:1] or [",".join(labels | {"instance", "job"})]
        assert asked <= {name.strip() for name in grouped.split(",")}, rule["alert"]


def labels_of(series: str) -> set[str]:
    """Of a series that the model server exports, or of the one that Prometheus makes itself."""
    name = re.sub("_(total|bucket|sum|count)$", "", series.removeprefix(PREFIX))
    own = set() if series == "up" else {*FAMILIES[name][2]}
    return own | {"instance", "job"} | ({"le"} if series.endswith("_bucket") else set())


def test_dashboard_panels_have_ids_titles_and_queries_of_their_own() -> None:
    board = json.loads((INFRA / "grafana" / "serving.json").read_text())
    source = yaml.safe_load((INFRA / "grafana" / "datasource.yaml").read_text())["datasources"][0]["uid"]
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    assert all(t["expr"] and t["datasource"]["uid"] == source for panel in panels for t in panel["targets"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Debian's prometheus")
def test_prometheus_takes_the_rules_and_the_configuration() -> None:
    folder = INFRA / "prometheus"
    for what, file in (("rules", "alerts.yml"), ("config", "prometheus.yml")):
        checked = subprocess.run(
            ["promtool", "check", what, file], cwd=folder, capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_first_page_leads_a_browser_to_prefect_and_mlflow_by_no_name_of_the_inside() -> None:
    inside = {*SERVICES, *(entry["metadata"]["name"] for entry in OBJECTS)}
    for words in (SERVER["args"], SERVICES["server"]["command"].split()):
        links = dict(link.split("=", 1) for link in options_of(words).link)
        assert {*links} == {"Prefect", "MLflow"}
        hosts = {urlsplit(address).hostname for address in links.values()}
        assert not hosts & inside and not any(host and host.endswith(".svc") for host in hosts)


def options_of(words: list[str]) -> ServeOptions:
    """What the model server makes of a command line; Kubernetes puts a pod's variables in the place of $(NAME)."""
    settings = dict(re.findall(r"^(\w+)=(.*)$", (INFRA / "k8s" / "settings.env").read_text(), re.M))
    words = [re.sub(r"\$\((\w+)\)", lambda name: settings[name[1]], word) for word in words]
    document = vars(parser("serve").parse_args(words))
    document.pop("models")
    return ServeOptions(**document)


def named(kind: str, name: str) -> dict[str, Any]:
    return next(entry for entry in of_kind(kind) if entry["metadata"]["name"] == name)


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [entry for entry in OBJECTS if entry["kind"] == kind]


def exported() -> set[str]:
    """The series that the model server's metrics become, by the Prometheus client's own rules."""
    endings = {
        CounterMetricFamily: ("_total",),
        GaugeMetricFamily: ("",),
        HistogramMetricFamily: ("_bucket", "_sum", "_count"),
    }
    return {f"{PREFIX}{name}{ending}" for name, (kind, *_) in FAMILIES.items() for ending in endings[kind]}
