"""One test for each guard: who is let in, and what every answer says."""

import asyncio
import json
import re
import socket
from pathlib import Path

import nibabel
import numpy as np
import pytest

from ecc_jax.annotator import __main__, guards, readers, replies, server
from ecc_jax.annotator.client import ApiError, Client
from ecc_jax.annotator.server import Options
from tests.annotator.serving import TOKEN, ball, serving
from tests.raw_layouts import lidc

STATIC = Path(guards.__file__).with_name("static")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    image, _ = ball()
    affine = np.diag([-0.7, -0.7, 3.0, 1])
    nibabel.save(nibabel.Nifti1Image(image.transpose(2, 1, 0), affine), folder / "ct.nii.gz")
    return folder


@pytest.fixture(scope="module")
def running(folder, tmp_path_factory):
    with serving(folder / "ct.nii.gz", tmp_path_factory.mktemp("work")) as (client, desk):
        yield client, next(iter(desk.sources))


def status(running, method="GET", path="/api/documents", body=b"", **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    code, _, raw = running[0].request(method, path, body=body, headers=names)
    if code >= 400:
        text = json.loads(raw)["error"]
        assert text and "\n" not in text
    return code


def port_of(running):
    return running[0].netloc.split(":")[1]


def raw_request(running, text):
    """Sends bytes as they are; returns the answer."""
    with socket.create_connection(("127.0.0.1", int(port_of(running))), timeout=10) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_others_are_let_in_only_on_purpose(host):
    options = Options(None, "shipped", Path("x"), host=host)
    with pytest.raises(ValueError, match="--host .* lets other machines in; give --token-file"):
        server.check(options)
    with pytest.raises(ValueError, match="at least 16"):
        server.check(options._replace(token="short"))
    with pytest.raises(ValueError, match="at least 16"):
        server.check(options._replace(token="with blanks and\r\nheaders"))
    server.check(options._replace(token="a-secret-of-my-own"))
    server.check(options._replace(host="127.0.0.1"))


def test_a_taken_port_is_one_line():
    with server.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ValueError, match="cannot listen at .* choose another --port"):
            server.listen("127.0.0.1", port)


def test_tokens_are_new_at_every_start_and_long():
    tokens = {guards.new_token() for _ in range(50)}
    assert len(tokens) == 50 and min(map(len, tokens)) >= 43  # 256 bits
    assert not guards.is_token("", TOKEN) and not guards.is_token(TOKEN + "x", TOKEN)
    assert not guards.is_token("\udcff", TOKEN) and guards.is_token(TOKEN, TOKEN)


def test_without_the_token_nothing_is_told(running):
    opened = f"/api/documents/{running[1]}/open"
    assert status(running, "POST", opened, authorization="") == 401
    for value in ("", "Bearer wrong", "Bearer ", f"Basic {TOKEN}", TOKEN):
        assert status(running, authorization=value) == 401
        assert (
            status(running, "POST", f"/api/documents/{running[1]}/open", authorization=value) == 401
        )
    assert status(running, authorization="", cookie=f"other={TOKEN}") == 401
    assert status(running, path=f"/api/documents?token={TOKEN}", authorization="") == 401
    assert status(running) == 200


def test_the_token_becomes_a_cookie_that_other_sites_cannot_send(running):
    client, _ = running
    body = json.dumps({"token": TOKEN}).encode()
    bare = {"authorization": ""}
    code, headers, _ = client.request("POST", "/api/login", body=body, headers=bare)
    assert code == 200
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Domain" not in cookie
    assert status(running, authorization="", cookie=cookie.split(";")[0]) == 200
    assert status(running, "POST", "/api/login", b'{"token": "wrong"}') == 401
    assert status(running, "POST", "/api/login", b'{"token": 5}') == 401


def test_dns_rebinding(running):
    for host in ("evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example", ""):
        assert status(running, host=host) == 421
        assert status(running, path="/", host=host) == 421
    port = port_of(running)
    assert status(running, host=f"LOCALHOST:{port}") == 200
    twice = f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\nHost: evil.example\r\n\r\n"
    assert raw_request(running, twice.encode()).split()[1] in (b"400", b"421")


