#!/usr/bin/env python3
"""AWS's own SDK for Python against an AWS endpoint, normally the fake one.

usage: aws_boto3.py ENDPOINT ACCESS_KEY_ID SECRET_ACCESS_KEY

The key must belong to an administrator who is a user, and the endpoint must verify signatures and
evaluate policies (`fake-aws --require-signatures --enforce-policies`). Each check states what AWS
documents. Exits non-zero when one fails; the last line counts them.
"""

import base64
import json
import sys
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ONCE = Config(retries={"total_max_attempts": 1, "mode": "standard"})
RUN = uuid.uuid4().hex[:8]
PREFIX = f"probe/{RUN}/"


class Probe:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def succeeds(self, title, call, check=None):
        """The call succeeds, and its answer passes the check."""
        try:
            answer = call()
        except Exception as error:  # any failure is a failed check, whatever its kind
            return self.note(title, f"{type(error).__name__}: {error}")
        wrong = None
        if check is not None:
            try:
                wrong = None if check(answer) else f"answered {answer}"
            except (KeyError, IndexError, TypeError) as error:
                wrong = f"{type(error).__name__} {error} in {answer}"
        self.note(title, wrong)
        return answer

    def refuses(self, title, code, call, status=400, text=""):
        """The call is refused with this code, this HTTP status, and this text in its message."""
        try:
            answer = call()
        except ClientError as error:
            got = error.response["Error"]["Code"]
            got_status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            message = error.response["Error"].get("Message", "")
            fits = got == code and got_status == status and text in message
            return self.note(title, None if fits else f"{got} {got_status}: {message}")
        except Exception as error:
            return self.note(title, f"{type(error).__name__}: {error}")
        return self.note(title, f"succeeded: {answer}")

    def note(self, title, wrong):
        if wrong is None:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {title}: {wrong}")


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


class Clouds:
    """Clients of one endpoint for one set of credentials."""

    def __init__(self, endpoint, key, secret, token=None, region="us-east-1"):
        self.endpoint = endpoint

        def client(service):
            return boto3.client(
                service,
                endpoint_url=endpoint,
                region_name=region,
                aws_access_key_id=key,
                aws_secret_access_key=secret,
                aws_session_token=token,
                config=ONCE,
            )

        self.secrets = client("secretsmanager")
        self.sts = client("sts")
        self.kms = client("kms")
        self.iam = client("iam")

    def session(self, credentials):
        return Clouds(
            self.endpoint,
            credentials["AccessKeyId"],
            credentials["SecretAccessKey"],
            credentials["SessionToken"],
        )

    def user(self, name, document=None):
        """A new user with one policy, and its clients."""
        self.iam.create_user(UserName=name)
        if document is not None:
            self.iam.put_user_policy(UserName=name, PolicyName="probe", PolicyDocument=document)
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return Clouds(self.endpoint, key["AccessKeyId"], key["SecretAccessKey"])


def values(probe, admin):
    secrets, name = admin.secrets, PREFIX + "values"
    token = str(uuid.uuid4())
    made = probe.succeeds(
        "create",
        lambda: secrets.create_secret(Name=name, SecretString="v1", ClientRequestToken=token),
        lambda answer: answer["VersionId"] == token,
    )
    probe.succeeds(
        "create again with the same token and value",
        lambda: secrets.create_secret(Name=name, SecretString="v1", ClientRequestToken=token),
        lambda answer: answer["ARN"] == made["ARN"],
    )
    probe.refuses(
        "create again with another value",
        "ResourceExistsException",
        lambda: secrets.create_secret(Name=name, SecretString="v2", ClientRequestToken=token),
    )
    for title, secret_id in [
        ("name", name),
        ("ARN", made["ARN"]),
        ("ARN without its end", made["ARN"].rsplit("-", 1)[0]),
    ]:
        probe.succeeds(
            f"read by {title}",
            lambda secret_id=secret_id: secrets.get_secret_value(SecretId=secret_id),
            lambda answer: answer["SecretString"] == "v1" and answer["Name"] == name,
        )
    second = str(uuid.uuid4())
    put = {"SecretId": name, "SecretString": "v2", "ClientRequestToken": second}
    probe.succeeds("put", lambda: secrets.put_secret_value(**put))
    probe.succeeds("put again", lambda: secrets.put_secret_value(**put))
    probe.refuses(
        "put another value with the token",
        "ResourceExistsException",
        lambda: secrets.put_secret_value(**{**put, "SecretString": "x"}),
    )
    probe.refuses(
        "update with a known token",
        "ResourceExistsException",
        lambda: secrets.update_secret(**put),
    )
    probe.succeeds(
        "two labelled versions",
        lambda: secrets.describe_secret(SecretId=name)["VersionIdsToStages"],
        lambda stages: stages == {token: ["AWSPREVIOUS"], second: ["AWSCURRENT"]},
    )
    probe.succeeds(
        "move the label back",
        lambda: secrets.update_secret_version_stage(
            SecretId=name,
            VersionStage="AWSCURRENT",
            MoveToVersionId=token,
            RemoveFromVersionId=second,
        ),
    )
    probe.succeeds(
        "the old value is current",
        lambda: secrets.get_secret_value(SecretId=name)["SecretString"],
        lambda value: value == "v1",
    )
    probe.refuses(
        "read a missing secret",
        "ResourceNotFoundException",
        lambda: secrets.get_secret_value(SecretId=PREFIX + "none"),
        text="can't find the specified secret",
    )
    binary = PREFIX + "binary"
    secrets.create_secret(Name=binary, SecretBinary=b"\x00\xff")
    probe.succeeds(
        "binary value",
        lambda: secrets.get_secret_value(SecretId=binary)["SecretBinary"],
        lambda value: value == b"\x00\xff",
    )
    empty = PREFIX + "empty"
    secrets.create_secret(Name=empty)
    probe.refuses(
        "a secret without a value",
        "ResourceNotFoundException",
        lambda: secrets.get_secret_value(SecretId=empty),
    )


