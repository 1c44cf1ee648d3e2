#!/usr/bin/env bash
# Installs what is asked for and missing, from the Debian packages: postgresql, node, npm, gcc.
set -euo pipefail

have() {
  case $1 in
    postgresql) command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

packages=()
for need in "$@"; do
  have "$need" && continue
  case $need in
    postgresql) packages+=(postgresql) ;;
    node) packages+=(nodejs) ;;
    npm) packages+=(npm) ;;
    gcc) packages+=(gcc libc6-dev) ;;
    *) echo "prerequisites: no package is known for $need" >&2; exit 2 ;;
  esac
done
[ ${#packages[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "Please install as root: apt-get install ${packages[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
command -v apt-get >/dev/null || { echo "Please install: ${packages[*]} (this is not Debian, so the names may differ)" >&2; exit 1; }
echo "Installing ${packages[*]}"
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"
