"""The configuration that the demo gives to Envoy, and what Envoy's admin says."""

import http.client
import json
import pathlib
import random
import socket

from wait import Failure

EXAMPLE = pathlib.Path(__file__).resolve().parent.parent / "envoy.yaml"


class Ports:
    """Two free ports on loopback."""

    def __init__(self) -> None:
        # Below the range that clients' own ports come from: during a handover the admin
        # port is nobody's for a moment, and a client of the load could end up on it.
        lowest = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        below = range(min(10000, lowest // 2), lowest)
        free = (port for port in random.sample(below, len(below)) if is_free(port))
        self.ingress, self.admin = next(free), next(free)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def configuration(ports: Ports, log_folder: str) -> str:
    """The example's configuration, on loopback alone and with the demo's ports and log."""
    text = EXAMPLE.read_text()
    for old, new in [
        ("0.0.0.0, port_value: 10000", f"127.0.0.1, port_value: {ports.ingress}"),
        ("127.0.0.1, port_value: 9901", f"127.0.0.1, port_value: {ports.admin}"),
        ("path: /var/log/envoy/", f"path: {log_folder}/"),
    ]:
        if text.count(old) != 1:
            raise Failure(f"{EXAMPLE} no longer has exactly one `{old}`, which the demo replaces")
        text = text.replace(old, new)
    return text


def is_live(admin_port: int, epoch: int) -> bool:
    """Whether the admin says LIVE and is that of `epoch`; a closed admin says neither."""
    # It answers within milliseconds; but once in some hundred handovers a connection
    # that met the closing listener was never answered.
    admin = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=0.5)
    try:
        admin.request("GET", "/server_info")
        info = json.loads(admin.getresponse().read(1 << 20))
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        admin.close()
    return info["state"] == "LIVE" and info["command_line_options"]["restart_epoch"] == epoch
