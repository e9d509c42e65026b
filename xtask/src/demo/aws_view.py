"""What AWS Secrets Manager holds, as AWS's own SDK reads it.

One JSON object a line in, one a line out:
  {"do": "list", "prefix": P}                     every secret below P: value, versions, tags
  {"do": "watch", "names": [N, ...]}              polls these names from now on
  {"do": "await", "name": N, "value": V, "seconds": S}
                                                  waits until N holds V (null: until it is gone);
                                                  answers when that was first seen
  {"do": "unwatch"}                               ends the polling, answers all that was seen
  {"do": "meddle", "write": N, "value": V, "delete": M}
                                                  what somebody with access to AWS does
  {"do": "erase", "prefix": P, "names": [N, ...]} deletes these, and every secret below P
Times are seconds since 1970. Nothing here shares code with the server.
"""
import json
import sys
import threading
import time

import boto3
from botocore.config import Config

POLL_SECONDS = float(sys.argv[1])
GONE = ("ResourceNotFoundException", "InvalidRequestException")

aws = boto3.client(
    "secretsmanager",
    config=Config(retries={"max_attempts": 3}, max_pool_connections=16),
)
changed = threading.Condition()
seen = {}
watching = threading.Event()
threads = []


def value_of(name):
    try:
        return aws.get_secret_value(SecretId=name)["SecretString"]
    except aws.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in GONE:
            return None
        raise


def poll(name):
    while watching.is_set():
        try:
            value = value_of(name)
        except Exception as error:
            print("aws_view: %s: %s" % (name, error), file=sys.stderr)
            time.sleep(0.2)
            continue
        now = time.time()
        with changed:
            states = seen[name]
            if not states or states[-1][1] != value:
                states.append((now, value))
                changed.notify_all()
        time.sleep(POLL_SECONDS)


def watch(names):
    unwatch()
    seen.clear()
    watching.set()
    for name in names:
        seen[name] = []
        thread = threading.Thread(target=poll, args=(name,), daemon=True)
        threads.append(thread)
        thread.start()
    with changed:
        changed.wait_for(lambda: all(seen.values()), timeout=30)
    return {}


def unwatch():
    watching.clear()
    for thread in threads:
        thread.join()
    threads.clear()
    return {"seen": {name: states for name, states in seen.items()}}


def same(held, wanted):
    if held is None or wanted is None:
        return held is wanted
    return json.loads(held) == json.loads(wanted)


def await_value(name, value, seconds):
    with changed:
        states = seen[name]
        came = changed.wait_for(lambda: states and same(states[-1][1], value), timeout=seconds)
        last = states[-1] if states else (0, None)
        return {"came": bool(came), "at": last[0], "value": last[1]}


def all_below(prefix):
    pages = aws.get_paginator("list_secrets").paginate(
        Filters=[{"Key": "name", "Values": [prefix]}])
    return [secret for page in pages for secret in page["SecretList"]]


def list_below(prefix):
    found = []
    for secret in all_below(prefix):
        versions = aws.list_secret_version_ids(SecretId=secret["ARN"], IncludeDeprecated=True)
        found.append({
            "name": secret["Name"],
            "value": value_of(secret["Name"]),
            "versions": len(versions["Versions"]),
            "tags": sorted(tag["Key"] for tag in secret.get("Tags", [])),
        })
    return {"secrets": sorted(found, key=lambda secret: secret["name"])}


def meddle(write, value, delete):
    aws.update_secret(SecretId=write, SecretString=value)
    aws.delete_secret(SecretId=delete, ForceDeleteWithoutRecovery=True)
    return {}


def erase(prefix, names):
    # Lists lag behind: what is known by name is deleted by name.
    erased = set()
    for name in names + [secret["Name"] for secret in all_below(prefix)]:
        try:
            if value_of(name) is not None:
                aws.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
                erased.add(name)
        except aws.exceptions.ResourceNotFoundException:
            pass
    return {"erased": len(erased)}


ACTIONS = {
    "list": lambda ask: list_below(ask["prefix"]),
    "watch": lambda ask: watch(ask["names"]),
    "await": lambda ask: await_value(ask["name"], ask["value"], ask["seconds"]),
    "unwatch": lambda ask: unwatch(),
    "meddle": lambda ask: meddle(ask["write"], ask["value"], ask["delete"]),
    "erase": lambda ask: erase(ask["prefix"], ask["names"]),
}

for line in sys.stdin:
    ask = json.loads(line)
    try:
        answer = ACTIONS[ask["do"]](ask)
    except Exception as error:
        answer = {"error": "%s: %s" % (type(error).__name__, error)}
    print(json.dumps(answer), flush=True)