def bounds(probe, admin):
    secrets = admin.secrets
    for title, code, members in [
        ("name with a space", "ValidationException", {"Name": "a b", "SecretString": "x"}),
        ("value over 64 KiB", "ValidationException", {"SecretString": "x" * 65537}),
        ("reserved tag", "InvalidParameterException", {"Tags": [{"Key": "aws:x", "Value": ""}]}),
        (
            "51 tags",
            "InvalidParameterException",
            {"Tags": [{"Key": f"k{n}", "Value": ""} for n in range(51)]},
        ),
        (
            "text and binary",
            "InvalidParameterException",
            {"SecretString": "x", "SecretBinary": b"x"},
        ),
        ("a missing key", "ResourceNotFoundException", {"SecretString": "x", "KmsKeyId": "alias/none"}),
    ]:
        members = {"Name": PREFIX + "bounds", **members}
        probe.refuses(title, code, lambda members=members: secrets.create_secret(**members))


def listing(probe, admin):
    secrets, prefix = admin.secrets, PREFIX + "list/"
    for number in range(7):
        tag = [{"Key": "parity", "Value": "odd" if number % 2 else "even"}]
        secrets.create_secret(Name=f"{prefix}{number}", SecretString="x", Tags=tag)

    def names(*filters, **more):
        filters = [{"Key": key, "Values": values} for key, values in filters]
        pages = secrets.get_paginator("list_secrets").paginate(
            Filters=filters, PaginationConfig={"PageSize": 2}, **more
        )
        return [entry["Name"][len(prefix) :] for page in pages for entry in page["SecretList"]]

    here = ("name", [prefix])
    probe.succeeds("pages", lambda: names(here), lambda got: sorted(got) == list("0123456"))
    probe.succeeds(
        "filter by tag",
        lambda: names(here, ("tag-value", ["odd"])),
        lambda got: sorted(got) == list("135"),
    )
    probe.succeeds(
        "negated filter",
        lambda: names(here, ("tag-value", ["!odd"])),
        lambda got: sorted(got) == list("0246"),
    )
    probe.refuses("unknown filter", "ValidationException", lambda: names(("owner", ["x"])))
    probe.refuses(
        "made-up page",
        "InvalidNextTokenException",
        lambda: secrets.list_secrets(NextToken="made-up"),
    )
    secrets.delete_secret(SecretId=prefix + "0", RecoveryWindowInDays=7)
    probe.succeeds("deletions hidden", lambda: names(here), lambda got: "0" not in got)
    probe.succeeds(
        "deletions shown",
        lambda: names(here, IncludePlannedDeletion=True),
        lambda got: "0" in got,
    )
    probe.succeeds(
        "batch",
        lambda: secrets.batch_get_secret_value(SecretIdList=[prefix + "0", prefix + "1"]),
        lambda answer: len(answer["SecretValues"]) == 1
        and answer["Errors"][0]["ErrorCode"] == "InvalidRequestException",
    )


