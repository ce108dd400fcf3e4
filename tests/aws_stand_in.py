"""Small stand-ins for AWS: an STS that checks signatures by Amazon's own library, and an instance's metadata."""

import json
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

INSTANCE = "i-0123456789abcdef0"
ROLE = "arn:aws:iam::123456789012:role/edgeward-node"
CALLER = f"arn:aws:sts::123456789012:assumed-role/edgeward-node/{INSTANCE}"
KEYS = SimpleNamespace(
    access="ASIAQWERTYUIOPASDFGH", secret="s3cr3t/of+the=instance", token="AgoJb3JpZ2luX2Vj//+8=="
)
ANSWER = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetCallerIdentityResult><Arn>{}</Arn><UserId>AROA:i</UserId><Account>123456789012</Account></GetCallerIdentityResult>
  <ResponseMetadata><RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId></ResponseMetadata>
</GetCallerIdentityResponse>"""
REFUSAL = "<ErrorResponse><Error><Type>Sender</Type><Code>{}</Code></Error></ErrorResponse>"


class StandInSts:
    """Answers as STS does; `answer`, if it is set, answers in its place. `heard` has every request."""

    def __init__(self, now_unix_s):
        self.now_unix_s = now_unix_s
        self.callers = {KEYS.access: (KEYS.secret, KEYS.token, CALLER)}
        self.answer = None
        self.heard = []

    @asynccontextmanager
    async def running(self, **where):
        async with serving([web.route("*", "/{path:.*}", self._serve)], **where) as url:
            self.url = url
            yield self

    async def _serve(self, request):
        body = await request.read()
        self.heard.append((request.method, request.path_qs, dict(request.headers), body))
        if self.answer is not None:
            return await self.answer(request)
        code = self._fault(request, body)
        if code:
            return web.Response(status=403, text=REFUSAL.format(code), content_type="text/xml")
        arn = self.callers[parts_of(request)["key"]][2]
        return web.Response(text=ANSWER.format(arn), content_type="text/xml")

    def _fault(self, request, body):
        if body != b"Action=GetCallerIdentity&Version=2011-06-15":
            return "InvalidAction"
        keys = {access: (secret, token) for access, (secret, token, _) in self.callers.items()}
        return fault_of(request, body, keys, self.now_unix_s())


def parts_of(request):
    """What an Authorization header says; None for one of another form."""
    return re.fullmatch(
        r"AWS4-HMAC-SHA256 "
        r"Credential=(?P<key>\w+)/(?P<date>\d{8})/(?P<region>[a-z0-9-]+)/(?P<service>[a-z]+)/aws4_request, "
        r"SignedHeaders=(?P<headers>[a-z0-9;-]+), Signature=(?P<signature>[0-9a-f]{64})",
        request.headers["Authorization"],
    )


def fault_of(request, body, keys, now_unix_s):
    """What AWS would call wrong about a signature, "" when it is right; by Amazon's own library."""
    parts = parts_of(request)
    if parts is None:
        return "IncompleteSignature"
    if parts["key"] not in keys:
        return "InvalidClientTokenId"
    secret, token = keys[parts["key"]]
    signed_at = request.headers["X-Amz-Date"]
    at_unix_s = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    if abs(at_unix_s - now_unix_s) > 900:
        return "SignatureDoesNotMatch"
    signed = {name: request.headers[name] for name in parts["headers"].split(";")}
    asked = AWSRequest(
        method=request.method, url=f"https://{request.headers['Host']}/", data=body, headers=signed
    )
    asked.context["timestamp"] = signed_at
    auth = SigV4Auth(Credentials(parts["key"], secret, token), parts["service"], parts["region"])
    expected = auth.signature(auth.string_to_sign(asked, auth.canonical_request(asked)), asked)
    named = {name.lower() for name in request.headers if name.lower().startswith("x-")} | {"host"}
    if expected != parts["signature"] or not named <= set(parts["headers"].split(";")):
        return "SignatureDoesNotMatch"
    return "" if request.headers.get("X-Amz-Security-Token", "") == token else "InvalidClientTokenId"


class StandInParameters:
    """A Parameter Store that checks signatures; `holds` has the parameters by name."""

    def __init__(self, now_unix_s, holds):
        self.now_unix_s = now_unix_s
        self.holds = holds
        self.answer = None

    @asynccontextmanager
    async def running(self, **where):
        async with serving([web.post("/", self._serve)], **where) as url:
            self.url = url
            yield self

    async def _serve(self, request):
        body = await request.read()
        if self.answer is not None:
            return await self.answer(request)
        code = fault_of(request, body, {KEYS.access: (KEYS.secret, KEYS.token)}, self.now_unix_s())
        asked = json.loads(body)
        if (
            code
            or request.headers["X-Amz-Target"] != "AmazonSSM.GetParameters"
            or not asked["WithDecryption"]
        ):
            return web.json_response({"__type": code or "AccessDeniedException"}, status=400)
        return web.json_response(
            {
                "Parameters": [
                    {"Name": name, "Type": "SecureString", "Value": self.holds[name], "Version": 1}
                    for name in asked["Names"]
                    if name in self.holds
                ],
                "InvalidParameters": [name for name in asked["Names"] if name not in self.holds],
            }
        )


class StandInMetadata:
    """IMDSv2 of one instance; a request without a token is refused, as where version 1 is off."""

    def __init__(self, keys=KEYS, region="eu-central-1", instance=INSTANCE, role="edgeward-node"):
        self.says = {
            "instance-id": instance,
            "placement/region": region,
            "public-ipv4": "203.0.113.7",
            "iam/security-credentials/": role,
            f"iam/security-credentials/{role}": json.dumps(
                {
                    "Code": "Success",
                    "Type": "AWS-HMAC",
                    "AccessKeyId": keys.access,
                    "SecretAccessKey": keys.secret,
                    "Token": keys.token,
                    "Expiration": "2099-01-01T00:00:00Z",
                }
            ),
        }

    @asynccontextmanager
    async def running(self, **where):
        routes = [
            web.put("/latest/api/token", self._token),
            web.get("/latest/meta-data/{path:.*}", self._read),
        ]
        async with serving(routes, **where) as url:
            self.url = url
            yield self

    async def _token(self, request):
        assert 1 <= int(request.headers["X-aws-ec2-metadata-token-ttl-seconds"]) <= 21600
        return web.Response(text="AQAEAtoken==")

    async def _read(self, request):
        if request.headers.get("X-aws-ec2-metadata-token") != "AQAEAtoken==":
            return web.Response(status=401)
        said = self.says.get(request.match_info["path"])
        return web.Response(status=404) if said is None else web.Response(text=said)


@asynccontextmanager
async def serving(routes, host="127.0.0.1", port=0, tls=None):
    """A server with these routes; gives its URL."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=tls)
    await site.start()
    try:
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
