#!/bin/sh
# texts.sh PROGRAM DIRECTORY: writes what comes with a program in a package, as
# the program itself prints it.
set -eu
umask 022
program=$1 directory=$2
mkdir -p "$directory"
"$program" man | gzip -9n >"$directory/provision.1.gz"
for shell in bash zsh fish; do
	"$program" completion "$shell" >"$directory/provision.$shell"
done
"$program" schema >"$directory/provision.schema.json"