def deletion(probe, admin):
    secrets, name = admin.secrets, PREFIX + "deletion"
    secrets.create_secret(Name=name, SecretString="x", Tags=[{"Key": "k", "Value": "v"}])
    secrets.delete_secret(SecretId=name, RecoveryWindowInDays=7)
    for title, call in [
        ("read", lambda: secrets.get_secret_value(SecretId=name)),
        ("put", lambda: secrets.put_secret_value(SecretId=name, SecretString="y")),
        ("tag", lambda: secrets.tag_resource(SecretId=name, Tags=[])),
        ("create", lambda: secrets.create_secret(Name=name, SecretString="y")),
    ]:
        probe.refuses(f"{title} while marked for deletion", "InvalidRequestException", call)
    probe.succeeds(
        "describe while marked for deletion",
        lambda: secrets.describe_secret(SecretId=name),
        lambda answer: "DeletedDate" in answer,
    )
    probe.succeeds("restore", lambda: secrets.restore_secret(SecretId=name))
    probe.succeeds(
        "tags are back",
        lambda: secrets.describe_secret(SecretId=name)["Tags"],
        lambda tags: tags == [{"Key": "k", "Value": "v"}],
    )
    force = {"SecretId": name, "ForceDeleteWithoutRecovery": True}
    probe.refuses(
        "force with a window",
        "InvalidParameterException",
        lambda: secrets.delete_secret(RecoveryWindowInDays=7, **force),
    )
    probe.succeeds("force", lambda: secrets.delete_secret(**force))
    probe.succeeds("force on nothing", lambda: secrets.delete_secret(**force))
    probe.succeeds("create again", lambda: secrets.create_secret(Name=name, SecretString="z"))
    replicas = [{"Region": "eu-west-1"}]
    probe.succeeds(
        "replicate",
        lambda: secrets.replicate_secret_to_regions(SecretId=name, AddReplicaRegions=replicas),
        lambda answer: answer["ReplicationStatus"][0]["Status"] == "InSync",
    )
    probe.refuses(
        "delete with replicas",
        "InvalidRequestException",
        lambda: secrets.delete_secret(SecretId=name),
    )
    secrets.remove_regions_from_replication(SecretId=name, RemoveReplicaRegions=["eu-west-1"])
    probe.succeeds("delete without", lambda: secrets.delete_secret(SecretId=name))


def keys(probe, admin):
    kms, secrets, name = admin.kms, admin.secrets, PREFIX + "keys"
    key = kms.create_key(Description="probe")["KeyMetadata"]["Arn"]
    context = {"purpose": "probe"}
    sealed = kms.encrypt(KeyId=key, Plaintext=b"hello", EncryptionContext=context)
    sealed = sealed["CiphertextBlob"]
    probe.succeeds(
        "decrypt",
        lambda: kms.decrypt(CiphertextBlob=sealed, EncryptionContext=context)["Plaintext"],
        lambda plaintext: plaintext == b"hello",
    )
    probe.refuses(
        "decrypt in another context",
        "InvalidCiphertextException",
        lambda: kms.decrypt(CiphertextBlob=sealed, EncryptionContext={"purpose": "other"}),
    )
    probe.succeeds(
        "data key",
        lambda: kms.generate_data_key(KeyId=key, KeySpec="AES_256"),
        lambda answer: len(answer["Plaintext"]) == 32,
    )
    secrets.create_secret(Name=name, SecretString="x", KmsKeyId=key)
    limited = admin.user(f"keys-{RUN}", policy(allow("secretsmanager:*")))
    probe.refuses(
        "a key without permission",
        "AccessDeniedException",
        lambda: limited.secrets.get_secret_value(SecretId=name),
        text="Access to KMS is not allowed",
    )
    kms.disable_key(KeyId=key)
    probe.refuses(
        "encrypt with a disabled key",
        "DisabledException",
        lambda: kms.encrypt(KeyId=key, Plaintext=b"x"),
    )
    probe.refuses(
        "read with a disabled key",
        "DecryptionFailure",
        lambda: secrets.get_secret_value(SecretId=name),
    )
    probe.refuses(
        "write with a disabled key",
        "EncryptionFailure",
        lambda: secrets.put_secret_value(SecretId=name, SecretString="y"),
    )


