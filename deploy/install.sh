#!/bin/sh
# Installs an Edgeward node, or upgrades it: curl -fsSL ORIGIN/install.sh | sh -s -- --join TOKEN
#
# It checks an Ed25519 signature by the key below before it unpacks anything. Nothing happens before the last line.

main() {
  set -eu
  key='@BUNDLE_KEY@'
  version='@VERSION@'
  origin='@ORIGIN_URL@'
  nodes_origin='@NODES_URL@'
  # As it is in the tree, and in a package, nobody has filled these in.
  case $origin in '@'*) origin='' ;; esac
  case $nodes_origin in '@'*) nodes_origin='' ;; esac
  bundle='' join='' ca_pin='' asked_version='' dry_run='' root='/'

  while [ $# -gt 0 ]; do
    case $1 in
      --join | --origin | --nodes-origin | --ca-pin | --bundle | --version | --key | --root)
        [ $# -ge 2 ] || fail "$1 needs a value; --help explains"
        case $1 in
          --join) join=$2 ;;
          --origin) origin=$2 ;;
          --nodes-origin) nodes_origin=$2 ;;
          --ca-pin) ca_pin=$2 ;;
          --bundle) bundle=$2 ;;
          --version) asked_version=$2 ;;
          --key) key=$2 ;;
          --root) root=$2 ;;
        esac
        shift 2
        ;;
      --dry-run) dry_run=--dry-run; shift ;;
      --help | -h) usage; exit 0 ;;
      --) shift; break ;;
      *) fail "$1 is no option; --help explains, and what comes after -- goes to \`edgeward node install\`" ;;
    esac
  done

  check_join
  case $key in
    *[!0-9a-f]* | '') fail 'no key to check signatures with: take install.sh from your origin, or say --key HEX' ;;
  esac
  [ -n "$dry_run" ] || [ "$root" != / ] || [ "$(id -u)" = 0 ] || fail 'run it as root: | sudo sh -s -- …'
  python=$(find_python)
  if [ -z "$bundle" ]; then
    [ -n "$origin" ] || fail 'say where the bundle is: --origin URL, or --bundle FILE on a machine without a network'
    tags=$("$python" -c 'import platform,sys;print("cp%d%d-%s_%s"%(*sys.version_info[:2],sys.platform,platform.machine()))')
    bundle="${origin%/}/bundles/edgeward-${asked_version:-$version}-$tags.bundle"
  fi

  set -- "$@" ${nodes_origin:+--origin "$nodes_origin"} ${join:+--join "$join"}
  exec "$python" -I -c "$(program)" --key "$key" --bundle "$bundle" --version "$asked_version" --root "$root" \
    ${dry_run:+"$dry_run"} -- "$@"
}

usage() {
  cat <<'TEXT'
install.sh [options] [-- options of `edgeward node install`]

  --join TOKEN        join the fleet that made the token (`edgeward token create`); on an instance of AWS `aws-iam`
                      joins by its role, without a token, where the origin admits that
  --origin URL        where the bundle is fetched (default: where this script came from)
  --nodes-origin URL  where nodes join and report, such as https://origin.example:7743
  --ca-pin PIN        the pin of the fleet's authority (`edgeward token pin`): needed with aws-iam; a token must have it
  --bundle FILE       install this bundle; no network is needed
  --version VERSION   this version and no other; an older one goes back
  --key HEX           the public key that bundles are signed with (default: the one in this script)
  --dry-run           check everything, change nothing

Run it again to upgrade: the running node goes on answering while the new release loads. A release that is not ready
within 60 s is taken back.
TEXT
}

fail() {
  printf 'install.sh: %s\n' "$1" >&2
  exit 2
}

check_join() {
  case $join in
    aws-iam)
      [ -n "$ca_pin" ] || fail "--join aws-iam needs --ca-pin PIN, which \`edgeward token pin\` shows"
      join="aws-iam.$ca_pin"
      ;;
    '' | ejt1.*.*.* | aws-iam.*) ;;
    *) fail "--join takes a token, which begins with ejt1. (\`edgeward token create\` makes one), or aws-iam" ;;
  esac
  if [ -n "$ca_pin" ] && [ -n "$join" ] && [ "${join##*.}" != "$ca_pin" ]; then
    fail 'the token is of another fleet than --ca-pin says'
  fi
}

# Python is the one thing that a bundle does not bring.
find_python() {
  for name in python3 python3.11 python3.12 python3.13; do
    if "$name" -c 'import sys, ssl, tarfile; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  if [ -z "$dry_run" ] && command -v apt-get >/dev/null 2>&1; then
    printf 'installing python3 with apt-get\n' >&2
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends python3; } >&2 ||
      fail 'python3 (3.11 or newer) is needed, and apt-get could not install it'
    command -v python3
    return
  fi
  fail 'python3 (3.11 or newer) is needed: install it with the package manager of this system'
}

program() {
  cat <<'PYTHON'
@PROGRAM@
PYTHON
}

# A download that was cut off ends in a syntax error, wherever that was.
if true; then
  main "$@"
fi
