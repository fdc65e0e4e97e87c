package templates

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"provision/e2e/needs"
)

// A mover is a host that has one volume.
type mover struct {
	*box
	dir string
}

func newMover(t *testing.T, b *box) mover {
	t.Helper()
	m := mover{newBox(t, b.shell), t.TempDir()}
	m.stub(t, "docker", `echo `+quote(m.dir+"/volume"))
	for _, dir := range []string{"volume", "moves/app"} {
		if err := os.MkdirAll(filepath.Join(m.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.stub(t, "tar", `exec REAL tar "$@"`) // that of busybox on Debian takes no list
	return m
}

// do runs a part of a move, which may read something, and returns what it prints.
func (m mover) do(t *testing.T, what, in string, args ...string) string {
	t.Helper()
	text := strings.ReplaceAll(MoveCopy, "/var/lib/provision/moves", m.dir+"/moves")
	cmd := exec.Command(m.shell[0], append(slices.Clone(m.shell[1:]), "-c", m.preferStubs(t)+program(text, "", append([]string{what, "app"}, args...)...))...)
	cmd.Env = []string{"HOME=" + m.home, "PATH=" + m.bin + ":" + real, "LC_ALL=C"}
	file := filepath.Join(m.dir, "in")
	if err := os.WriteFile(file, []byte(in), 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd.ExtraFiles = []*os.File{read}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", what, err, &out)
	}
	return out.String()
}

// in runs a script of the test in the volume.
func (m mover) in(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.Command("bash", "-euc", script)
	cmd.Dir = m.dir + "/volume"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// What two passes bring is the volume as it is in the end: names, owners, modes,
// times, links of both kinds, holes; what has gone meanwhile, or has come and gone,
// is not there, and one that cannot be told apart by what it is made of is found out.
func TestCopyOfAVolume(t *testing.T) {
	needs.Root(t)
	eachShell(t, func(t *testing.T, b *box) {
		old, new := newMover(t, b), newMover(t, b)
		old.in(t, `
mkdir -p 'a folder/below' goes turns renamed; echo one >'a folder/back\slash'; ln 'a folder/back\slash' 'a folder/below/hard'
chown -R 999:998 'a folder'; chmod 2750 'a folder'; chmod 4751 'a folder/back\slash'
ln -s '/nowhere at all' link; chown -h 77:78 link; mkfifo fifo; echo x >-dash; echo y >goes/y; echo t >turns/t; echo r >renamed/r
truncate -s 8M sparse; echo end >>sparse; touch -d 2001-02-03 'a folder/below/old'; echo same >same; echo grows >grows; echo "in a name: $(printf '\303\244')" >$'\303\244'`)
		new.in(t, `echo stale >stale; mkdir 'a folder'; echo other >'a folder/back\slash'`) // of a move that has failed
		old.do(t, "first", "", "data")
		new.do(t, "receive", old.do(t, "send", "", "data"), "data")
		new.in(t, `echo 'was there for a moment' >moment`)
		old.in(t, `
echo more >>grows; rm -r goes; rm -r turns; echo file >turns; mv renamed called; ln same 'same too'; mkdir new; echo n >'new/n w'
rm link; ln -s other link; chmod 600 -- -dash; truncate -s 16M sparse; touch -d 1999-01-01 same`)
		new.do(t, "keep_lists", old.do(t, "lists", "", "data"), "data")
		new.do(t, "renewed", old.do(t, "changes", "", "data"), "data")
		tree := `find . ! -type d | sort | while IFS= read -r f; do stat -c '%F %a %u %g %s %h %Y %n' "$f"; done | grep -v '^symbolic'; find . -type d -printf '%m %U %G %p\n' | sort
find . -type l -printf '%U %G %p %l\n' | sort; cat grows turns called/r new/* 'same too'; stat -c %i same 'same too' | uniq | wc -l`
		if got, want := new.in(t, tree), old.in(t, tree); got != want {
			t.Errorf("the copy is\n%s\nand the volume\n%s", got, want)
		}
		if kib := strings.Fields(new.in(t, `du -k sparse`))[0]; len(kib) > 3 && b.shell[0] != "busybox" {
			t.Errorf("the holes of the sparse file are filled: %s KiB", kib)
		}
		sum := func(m mover) string { return m.do(t, "summary", "", "data") }
		if was, is := sum(old), sum(new); was != is || !strings.Contains(is, "@mark fact summary=") {
			t.Errorf("the summaries differ:\n%s%s", was, is)
		}
		for what, change := range map[string]string{
			"content": `touch -r grows /tmp/stamp.$$; printf G | dd of=grows conv=notrunc 2>/dev/null; touch -r /tmp/stamp.$$ grows; rm /tmp/stamp.$$`,
			"mode":    `chmod 751 'a folder'`, "owner": `chown 5 -- -dash`, "a file more": `: >more`, "a link": `rm link; ln -s x link`,
		} {
			new.in(t, change)
			if sum(new) == sum(old) {
				t.Errorf("another %s is not found out", what)
			}
			new.do(t, "keep_lists", old.do(t, "lists", "", "data"), "data")
			new.do(t, "renewed", old.do(t, "changes", "", "data"), "data")
		}
	})
}
