"""Published weights: by a server of this test and by a file, since tests use no network."""

import hashlib
import http.server
import threading
from types import SimpleNamespace

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from pipeline.backbone import hub
from pipeline.core.errors import PersonError

STATE = {"a": torch.arange(6.0).view(2, 3)}


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A torchvision network whose weights lie in a file of this test."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    torch.save(STATE, tmp_path / "net.pth")

    def publish(digest=None):
        digest = digest or hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()[:8]
        path = (tmp_path / "net.pth").rename(tmp_path / f"net-{digest}.pth")
        entry = SimpleNamespace(DEFAULT=SimpleNamespace(url=path.as_uri()))
        monkeypatch.setattr(torchvision.models, "get_model_weights", lambda _: entry)
        return path

    return publish


def test_weights_of_torchvision_are_kept_as_safetensors(published):
    source = published()
    first = hub.torchvision_file("net")
    assert torch.equal(load_file(first)["a"], STATE["a"])
    source.unlink()
    assert hub.torchvision_file("net") == first, "a second time nothing is fetched"


def test_a_file_that_is_not_what_its_name_says_is_refused(published):
    published("0" * 8)
    with pytest.raises(PersonError, match="is damaged"):
        hub.torchvision_file("net")


def test_without_a_network_the_message_says_what_to_do(published):
    published().unlink()
    with pytest.raises(PersonError, match=r"this machine does not reach it; bring the file by other means and set  model.weights="):
        hub.torchvision_file("net")


def hub_at(address, folder, monkeypatch):
    """Another hub than huggingface.co, with a cache of its own and the offline switch on, as in a stage."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """What huggingface.co answers about one file; yields the paths that were asked for."""
    save_file(STATE, tmp_path / "model.safetensors")
    content, asked = (tmp_path / "model.safetensors").read_bytes(), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            known = self.path.endswith("resnet18.a1_in1k/resolve/main/model.safetensors")
            self.send_response(200 if known else 404)
            for name, value in (("ETag", '"1"'), ("X-Repo-Commit", "0" * 40), ("Content-Length", str(len(content)))):
                self.send_header(name, value)
            self.end_headers()

        def do_GET(self):
            self.do_HEAD()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub_at(f"http://127.0.0.1:{served.server_port}", tmp_path, monkeypatch)
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield asked
    served.shutdown()
    thread.join()
    served.server_close()


def test_weights_of_timm_come_from_the_hub_and_only_then_is_it_asked(server, tmp_path):
    from huggingface_hub import constants

    assert torch.equal(load_file(hub.timm_file("resnet18.a1_in1k"))["a"], STATE["a"])
    assert server
    assert constants.HF_HUB_OFFLINE is True, "the switch is as it was"


def test_a_hub_out_of_reach_says_what_to_do(monkeypatch, tmp_path):
    hub_at("http://127.0.0.1:9", tmp_path, monkeypatch)
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the hub's five attempts
    with pytest.raises(PersonError, match=r"timm/resnet18.a1_in1k on huggingface.co: this machine does not reach it"):
        hub.timm_file("resnet18")


def test_a_network_without_published_weights_is_named():
    with pytest.raises(PersonError, match="no published weights of the timm network 'vit_base_patch16_siglip_gap_nowhere'"):
        hub.timm_file("vit_base_patch16_siglip_gap_nowhere")
