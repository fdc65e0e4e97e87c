package templates

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// deployJob is the deploy job as a runner gives it to a shell.
const deployJob = `set -e
mkdir -p tmp
printf '%s' "KEY" >auth
export SSH_AUTH="$PWD/auth" SSH_KNOWN_HOSTS='h ssh-ed25519 A' SSH_DEPLOY_TARGET=ssh://u@h TMPDIR="$PWD/tmp"
`

// The log of a job: what the host says meanwhile is in a section, and what came
// of it below; the exit status is that of ssh.
func TestCIDeploy(t *testing.T) {
	const (
		begin = "\x1b[0Ksection_start:1:provision[collapsed=true]\r\x1b[0Kdeploy to ssh://u@h\n"
		end   = "\x1b[0Ksection_end:1:provision\r\x1b[0K\n"
		let   = `: >"$files/connected"; ` // as ssh does with LocalCommand
		drop  = `echo "Connection closed by h" >>"$errors"; exit 255`
	)
	for name, c := range map[string]struct {
		version, ssh string
		want         string
		status       int
		asked        string
	}{
		"deployed": {"", let + `echo pulled >&2; echo "app: started"; echo "provision: deployed"`,
			begin + "pulled\n" + end + "app: started\nprovision: deployed\n", 0, "asked for []\n"},
		"a version": {"1.4.1", let + `echo "provision: deployed"`,
			begin + end + "provision: deployed\n", 0, "asked for [deploy 1.4.1]\n"},
		"failed": {"", let + `echo pulled >&2; echo "app: exited"; echo "provision: failed"; exit 1`,
			begin + "pulled\n" + end + "app: exited\nprovision: failed\n", 1, "asked for []\n"},
		"refused": {"", let + `echo "provision: refused: x" >&2; exit 126`,
			begin + "provision: refused: x\n" + end + "provision: refused: x\n", 126, "asked for []\n"},
		"another host": {"", `echo "Host key verification failed." >>"$errors"; exit 255`,
			begin + end + "Host key verification failed.\n", 255, "asked for []\n"},
		"dropped twice": {"", `[ "$(wc -l <"$asked")" -gt 2 ] || { ` + drop + `; }; ` + let + `echo "provision: deployed"`,
			begin + "Connection closed by h\nconnecting again in 1 s\nConnection closed by h\nconnecting again in 2 s\n" + end + "provision: deployed\n", 0,
			strings.Repeat("asked for []\n", 3)},
		"dropped for ever": {"", drop,
			begin + "Connection closed by h\nconnecting again in 1 s\nConnection closed by h\nconnecting again in 2 s\nConnection closed by h\nconnecting again in 4 s\n" +
				"Connection closed by h\nconnecting again in 8 s\nConnection closed by h\nconnecting again in 16 s\n" + end + "Connection closed by h\n", 255,
			strings.Repeat("asked for []\n", 6)},
		// It may or may not have run.
		"lost in the middle": {"", let + `echo pulling >&2; ` + drop,
			begin + "pulling\n" + end + "pulling\nConnection closed by h\nthe connection was lost after the deploy had begun: run this job again to learn its outcome\n", 255, "asked for []\n"},
	} {
		t.Run(name, func(t *testing.T) {
			eachShell(t, func(t *testing.T, b *box) {
				b.stub(t, "date", "echo 1")
				b.stub(t, "sleep", ":")
				b.stub(t, "ssh", `
asked=$HOME/asked errors='' files=''
while [ $# -gt 0 ]; do
	case $1 in
	-F)
		files=${2%/*}
		[ "$(stat -c %a "$files/key")" = 600 ] && [ "$(cat "$files/key")" = KEY ] || echo "the key is not right"
		shift 2
		;;
	-E)
		errors=$2
		shift 2
		;;
	-*) shift ;;
	*) break ;;
	esac
done
shift
echo "asked for [$*]" >>"$asked"
`+c.ssh)
				got, status := b.sh(t, deployJob+"PROVISION_VERSION="+c.version+"\n"+CIBefore+CIDeploy)
				if got != c.want || status != c.status {
					t.Errorf("exit status %d, want %d\n got %q\nwant %q", status, c.status, got, c.want)
				}
				if asked := b.read(t, "asked"); asked != c.asked {
					t.Errorf("asked %q, want %q", asked, c.asked)
				}
				if left, err := os.ReadDir(filepath.Join(b.home, "tmp")); err != nil || len(left) > 0 {
					t.Errorf("files are left: %v, %v", left, err)
				}
				if got := b.names(t, ""); got != "asked auth tmp" {
					t.Errorf("in the home directory are %s", got)
				}
			})
		})
	}
}

// A key that is no file is a secret in the place of a name, and in no message.
func TestCIKeyIsAFile(t *testing.T) {
	eachShell(t, func(t *testing.T, b *box) {
		got, status := b.sh(t, deployJob+"SSH_AUTH=SECRET PROVISION_PREFIX=''\n"+CIBefore+CIDeploy)
		if want := "SSH_AUTH is not a file: set the type of the variable to File\n"; got != want || status != 1 {
			t.Errorf("exit status %d: %q, want %q", status, got, want)
		}
	})
}
