#!/bin/sh
# sign.sh FILE: signs a file, the checksums of a release, into FILE.sig. The key is
# the file that $PROVISION_SIGNING_KEY names; its public half will do where an
# agent has the private one, or a security key. Who verifies it says the same
# namespace and has the public half from elsewhere: see SECURITY.md.
set -eu
file=$1
if [ ! -f "${PROVISION_SIGNING_KEY-}" ]; then
	echo 'sign.sh: PROVISION_SIGNING_KEY names no file: a release is signed, or it is none' >&2
	exit 1
fi
rm -f "$file.sig" # ssh-keygen asks before it writes over one
ssh-keygen -q -Y sign -n provision-release -f "$PROVISION_SIGNING_KEY" "$file" </dev/null
# What does not verify must not leave this machine.
ssh-keygen -Y check-novalidate -n provision-release -s "$file.sig" <"$file" >/dev/null