def signatures(probe, admin, key, secret):
    unknown = Clouds(admin.endpoint, "AKIAUNKNOWNUNKNOWN00", secret)
    probe.refuses(
        "unknown key", "UnrecognizedClientException", lambda: unknown.secrets.list_secrets()
    )
    probe.refuses(
        "unknown key at STS",
        "InvalidClientTokenId",
        lambda: unknown.sts.get_caller_identity(),
        status=403,
    )
    wrong = Clouds(admin.endpoint, key, secret + "x")
    probe.refuses("wrong secret", "InvalidSignatureException", lambda: wrong.secrets.list_secrets())
    probe.refuses(
        "wrong secret at STS",
        "SignatureDoesNotMatch",
        lambda: wrong.sts.get_caller_identity(),
        status=403,
    )


def web_identity_token(subject):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = {"iss": "https://issuer.example", "sub": subject, "aud": "sts.amazonaws.com"}
    return f"{part({'alg': 'none'})}.{part(claims)}.signature"


def sessions(probe, admin):
    sts, iam = admin.sts, admin.iam
    account = sts.get_caller_identity()["Account"]
    name = f"role-{RUN}"
    trust = policy(
        {
            "Effect": "Allow",
            "Principal": {"AWS": account},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": {"StringEquals": {"sts:ExternalId": "ours"}},
        },
        {
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:aws:iam::{account}:oidc-provider/issuer.example"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {"issuer.example:sub": "probe"}},
        },
    )
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    permitted = policy(allow("secretsmanager:*"))
    iam.put_role_policy(RoleName=name, PolicyName="probe", PolicyDocument=permitted)
    ask = {"RoleArn": arn, "RoleSessionName": "session", "ExternalId": "ours"}
    got = probe.succeeds("assume a role", lambda: sts.assume_role(**ask))
    session = admin.session(got["Credentials"])
    probe.succeeds(
        "who the session is",
        lambda: session.sts.get_caller_identity()["Arn"],
        lambda got: got == f"arn:aws:sts::{account}:assumed-role/{name}/session",
    )
    probe.succeeds("what it may do", lambda: session.secrets.list_secrets(MaxResults=1))
    for title, code, status, change in [
        ("another external id", "AccessDenied", 403, {"ExternalId": "theirs"}),
        ("a missing role", "AccessDenied", 403, {"RoleArn": arn + "x"}),
        ("too long", "ValidationError", 400, {"DurationSeconds": 7200}),
        ("a malformed policy", "MalformedPolicyDocument", 400, {"Policy": "{bad"}),
    ]:
        changed = {**ask, **change}
        probe.refuses(title, code, lambda changed=changed: sts.assume_role(**changed), status=status)
    limit = policy(allow("secretsmanager:ListSecrets"))
    limited = admin.session(sts.assume_role(**ask, Policy=limit)["Credentials"])
    probe.refuses(
        "outside the session policy",
        "AccessDeniedException",
        lambda: limited.secrets.get_secret_value(SecretId="x"),
        text="because no session policy allows",
    )
    wrong = admin.session({**got["Credentials"], "SessionToken": "wrong"})
    probe.refuses(
        "a wrong session token",
        "UnrecognizedClientException",
        lambda: wrong.secrets.list_secrets(),
    )
    federated = sts.get_federation_token(Name="probe", Policy=policy(allow("*")))
    federated = admin.session(federated["Credentials"])
    probe.succeeds("federation token", lambda: federated.secrets.list_secrets(MaxResults=1))
    own = admin.session(sts.get_session_token(DurationSeconds=900)["Credentials"])
    probe.succeeds("session token", lambda: own.secrets.list_secrets(MaxResults=1))
    # Tokens that are believed are signed by a provider of the account: see the tests in Rust.
    web = {"RoleArn": arn, "RoleSessionName": "web"}
    for what, token in [
        ("an unsigned web identity", web_identity_token("probe")),
        ("a web identity that is no token", "not a token"),
    ]:
        probe.refuses(
            what,
            "InvalidIdentityToken",
            lambda token=token: sts.assume_role_with_web_identity(WebIdentityToken=token, **web),
            status=400,
        )


