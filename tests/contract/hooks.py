"""Steers schemathesis through a coordinator: ids that are well-formed become those of things that are there, so that more is
asked than whether a random id is found. Nothing that is malformed on purpose is touched. contract.rs sets the variables."""

import hashlib
import json
import os
import re

import schemathesis

# Of each kind an id that stays, and one that may be deleted: {"hst": ["hst_…", "hst_…"], …}
THINGS = json.loads(os.environ["CONTRACT_THINGS"])
# Who acts for whom; nobody where it is empty.
ACTS_FOR = os.environ["CONTRACT_ACTS_FOR"]
ID = re.compile(r"(usr|tok|hst|tpl|cfg|img|ctr|job|whk|dlv)_[0-9a-f]{32}")
# What the coordinator itself has named: links between operations lead to these.
seen = {one for both in THINGS.values() for one in both}


def known(text, dangerous):
    """The id of a thing that is there, for one that is well-formed and names nothing."""
    if not isinstance(text, str) or not ID.fullmatch(text) or text in seen and not dangerous:
        return text
    stays, goes = THINGS.get(text[:3], [text, text])
    if text in seen and text != stays:
        return text
    return goes if dangerous else stays


def replace(value):
    if isinstance(value, dict):
        return {key: replace(one) for key, one in value.items()}
    if isinstance(value, list):
        return [replace(one) for one in value]
    if isinstance(value, float) and value.is_integer():
        # To JSON Schema 2.0 is an integer; whoever writes an integer as JSON writes 2.
        return int(value)
    return known(value, False)


def is_key(text):
    return isinstance(text, str) and re.fullmatch("[!-~]([ -~]{0,253}[!-~])?", text)


@schemathesis.serializer("application/x-tar", "application/gzip")
def archive(context, value):
    """What is no archive, for where one is expected."""
    return value if isinstance(value, bytes) else json.dumps(value, default=str).encode()


@schemathesis.hook
def before_call(context, case, kwargs):
    # Whoever signs in stays: nobody deletes or suspends him.
    dangerous = case.method.upper() == "DELETE" or (case.method.upper() == "PATCH" and case.path == "/v1/users/{id}")
    for name, value in list((case.path_parameters or {}).items()):
        of_tokens = case.path.startswith("/v1/users/{id}/tokens") and name == "id"
        case.path_parameters[name] = known(value, dangerous and not of_tokens)
    for name, value in list((case.query or {}).items()):
        if name != "after":
            case.query[name] = known(value, False)
    if isinstance(case.body, (dict, list)):
        case.body = replace(case.body)
        if case.path == "/v1/images":
            # Parameters come with an archive alone.
            case.query = {}
    acts_for = (case.headers or {}).get("Dockerforge-User")
    if acts_for is not None and ID.fullmatch(acts_for):
        if ACTS_FOR:
            case.headers["Dockerforge-User"] = ACTS_FOR
        else:
            del case.headers["Dockerforge-User"]
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and not is_key(key) and is_key(key.strip(" \t")):
        # HTTP takes the blanks around a value away, and then it is good.
        case.headers["Idempotency-Key"] = ""
    elif is_key(key):
        # Another for each request, and the same for the same one.
        request = json.dumps([case.method, case.path, case.path_parameters, case.query, case.body], default=str)
        case.headers["Idempotency-Key"] = hashlib.sha256(request.encode()).hexdigest()


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """What stays a failure: whoever sends wrong keys again and again is slowed down, and told so, before he is refused."""
    return not ("invalid authentication" in failure.title and "429" in failure.message)


@schemathesis.hook
def after_call(context, case, response):
    if response.status_code < 400:
        seen.update(match.group() for match in ID.finditer(response.text or ""))
