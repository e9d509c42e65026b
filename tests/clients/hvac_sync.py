#!/usr/bin/env python3
"""hvac, the Python client made for Vault, has no words for secrets sync: its raw calls reach it.

usage: hvac_sync.py ADDRESS PORT     (on standard input: the root token, the access key, its secret;
                                      a fake of AWS listens at PORT, KV v2 is at secret/)
"""

import sys

import hvac

address, port = sys.argv[1:]
token, key, secret = (sys.stdin.readline().strip() for _ in range(3))
root = hvac.Client(url=address, token=token)
raw = root.adapter


def patch(path, **fields):
    media = {"Content-Type": "application/merge-patch+json"}
    return raw.request("patch", path, json=fields, headers=media)


flags = raw.put("/v1/sys/activation-flags/secrets-sync/activate", json={})
assert "secrets-sync" in flags["data"]["activated"], flags

one = "/v1/sys/sync/destinations/aws-sm/hvac"
made = raw.post(one, json={
    "access_key_id": key, "secret_access_key": secret, "region": "us-east-1",
    "secret_name_template": "hvac/{{ .SecretPath }}", "custom_tags": {"team": "core"},
    "allowed_ipv4_addresses": "127.0.0.0/8", "allowed_ports": port,
})
assert made["data"]["connection_details"]["secret_access_key"] == "*****", made
assert raw.get(one)["data"] == made["data"]
assert raw.list("/v1/sys/sync/destinations")["data"]["key_info"] == {"aws-sm/": ["hvac"]}
assert raw.list("/v1/sys/sync/destinations/aws-sm")["data"]["keys"] == ["hvac"]

changed = patch(one, tags_to_remove=["team"], custom_tags={"env": "test"}, drift="report")
assert changed["data"]["options"]["custom_tags"] == {"env": "test"}, changed
assert changed["data"]["options"]["drift"] == "report"
try:
    raw.request("patch", one, json={"drift": "off"})
    raise AssertionError("a patch without its media type was taken")
except hvac.exceptions.VaultError as error:
    assert "merge-patch+json" in str(error), error
checked = raw.get(one + "/check")["data"]
assert checked["ok"] and checked["identity"]["region"] == "us-east-1", checked
names = raw.post(one + "/preview", json={"mount": "secret", "secret_name": "app/db"})["data"]["names"]
assert [name["external_name"] for name in names] == ["hvac/app/db"], names

root.secrets.kv.v2.create_or_update_secret("app/db", secret={"user": "a"})
subject = {"mount": "secret", "secret_name": "app/db"}
done = raw.post(one + "/associations/set", json=subject)
(entry,) = done["data"]["associated_secrets"].values()
assert entry["sync_status"] == "SYNCED" and entry["external_name"] == "hvac/app/db", done
shown = raw.get("/v1/sys/sync/associations/destinations?mount=secret&secret_name=app/db")
assert shown["data"]["associated_destinations"]["aws-sm/hvac"]["sync_status"] == "SYNCED", shown
listed = raw.list("/v1/sys/sync/associations")["data"]
assert listed["total_associations"] == listed["total_secrets"] == 1, listed
assert raw.get(one + "/associations")["data"]["store_name"] == "hvac"

assert raw.post(one + "/pause", json={})["data"]["paused"] is True
assert "paused" not in raw.post(one + "/resume", json={})["data"]
assert raw.post(one + "/sync", json=subject)["data"]["associated_secrets"]

assert patch("/v1/sys/sync/config", disabled=True)["data"]["disabled"] is True
assert raw.delete("/v1/sys/sync/config")["data"]["disabled"] is False
try:
    raw.delete(one)
    raise AssertionError("a destination in use was deleted")
except hvac.exceptions.InvalidRequest as error:
    assert "associated" in str(error), error
raw.post(one + "/associations/remove", json=subject)
raw.delete(one)
try:
    raw.get(one)
    raise AssertionError("a deleted destination was read")
except hvac.exceptions.InvalidPath:
    pass
print("hvac is content")
