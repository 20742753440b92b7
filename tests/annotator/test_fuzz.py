"""The API over HTTP: what fuzzers do."""

import json
from urllib.parse import quote

import numpy as np
import pytest

from tests.annotator.serving import PRESS, Painter, serving

WORDS = ["lesion", "slice", "ring", "y", "x", "radius", "positive", "window_hu", "name", "colour"]
WORDS += [
    "mask",
    "begin",
    "finished",
    "direction",
    "most",
    "format",
    "version",
    "token",
    "kind",
    "prior",
    "slices",
]
VALUES = [0, 1, 2, 3, -1, 11, 9.5, 1e308, -1e308, 10**30, True, False, None, "", "x", "../../x"]
VALUES += ["\ud800", "é" * 200, [], {}, [1, 2], [[]], {"a": 1}, "nan", "#000000", [-100, 200], 5.5]
KINDS = ["press", "move", "resize", "delete", "clear", "add", "rename", "finish", "remove", "undo"]
KINDS += ["redo", "propagate", "save", "open", "fly", "%00", "..%2f..", "login", "masks/1/3"]
PIECES = ["0", "1", "3", "-1", "99999999999", "x", "%00", "..", "..%2f..", "é", "1e3", "٣"]
QUERIES = ["", "?format=png&low=0&high=9", "?format=uint8&low=nan&high=inf", "?format=bits", "?%00"]
QUERIES += ["?slice=3", "?slice=x"]


def sensible(rng, volume):
    """Returns method, path and body of a request that fits, at most times."""
    y, x = (float(value) for value in rng.uniform(0, 19, 2))
    place = {"lesion": int(rng.integers(1, 3)), "slice": int(rng.integers(6)), "y": y, "x": x}
    kind, body = [
        ("press", {**PRESS, **place}),
        ("press", {**PRESS, **place, "positive": False}),
        (
            "press",
            {"begin": True, **{k: v for k, v in {**PRESS, **place}.items() if k != "lesion"}},
        ),
        ("finish", {"lesion": 1, "finished": bool(rng.integers(2))}),
        ("move", {**place, "ring": int(rng.integers(1, 9))}),
        ("undo", {}),
        ("redo", {}),
        ("add", {"name": f"n{y}"}),
        ("open", {}),
    ][rng.integers(9)]
    return "POST", f"/api/documents/{volume}/{kind}", json.dumps(body).encode()


def hostile(rng, volume):
    """Returns method, path, body and headers of a request that makes sense only by chance."""

    def pick(items):
        return items[rng.integers(len(items))]

    if rng.random() < 0.4:
        return (*sensible(rng, volume), {})
    name = volume if rng.random() < 0.9 else pick(PIECES)
    method = str(rng.choice(["POST", "GET", "PUT", "HEAD"], p=[0.7, 0.27, 0.02, 0.01]))
    if method == "POST":
        path = f"/api/documents/{name}/{pick(KINDS)}"
    else:
        parts = [f"slices/{pick(PIECES)}", f"masks/{pick(PIECES)}/{pick(PIECES)}", "", "static"]
        parts.append(f"measures/{pick(PIECES)}")
        path = f"/api/documents/{name}/{pick(parts)}{pick(QUERIES)}"
    body = dict(PRESS) if rng.random() < 0.6 else {}
    for _ in range(rng.integers(4)):
        body[pick(WORDS)] = pick(VALUES)
    for word in list(body):
        if rng.random() < 0.15:
            del body[word]
    raw = json.dumps(body).encode()
    if rng.random() < 0.1:
        raw = raw[: rng.integers(len(raw) + 1)] + bytes(rng.integers(0, 256, 3).astype(np.uint8))
    headers = {}
    if rng.random() < 0.05:
        headers = {"cookie": "x" * int(rng.integers(2000)), "content-type": pick(["", "text/html"])}
    return method, quote(path, safe="/%?=&.~"), raw, headers


def fuzz(scan, tmp_path, seed, count):
    rng = np.random.default_rng(seed)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    codes = []
    with serving(scan[0], tmp_path / "work", painter=Painter()) as (client, _):
        volume = client.documents()[0]["id"]
        client.open(volume)
        for _ in range(count):
            method, path, raw, headers = hostile(rng, volume)
            code, _, answer = client.request(method, path, body=raw, headers=headers)
            assert code < 500, (method, path, raw, answer)
            if code >= 400 and method != "HEAD":
                text = json.loads(answer)["error"]
                assert text and "\n" not in text and str(tmp_path) not in text
            codes.append(code)
        session = client.open(volume)["session"]
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    # Nothing but the session's own two files is new, and nothing else has changed.
    assert {path.name for path in after.keys() - before.keys()} == {"events.log", "events.log.lock"}
    assert all(after[path] == raw for path, raw in before.items())
    # Some got through, or the test would show nothing; and the log restores what they did.
    assert 0.1 < np.mean(np.array(codes) == 200) < 0.9
    with serving(scan[0], tmp_path / "work") as (client, _):
        assert client.open(volume)["session"] == session


def test_fuzzed_requests(scan, tmp_path):
    fuzz(scan, tmp_path, 0, 300)


@pytest.mark.slow
def test_two_thousand_fuzzed_requests(scan, tmp_path):
    fuzz(scan, tmp_path, 1, 2000)
