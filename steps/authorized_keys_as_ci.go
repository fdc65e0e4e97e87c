package steps

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"provision/provision"
	"provision/provision/shape"
	"provision/provision/visible"
)

// A fileLine is a line of authorized_keys. CI is told of each what kind it is, and the
// fingerprint of its key: then text is the line that would be ours, with that in the
// place of the key, and for any other line what is known of it.
type fileLine struct {
	text string
	ci   bool
}

// fileLines returns the lines of a file of keys, which are reported to an admin as the one
// fact and to CI as the other.
func fileLines(f provision.Facts, admin, ci string) (lines []fileLine) {
	for _, text := range f[admin] {
		lines = append(lines, fileLine{text, false})
	}
	for _, fact := range f[ci] {
		kind, rest, _ := strings.Cut(fact, " ")
		switch kind {
		case "gate", "limited": // NAME [NETWORKS END] TYPE FINGERPRINT COMMENT
			name, rest, _ := strings.Cut(rest, " ")
			options := ""
			if kind == "limited" {
				var networks, end string
				networks, rest, _ = strings.Cut(rest, " ")
				end, rest, _ = strings.Cut(rest, " ")
				if networks != "-" {
					options += `,from="` + networks + `"`
				}
				if end != "-" {
					options += `,expiry-time="` + end + `"`
				}
			}
			_, fingerprint, _ := strings.Cut(rest, " ")
			fingerprint, _, _ = strings.Cut(fingerprint, " ")
			lines = append(lines, fileLine{fmt.Sprintf(`restrict,%s%s %s"%s %s`, opensGate, name, fingerprint, options, rest), true})
		case "other-gate", "options":
			lines = append(lines, fileLine{fact, true})
		case "bare":
			lines = append(lines, fileLine{rest, true})
		default:
			lines = append(lines, fileLine{unreadableLine, true})
		}
	}
	return lines
}

const unreadableLine = "unreadable"

// has tells whether a line lets in a public half "TYPE BASE64".
func (l fileLine) has(public string) bool {
	if !l.ci {
		return hasKey(l.text, public)
	}
	return public != "" && l.hasPrint(printOf(public))
}

// hasKeyOf tells whether a line has the key of another one.
func (l fileLine) hasKeyOf(line string) bool {
	if !l.ci {
		return hasKey(l.text, keyIn(line))
	}
	return l.hasPrint(printOf(line))
}

func (l fileLine) hasPrint(fingerprint string) bool {
	return fingerprint != "" && slices.Contains(strings.Fields(l.text), fingerprint)
}

// name returns what tells the key of a line from others: its fingerprint and, but for CI,
// its comment; "": it cannot be read. It is not ok where the line has no key.
func (l fileLine) name() (name string, ok bool) {
	switch {
	case len(wordsOf(l.text)) == 0:
		return "", false
	case l.ci:
		return printOf(l.text), true
	}
	key, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(l.text))
	if err != nil {
		return "", true
	}
	return strings.TrimSpace(ssh.FingerprintSHA256(key) + " " + visible.String(comment)), true
}

// opensGate tells whether a line opens a gate, whatever else it says.
func (l fileLine) opensGate() bool {
	if l.ci {
		return strings.HasPrefix(l.text, "other-gate ") || strings.Contains(l.text, opensGate)
	}
	return slices.ContainsFunc(optionsIn(l.text), func(o string) bool { return strings.HasPrefix(o, opensGate) })
}

// isRestrictedGate tells whether a line opens a gate and nothing else. The gate refuses its
// key, unless it has a line in authorized_keys as well.
func (l fileLine) isRestrictedGate() bool {
	if l.ci {
		return strings.HasPrefix(l.text, "restrict,"+opensGate)
	}
	return l.opensGate() && slices.Contains(optionsIn(l.text), "restrict")
}

func optionsIn(line string) []string {
	_, _, options, _, _ := ssh.ParseAuthorizedKey([]byte(line))
	return options
}

// is tells whether a line is one that is wanted.
func (l fileLine) is(want string) bool {
	return l.text == want || l.ci && l.text == concealed(want)
}

// key returns the public half in a line, as far as it is told: CI knows it where it is one
// of some. It is not ok where the line cannot be read.
func (l fileLine) key(known ...string) (public string, ok bool) {
	if !l.ci {
		public = keyIn(l.text)
		return public, public != ""
	}
	for _, public := range known {
		if l.has(public) {
			return public, true
		}
	}
	return "", printOf(l.text) != ""
}

// concealed is a line with the fingerprint of its key in the place of the key.
func concealed(line string) string {
	key := keyIn(line)
	_, blob, _ := strings.Cut(key, " ")
	if key == "" {
		return line
	}
	return strings.Replace(line, blob, printOf(key), 1)
}

// printOf returns the fingerprint of the key in a line, also where it takes its place; "": there
// is none.
func printOf(line string) string {
	if key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil {
		return ssh.FingerprintSHA256(key)
	}
	for _, word := range strings.Fields(line) {
		if strings.HasPrefix(word, "SHA256:") && !strings.HasSuffix(word, `"`) {
			return word
		}
	}
	return ""
}

