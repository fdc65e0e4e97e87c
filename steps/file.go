package steps

import (
	"crypto/sha256"
	"encoding/hex"

	"provision/provision"
)

// digestOf looks at a file of root: owner, mode and digest.
func digestOf(file string) provision.Script {
	return provision.Script{Args: []string{file}, Text: `
! [ -f "$1" ] || fact file "$(stat -c '%U %a' "$1") $(sha256sum <"$1" | cut -c 1-64)"
`}
}

// fileFact is what [digestOf] reports of a file with that text and mode.
func fileFact(text, mode string) string {
	sum := sha256.Sum256([]byte(text))
	return "root " + mode + " " + hex.EncodeToString(sum[:])
}

// install writes a file of root, and the folders above it.
func install(file, text, mode string) provision.Script {
	return provision.Script{Args: []string{file, text, mode}, Text: `
mkdir -p "${1%/*}"
printf '%s' "$2" | put "$1" "$3" root:root
`}
}

// removeFile removes $1, and the folders above it up to $2 that are empty then.
const removeFile = `
rm -f "$1"
dir=${1%/*}
while { [ ! -d "$dir" ] || rmdir "$dir" 2>/dev/null; } && [ "$dir" != "$2" ]; do
	dir=${dir%/*}
done
`

// lookAtEmpty tells whether the folder of the file $1, or where it is gone the
// one above, is empty: what an interrupted removal leaves.
const lookAtEmpty = `
dir=${1%/*}
[ -d "$dir" ] || dir=${dir%/*}
! [ -d "$dir" ] || [ -n "$(find "$dir" ! -path "$dir" -prune)" ] || fact empty "$dir"
`