def test_requests_of_other_sites(running):
    port = port_of(running)
    opened = f"/api/documents/{running[1]}/open"
    for origin in ("http://evil.example", "null", "http://127.0.0.1", f"http://evil:{port}"):
        assert status(running, "POST", opened, b"{}", origin=origin) == 403
    for site in ("cross-site", "same-site"):
        assert status(running, "POST", opened, b"{}", sec_fetch_site=site) == 403
    assert status(running, "POST", opened, b"{}", origin=f"http://127.0.0.1:{port}") == 200
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert status(running, "POST", opened, b"{}", content_type=kind) == 415
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE"):
        assert status(running, method) == 405


def test_every_answer_binds_the_browser(running):
    for path, headers in (("/", {}), ("/api/documents", {}), ("/x", {}), ("/", {"host": "evil"})):
        _, found, _ = running[0].request("GET", path, headers=headers)
        assert found["content-security-policy"].startswith("default-src 'self';")
        assert "frame-ancestors 'none'" in found["content-security-policy"]
        assert "img-src 'self';" in found["content-security-policy"]
        assert not re.search("blob:|data:|unsafe", found["content-security-policy"])
        assert found["x-content-type-options"] == "nosniff"
        assert found["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in found and "server" not in found


def test_the_page_names_no_other_place():
    for file in STATIC.iterdir():
        # The name of SVG's namespace is no address that anything is loaded from.
        text = file.read_text("utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.findall(r"(?:https?:)?//[a-z0-9]", text), file


def test_no_path_from_the_client(running):
    for name in (
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%00",
        "ct.nii.gz",
        "C:%5cx",
        "~root",
    ):
        for path in (
            f"/api/documents/{name}",
            f"/static/{name}",
            f"/api/documents/{name}/slices/0",
        ):
            assert status(running, path=path) == 404
        assert status(running, "POST", f"/api/documents/{name}/open", b"{}") == 404


def test_bodies_have_an_end(running):
    opened = f"/api/documents/{running[1]}/open"
    assert status(running, "POST", opened, b" " * 65537) == 413
    assert status(running, "POST", opened, b"[" * 60000) == 400
    assert status(running, "POST", opened, b"{}" + b" " * 60000) == 200
    assert status(running, x_long="x" * 17000) == 431


def test_headers_of_volumes_are_read_before_memory_is_taken(folder, tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header.set_data_dtype(np.int16)
    header["vox_offset"] = 352
    (tmp_path / "big.nii").write_bytes(header.binaryblock + b"\0" * 100)
    with serving(tmp_path, tmp_path / "work") as (client, desk):
        with pytest.raises(ApiError, match=f"expected 1 to {readers.MAX_VOXELS} voxels") as error:
            client.open(next(iter(desk.sources)))
        assert error.value.status == 422 and str(tmp_path) not in str(error.value)


def test_prompts_are_inside_and_finite(running):
    client, volume = running
    client.open(volume)
    client.event(volume, "add")
    for values in (
        {"y": -1},
        {"x": 1e30},
        {"radius": 0},
        {"slice": 99},
        {"lesion": 9},
        {"y": None},
    ):
        press = {"lesion": 1, "slice": 3, "y": 11, "x": 9, "radius": 4, "positive": True, **values}
        with pytest.raises(ApiError) as error:
            client.event(volume, "press", **press)
        assert error.value.status in (404, 422)
    body = b'{"lesion":1,"slice":3,"y":NaN,"x":9,"radius":4,"positive":true}'
    assert status(running, "POST", f"/api/documents/{volume}/press", body) == 422
    assert client.open(volume)["session"]["lesions"][0]["slices"] == []


def test_read_only_changes_and_writes_nothing(folder, tmp_path):
    with serving(folder, tmp_path / "work", read_only=True) as (client, desk):
        volume = next(iter(desk.sources))
        client.open(volume)
        assert client.slice(volume, 3).shape == (24, 20)
        with pytest.raises(ApiError, match="--read-only") as error:
            client.event(volume, "add")
        assert error.value.status == 403
    assert not (tmp_path / "work").exists()


def test_nothing_of_a_request_is_logged(folder, tmp_path, capfd):
    named = tmp_path / "DOE^JANE_1970.nii.gz"
    named.write_bytes((folder / "ct.nii.gz").read_bytes())
    with serving(named, tmp_path / "work") as (client, desk):
        volume = next(iter(desk.sources))
        client.open(volume)
        client.event(volume, "add", name="Jane Doe")
        with pytest.raises(ApiError):
            client.event(volume, "press", lesion="JANE")
    printed = capfd.readouterr()
    assert "jane" not in (printed.out + printed.err).lower() and volume not in printed.err


def test_an_error_that_nobody_foresaw_is_told_without_values(folder, tmp_path, capfd):
    with serving(folder, tmp_path / "work") as (client, desk):
        volume = next(iter(desk.sources))
        client.open(volume)

        def broken(*_):
            raise RuntimeError(client.netloc)

        desk.work(volume).do = broken
        with pytest.raises(ApiError, match="unexpected RuntimeError") as error:
            client.event(volume, "add")
        assert error.value.status == 500
    printed = capfd.readouterr().err
    assert "RuntimeError" in printed and client.netloc not in printed


def test_connections_that_stay_open_lock_nobody_out(running):
    port, idle = int(port_of(running)), []
    try:
        for number in range(2 * guards.MAX_IN_WORK):
            connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            idle.append(connection)
            if number % 2:  # the others say nothing at all
                connection.sendall(f"GET /x HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
                assert connection.recv(65536).startswith(b"HTTP/1.1 401")
        assert status(running) == 200
    finally:
        for connection in idle:
            connection.close()


def test_only_so_many_requests_are_answered_at_once():
    async def ask(guard, token=TOKEN):
        sent = []

        async def send(message):
            sent.append(message)

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        headers = [(b"host", b"h:1"), (b"authorization", f"Bearer {token}".encode())]
        scope = {"type": "http", "method": "GET", "path": "/api/documents", "headers": headers}
        await guard(scope, receive, send)
        return sent[0]["status"]

    async def work():
        gate = asyncio.Event()

        async def app(scope, receive, send):
            await gate.wait()
            await replies.reply({})(scope, receive, send)

        guard = guards.Guard(app, guards.Policy(TOKEN, frozenset({"h:1"})))
        first = [asyncio.create_task(ask(guard)) for _ in range(guards.MAX_IN_WORK)]
        await asyncio.sleep(0)
        # Who has no token takes nobody's place, and is told no more than that.
        strangers = [await ask(guard, token="x") for _ in range(3)]
        more = await ask(guard)
        gate.set()
        done = [await task for task in first]
        return strangers, more, done, await ask(guard)

    strangers, more, done, after = asyncio.run(work())
    assert strangers == [401] * 3 and more == 429 and after == 200
    assert done == [200] * guards.MAX_IN_WORK


def test_a_secret_that_no_list_of_processes_shows(tmp_path):
    file, environment = tmp_path / "token", {"ECC_ANNOTATOR_TOKEN": "of-the-environment"}
    file.write_text("of-the-file-itself\n", "utf-8")
    assert __main__.token_of("", None, {}) == ""
    assert __main__.token_of("", None, environment) == "of-the-environment"
    assert __main__.token_of("given", None, environment) == "given"
    assert __main__.token_of("", file, environment) == "of-the-file-itself"
    file.write_text(" \n", "utf-8")
    with pytest.raises(ValueError, match="--token-file .* is empty; write a secret"):
        __main__.token_of("", file, environment)
    with pytest.raises(ValueError, match="cannot be read .*; check the path"):
        __main__.token_of("", tmp_path / "none", environment)
    told = " ".join(__main__.parser().format_help().split())
    assert "ECC_ANNOTATOR_TOKEN" in told and "--token-file FILE" in told


def test_a_client_needs_the_whole_address():
    with pytest.raises(KeyError):
        Client("http://127.0.0.1:1/")


def test_the_server_does_not_start_where_it_could_save_nothing(tmp_path, monkeypatch):
    series = lidc.write_series(tmp_path / "series", np.zeros((3, 8, 10), np.int16))
    monkeypatch.chdir(series)
    before = set(series.iterdir())
    with pytest.raises(ValueError, match="--workdir annotations lies in the folder of a DICOM"):
        server.serve(Options(Path("."), "shipped", Path("annotations")))
    assert set(series.iterdir()) == before