// lookAtKeysAsCI is lookAtKeys for CI: what stands in authorized_keys is a key of each
// line, or that it cannot be read. Its kinds are
//
//	gate NAME    its options are those that we write for the deployment NAME
//	limited NAME NETWORKS END
//	             so they are, with limits; each is - where it has none
//	other-gate   it opens a gate, and is otherwise not as we write it
//	options      it has other options
//	bare         it has none
//
// and behind them come the type, the fingerprint, and where it is marked as ours the
// mark. ssh-keygen reads the keys, all at once; what it cannot read is missing there.
//
// authorized_keys2 is told in the same way: sshd(8) reads it too, unless sshd_config
// names other files.
const lookAtKeysAsCI = lookAtLoose + `
key_kinds() {
	if ! [ -f "$1" ] || ! [ -r "$1" ]; then return 0; fi
	read_keys=$(head -c 1048576 "$1" | awk -v gate=` + gateFile + ` '
		{ raw = $0; sub(/[ \t\r]+$/, ""); line = $0; sub(/^[ \t]+/, "", line) }
		line == "" || line ~ /^#/ { next }
		{
			options = ""; rest = line
			if (line !~ /^(ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+[ \t]/) {
				quoted = 0
				for (i = 1; i <= length(line); i++) {
					c = substr(line, i, 1)
					if (c == "\\" && substr(line, i + 1, 1) == "\"") i++
					else if (c == "\"") quoted = !quoted
					else if ((c == " " || c == "\t") && !quoted) break
				}
				options = substr(line, 1, i - 1)
				rest = substr(line, i + 1)
				sub(/^[ \t]+/, "", rest)
			}
			n = split(rest, word, /[ \t]+/)
			if (n < 2 || word[1] !~ /^(ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+$/ || word[2] !~ /^AAAA[A-Za-z0-9+\/]+=*$/) { print "unreadable"; next }
			mark = ""
			if (n > 2 && word[n] ~ /^provision:[A-Za-z0-9_.-]+$/) mark = (n > 3 && word[n - 1] == "old" ? " old " : " ") word[n]
			kind = options == "" ? "bare" : "options"
			if (index("," options, ",command=\"" gate " ")) {
				kind = "other-gate"
				split(options, part, " ")
				name = part[2]; print_ = part[3]
				sub(/".*$/, "", print_)
				from = end = "-"
				if (match(options, /",from="[0-9a-fA-F.:\/,]+"/)) from = substr(options, RSTART + 8, RLENGTH - 9)
				if (match(options, /",expiry-time="[0-9]+Z?"/)) end = substr(options, RSTART + 15, RLENGTH - 16)
				if (length(end) > 15) end = "-" # sshd takes 8 to 14 digits
				limits = (from == "-" ? "" : ",from=\"" from "\"") (end == "-" ? "" : ",expiry-time=\"" end "\"")
				if (name ~ /^[A-Za-z0-9_.-]+$/ && raw == "restrict,command=\"" gate " " name " " print_ "\"" limits " " word[1] " " word[2] mark)
					kind = (limits == "" ? "gate " name " " print_ : "limited " name " " print_ " " from " " end)
			}
			print word[1], word[2], word[1] mark " " kind
		}')
	[ -n "$read_keys" ] || return 0
	printf '%s\n' "$read_keys" | ssh-keygen -l -f - 2>/dev/null | awk -v all="$(printf '%s\n' "$read_keys" | wc -l)" '
		{
			n = 4; mark = ""
			if ($n == "old") { mark = " old"; n++ }
			if ($n ~ /^provision:/) { mark = mark " " $n; n++ }
			kind = $n
			if (kind == "gate") kind = $(n + 2) == $2 ? "gate " $(n + 1) : "other-gate"
			if (kind == "limited") kind = $(n + 2) == $2 ? "limited " $(n + 1) " " $(n + 3) " " $(n + 4) : "other-gate"
			print kind, $3, $2 mark
		}
		END { for (i = NR; i < all; i++) print "unreadable" }' | facts "$2"
}
key_kinds "$keys" key
[ "$keys" != .ssh/authorized_keys ] || key_kinds .ssh/authorized_keys2 key2
`

// keyFacts are those of lookAtKeysAsCI, and of what ciKey looks at beside it.
func keyFacts() shape.Facts {
	kind := shape.Either(shape.Words("other-gate", "options", "bare"), shape.After("gate ", shape.Name),
		shape.After("limited ", shape.Row(shape.Name, shape.Either("-", networksForm), shape.Either("-", `[0-9]{1,15}Z?`))))
	mark := shape.Shape(`( (old )?provision:[A-Za-z0-9_.-]+)?`)
	key := shape.Row(kind, `(ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]{1,40}`, shape.Fingerprint) + mark
	key = shape.Either(key, shape.Words(unreadableLine))
	return shape.Facts{
		"key": key, "key2": key, "hardened": yes, "loose": shape.Words(".", ".ssh", ".ssh/authorized_keys"),
		"known": shape.Name, "was": shape.Name, "namesake": yes, "came": shape.Either(shape.Fingerprint, shape.Words("-")),
	}
}
