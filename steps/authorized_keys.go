package steps

import (
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"provision/provision/forge"
	"provision/templates"
)

// lookAtNames has the function formerly NAME DIRECTORY, which is about what the user has
// in the directory. It reports how the host knows it, and what its lines of
// authorized_keys may be called but for NAME: what it was called, unless that is the name of
// another one of the user. And whether that is so of NAME itself.
var lookAtNames = templates.Settings + `
formerly() {
	carried "$1" "$USER" "$2"
	state=$label
	[ -z "$known" ] || fact known "$known"
	for was in "$1" $known$formerly; do
		if read_settings "$settings/$was" && [ "$user" = "$USER" ] && [ "$directory" != "$2" ] && [ -e "$directory" ]; then
			[ "$was" != "$1" ] || fact namesake yes
		elif [ "$was" != "$1" ]; then
			fact was "$was"
		fi
	done
}
`

// lookAtKeys reports authorized_keys, and what on the way there others may
// write: sshd then lets nobody in, see StrictModes of sshd_config(5).
const lookAtKeys = `
set -- .
for file in .ssh .ssh/authorized_keys; do
	if [ ! -L "$file" ] && { [ -d "$file" ] || [ -f "$file" ]; }; then
		set -- "$@" "$file"
	fi
done
stat -L -c '%A %n %G' "$@" 2>/dev/null | while read -r mode file group; do # a group may have blanks
	case $mode in
	????????w*) fact loose "$file" ;;
	?????w*) [ "$group" = "$(id -un)" ] || fact loose "$file" ;; # the group of the user alone, which Debian's sshd lets pass
	esac
done
! [ -f .ssh/authorized_keys ] || ! [ -r .ssh/authorized_keys ] || facts line <.ssh/authorized_keys
`

// opensGate begins the option of a line of authorized_keys that opens a gate.
const opensGate = `command="` + gateFile + " "

// hasKey tells whether a line of authorized_keys lets in a public half "TYPE
// BASE64". A line that we cannot read may be one that sshd can.
func hasKey(line, public string) bool {
	_, blob, _ := strings.Cut(public, " ")
	return slices.Contains(wordsOf(line), blob)
}

// wordsOf splits a line of authorized_keys as templates/authorize.sh does. A
// comment has no words.
func wordsOf(line string) []string {
	words := strings.FieldsFunc(strings.TrimRight(line, " \t\r"), func(r rune) bool { return r == ' ' || r == '\t' })
	if len(words) > 0 && strings.HasPrefix(words[0], "#") {
		return nil
	}
	return words
}

// publicHalf returns "TYPE BASE64" of a private key in PEM.
func publicHalf(private string) (string, error) {
	signer, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), nil
}

// publicOf returns "TYPE BASE64" of the private key that is the value of a variable; "": it is
// none.
func publicOf(v forge.Variable) string {
	text, err := v.Value.Reveal()
	if err != nil {
		return ""
	}
	public, err := publicHalf(text)
	if err != nil {
		return ""
	}
	return public
}
