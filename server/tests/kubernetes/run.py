"""The manifests of tuning/kubernetes: valid, and true of the program.

    python server/tests/kubernetes/run.py FANWIRE

Job: holds each object against Kubernetes' schemas; starts the program with the container's own arguments and settings, its paths and ports
changed; asks what the probes ask; has it drained as before a pod's end. Ends with `N passed, N failed`.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from checks import PATIENCE_S, free_port, run_all, until  # noqa: E402

AT = Path(__file__).parents[3] / "tuning/kubernetes"
FANWIRE = str(Path(sys.argv[1]).resolve())
VERSIONS = ["1.28", "1.32"]


def objects(file: str) -> list[dict[str, Any]]:
    return [made for made in yaml.safe_load_all((AT / file).read_text()) if made]


def the(kind: str, file: str = "deployment.yaml") -> dict[str, Any]:
    (found,) = (made for made in objects(file) if made["kind"] == kind)
    return found


def are_valid() -> None:
    files = sorted(AT.glob("*.yaml"))
    assert len(files) >= 2
    for file in files:
        for made in objects(file.name):
            for version in VERSIONS:
                kubernetes_validate.validate(made, version, strict=True)


def what_is_wrong_is_found() -> None:
    made = the("Deployment")
    made["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["httpGet"]["prot"] = 1
    try:
        kubernetes_validate.validate(made, VERSIONS[0], strict=True)
    except kubernetes_validate.ValidationError:
        return
    raise AssertionError("a field that there is not passes")


def names_fit() -> None:
    """What one object names, another has."""
    pod = the("Deployment")["spec"]["template"]
    labels = pod["metadata"]["labels"].items()
    for kind, path in [("Service", ["selector"]), ("PodDisruptionBudget", ["selector", "matchLabels"])]:
        for made in (made for made in objects("deployment.yaml") if made["kind"] == kind):
            selector = made["spec"]
            for part in path:
                selector = selector[part]
            assert selector.items() <= labels, made
    (container,) = pod["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    probes = [container[probe]["httpGet"]["port"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    services = [port["targetPort"] for made in objects("deployment.yaml") if made["kind"] == "Service" for port in made["spec"]["ports"]]
    policy = [port["port"] for rule in the("NetworkPolicy")["spec"]["ingress"] for port in rule["ports"]]
    assert {*probes, *services, *policy} == ports, (probes, services, policy, ports)
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["spec"]["volumes"]}
    target = the("HorizontalPodAutoscaler", "autoscaler.yaml")["spec"]["scaleTargetRef"]
    assert target["name"] == the("Deployment")["metadata"]["name"]
    # Pods that share no topics: one alone.
    assert the("Deployment")["spec"]["replicas"] == 1 and all(made["kind"] != "HorizontalPodAutoscaler" for made in objects("deployment.yaml"))
    assert container["resources"]["requests"] == container["resources"]["limits"]


def asked(url: str, token: str = "") -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:
        return 0, ""


def the_pod_runs_is_ready_and_drains() -> None:
    (container,) = the("Deployment")["spec"]["template"]["spec"]["containers"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port, admin = free_port(), free_port()
        places = {
            "0.0.0.0:9001": f"127.0.0.1:{port}",
            "0.0.0.0:9002": f"127.0.0.1:{admin}",
            "/etc/fanwire": f"{folder}/etc",
            "/run/fanwire": f"{folder}/run",
            "/usr/bin/fanwire": FANWIRE,
        }

        def here(text: str) -> str:
            for before, after in places.items():
                text = text.replace(before, after)
            return text

        (folder / "etc/secret").mkdir(parents=True)
        (folder / "run").mkdir()
        settings = the("ConfigMap")["data"]["fanwire.toml"]
        assert all(place in settings for place in list(places)[:4]), settings
        (folder / "etc/fanwire.toml").write_text(here(settings))
        (folder / "etc/secret/keys").write_text(json.dumps({"keys": [{"kty": "oct", "alg": "HS256", "kid": "1", "k": "c2VjcmV0" * 8}]}))
        (folder / "etc/secret/admin-token").write_text("an-operator-of-the-tests,-long-enough\n")
        log = folder / "log"
        with open(log, "wb") as file:
            server = subprocess.Popen([FANWIRE, *map(here, container["args"])], stdout=file, stderr=file)
        try:
            ready = f"http://127.0.0.1:{admin}{container['readinessProbe']['httpGet']['path']}"
            until(lambda: server.poll() is not None or asked(ready)[0] == 200, f"it is ready: {log.read_text()}")
            assert server.poll() is None, log.read_text()
            alive = f"http://127.0.0.1:{admin}{container['livenessProbe']['httpGet']['path']}"
            assert asked(alive)[0] == 200
            metrics = f"http://127.0.0.1:{admin}/metrics"
            assert asked(metrics)[0] == 401, "who has no token reads metrics"
            status, text = asked(metrics, "an-operator-of-the-tests,-long-enough")
            assert status == 200
            wanted = [m["pods"]["metric"]["name"] for m in the("HorizontalPodAutoscaler", "autoscaler.yaml")["spec"]["metrics"] if m["type"] == "Pods"]
            assert wanted and all(f"\n{name}{{" in text for name in wanted), wanted
            command = container["lifecycle"]["preStop"]["exec"]["command"]
            drained = subprocess.run([here(part) for part in command], capture_output=True, text=True, timeout=PATIENCE_S)
            assert drained.returncode == 0, drained
            assert server.wait(PATIENCE_S) == 0, log.read_text()
        finally:
            with contextlib.suppress(OSError):
                server.kill()
            server.wait()


if __name__ == "__main__":
    sys.exit(run_all([are_valid, what_is_wrong_is_found, names_fit, the_pod_runs_is_ready_and_drains]))