def permissions(probe, admin):
    name = PREFIX + "permissions"
    admin.secrets.create_secret(Name=name, SecretString="x")
    nobody = admin.user(f"nobody-{RUN}")
    arn = nobody.sts.get_caller_identity()["Arn"]
    probe.refuses(
        "nothing allowed",
        "AccessDeniedException",
        lambda: nobody.secrets.get_secret_value(SecretId=name),
        text=f"User: {arn} is not authorized to perform: secretsmanager:GetSecretValue on "
        f"resource: {name} because no identity-based policy allows the "
        "secretsmanager:GetSecretValue action",
    )
    probe.refuses("IAM denied", "AccessDenied", lambda: nobody.iam.list_users(), status=403)
    probe.refuses(
        "KMS denied", "AccessDeniedException", lambda: nobody.kms.create_key()
    )
    documented = policy(
        allow(
            [f"secretsmanager:{verb}" for verb in ("Create*", "Update*", "Delete*", "TagResource")],
            f"arn:aws:secretsmanager:*:*:secret:{PREFIX}*",
        )
    )
    sync = admin.user(f"sync-{RUN}", documented)
    probe.succeeds(
        "create under the prefix",
        lambda: sync.secrets.create_secret(
            Name=PREFIX + "sync", SecretString="x", Tags=[{"Key": "hashicorp:vault", "Value": ""}]
        ),
    )
    probe.succeeds(
        "update under the prefix",
        lambda: sync.secrets.update_secret(SecretId=PREFIX + "sync", SecretString="y"),
    )
    for title, call in [
        ("create elsewhere", lambda: sync.secrets.create_secret(Name="other", SecretString="x")),
        ("put", lambda: sync.secrets.put_secret_value(SecretId=PREFIX + "sync", SecretString="z")),
        ("list", lambda: sync.secrets.list_secrets()),
        ("untag", lambda: sync.secrets.untag_resource(SecretId=PREFIX + "sync", TagKeys=["k"])),
    ]:
        probe.refuses(f"{title} is not allowed", "AccessDeniedException", call)
    marked = {"StringEquals": {"secretsmanager:ResourceTag/hashicorp:vault": ""}}
    owner = admin.user(f"owner-{RUN}", policy(allow("secretsmanager:*", Condition=marked)))
    probe.succeeds(
        "a marked secret", lambda: owner.secrets.get_secret_value(SecretId=PREFIX + "sync")
    )
    probe.refuses(
        "an unmarked secret",
        "AccessDeniedException",
        lambda: owner.secrets.get_secret_value(SecretId=name),
    )
    denial = policy(
        {"Effect": "Deny", "Principal": "*", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}
    )
    admin.secrets.put_resource_policy(SecretId=name, ResourcePolicy=denial)
    probe.refuses(
        "denied by the secret's policy",
        "AccessDeniedException",
        lambda: admin.secrets.get_secret_value(SecretId=name),
        text="with an explicit deny in a resource-based policy",
    )
    probe.refuses(
        "a malformed policy",
        "MalformedPolicyDocumentException",
        lambda: admin.secrets.put_resource_policy(SecretId=name, ResourcePolicy="{bad"),
    )


def identities(probe, admin):
    iam, name = admin.iam, f"user-{RUN}"
    user = admin.user(name, policy(allow("secretsmanager:ListSecrets")))
    probe.succeeds("a new user's key works", lambda: user.secrets.list_secrets(MaxResults=1))
    probe.refuses(
        "the same user again",
        "EntityAlreadyExists",
        lambda: iam.create_user(UserName=name.upper()),
        status=409,
    )
    iam.create_access_key(UserName=name)
    probe.refuses(
        "a third key",
        "LimitExceeded",
        lambda: iam.create_access_key(UserName=name),
        status=409,
    )
    probe.refuses(
        "delete with keys", "DeleteConflict", lambda: iam.delete_user(UserName=name), status=409
    )
    for key in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
        iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
    probe.refuses(
        "a deleted key", "UnrecognizedClientException", lambda: user.secrets.list_secrets()
    )
    for inline in iam.list_user_policies(UserName=name)["PolicyNames"]:
        iam.delete_user_policy(UserName=name, PolicyName=inline)
    probe.succeeds("delete the bare user", lambda: iam.delete_user(UserName=name))
    probe.refuses(
        "the user is gone", "NoSuchEntity", lambda: iam.get_user(UserName=name), status=404
    )


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    endpoint, key, secret = sys.argv[1:]
    admin = Clouds(endpoint, key, secret)
    probe = Probe()
    for group in (values, bounds, listing, deletion, keys, sessions, permissions, identities):
        try:
            group(probe, admin)
        except Exception as error:  # a broken preparation fails its group, not the run
            probe.note(f"the checks of {group.__name__}", f"{type(error).__name__}: {error}")
    signatures(probe, admin, key, secret)
    print(f"{probe.passed} passed, {probe.failed} failed")
    sys.exit(1 if probe.failed else 0)


if __name__ == "__main__":
    main()
