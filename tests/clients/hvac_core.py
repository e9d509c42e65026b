#!/usr/bin/env python3
"""hvac, the Python client made for Vault, against a server of ours: the calls of a working day.

usage: hvac_core.py ADDRESS      (the root token comes on standard input, KV v2 is at secret/)
"""

import sys

import hvac

address, token = sys.argv[1], sys.stdin.readline().strip()
root = hvac.Client(url=address, token=token)
assert root.is_authenticated() and root.sys.is_initialized() and not root.sys.is_sealed()
assert root.sys.read_health_status(method="GET")["version"] == "2.2.0"

kv = root.secrets.kv.v2
assert kv.create_or_update_secret("app/db", secret={"user": "a"}, cas=0)["data"]["version"] == 1
kv.patch("app/db", secret={"password": "ü"})
held = kv.read_secret_version("app/db", raise_on_deleted_version=True)["data"]
assert held["data"] == {"user": "a", "password": "ü"}, held
assert kv.list_secrets("")["data"]["keys"] == ["app/"]
kv.delete_latest_version_of_secret("app/db")
try:
    kv.read_secret_version("app/db", raise_on_deleted_version=True)
    raise AssertionError("a deleted version was read")
except hvac.exceptions.InvalidPath:
    pass
kv.undelete_secret_versions("app/db", [2])
assert kv.read_secret_metadata("app/db")["data"]["current_version"] == 2

root.sys.create_or_update_policy("reader", 'path "secret/data/app/*" { capabilities = ["read"] }')
made = root.auth.token.create(policies=["reader"], ttl="1h")["auth"]
reader = hvac.Client(url=address, token=made["client_token"])
assert reader.secrets.kv.v2.read_secret_version("app/db", raise_on_deleted_version=True)
try:
    reader.secrets.kv.v2.create_or_update_secret("app/db", secret={})
    raise AssertionError("a reader wrote")
except hvac.exceptions.Forbidden:
    pass
assert reader.auth.token.renew_self()["auth"]["lease_duration"] == 3600
reader.auth.token.revoke_self()
assert not reader.is_authenticated()
print("hvac is content")
