"""AWS on this machine: moto's server, and the modules as the real provider 3.39 can read them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

from tests.terraform.parts import TERRAFORM, PartMissingError

REGIONS = {
    "eu-central-1": (50.11, 8.68, "Frankfurt"),
    "us-east-1": (39.04, -77.49, "Virginia"),
    "ap-southeast-1": (1.35, 103.82, "Singapore"),
}
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
_SERVICES = ("autoscaling", "cloudwatch", "ec2", "elb", "iam", "kms", "route53", "s3", "ssm", "sts")
_START_S = 30


@contextlib.contextmanager
def moto(python):
    """moto's server on a free port of loopback; gives its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [str(python), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    env = os.environ | {"MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(f"{url}/moto-api/", server)
            yield url
        finally:
            server.terminate()


def _wait_for(url, server):
    until_s = time.monotonic() + _START_S
    while time.monotonic() < until_s and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return
    raise PartMissingError(f"moto's server did not answer within {_START_S} s")


def old_modules(folder, images):
    """Copies of the modules that apply with 3.39, which has no `region` of a resource and other names for two fields.

    One provider stands for each region, so the module itself stays as it is shipped, but for these lines.
    """
    for name in ("edge-region", "node-identity", "geo-dns"):
        target = folder / "modules" / name
        shutil.copytree(
            TERRAFORM / "modules" / name, target, ignore=shutil.ignore_patterns("tests", ".terraform*")
        )
        for file in target.glob("*.tf"):
            text = re.sub(r"^  region +=.*\n", "", file.read_text(), flags=re.MULTILINE)
            text = text.replace('version = ">= 6.0, < 7.0"', 'version = ">= 3.39, < 4.0"')
            file.write_text(text.replace("insecure_value", "value"))
    (folder / "main.tf").write_text(fleet(images))


def provider(url, region, alias=""):
    """A provider block that talks to the stand-in."""
    endpoints = "\n".join(f'    {service} = "{url}"' for service in _SERVICES)
    named = f'  alias = "{alias}"\n' if alias else ""
    return f"""provider "aws" {{
{named}  region                      = "{region}"
  access_key                  = "none"
  secret_key                  = "none"
  max_retries                 = 1
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  endpoints {{
{endpoints}
  }}
}}
"""


def fleet(images):
    """A fleet in three regions behind one name, without its providers; `images` by region, as moto has no Debian."""
    text = """module "identity" {
  source      = "./modules/node-identity"
  providers   = { aws = aws.home }
  certificate = local.certificate
}

locals {
  certificate = { certificate_parameter = "/tls/certificate", key_parameter = "/tls/key", region = "us-east-1" }
}

resource "aws_route53_zone" "this" {
  provider = aws.home
  name     = "example.com"
}

module "dns" {
  source    = "./modules/geo-dns"
  providers = { aws = aws.home }
  zone_id   = aws_route53_zone.this.zone_id
  name      = "ai.example.com"
  regions   = {
"""
    text += "".join(f'    "{region}" = module.{region}.entry\n' for region in REGIONS) + "  }\n}\n"
    for number, (region, (lat, lon, label)) in enumerate(REGIONS.items()):
        text += f"""
module "{region}" {{
  source               = "./modules/edge-region"
  providers            = {{ aws = aws.{region} }}
  region               = "{region}"
  origin_url           = "https://origin.example.com"
  origin_ca_pin        = "{"A" * 43}"
  instance_profile_arn = module.identity.instance_profile_arn
  public_host          = "ai.example.com"
  certificate          = local.certificate
  place                = {{ lat = {lat}, lon = {lon}, label = "{label}" }}
  network              = {{ cidr = "10.{64 + number}.0.0/20" }}
  instances            = {{ type = "c5.xlarge", image_id = "{images[region]}" }}
  load_balancer        = true
}}
"""
    return text


def providers_text(url):
    """A provider for each region, and one for what is global."""
    return provider(url, "us-east-1", "home") + "".join(provider(url, region, region) for region in REGIONS)
