package templates

import (
	"path/filepath"
	"strings"
	"testing"
)

// A file that put writes is nobody else's to read, not even before it has its
// mode; and one that cannot be written to its end leaves what is there alone.
func TestPut(t *testing.T) {
	eachShell(t, func(t *testing.T, b *box) {
		modes := quote(filepath.Join(b.home, "modes"))
		b.stub(t, "chmod", `stat -c %a "$2" >>`+modes+"\n"+`REAL chmod "$@"`)
		b.write(t, "file", "old", 0o644)
		if out, status := b.run(t, "umask 022\nsecret | put file 640", "new"); status != 0 || out != "" {
			t.Fatalf("status %d, said %s", status, out)
		}
		if got := b.read(t, "modes"); got != "600\n" {
			t.Errorf("before it had its mode, it had %q", got)
		}
		if text, mode := b.read(t, "file"), b.mode(t, "file"); text != "new" || mode != 0o640 {
			t.Errorf("the file is %q with the mode %o", text, mode)
		}
		b.stub(t, "mv", "exit 1")
		if out, status := b.run(t, "secret | put file 600", "newer"); status != 1 || out != "" {
			t.Errorf("status %d, said %s", status, out)
		}
		if text, names := b.read(t, "file"), b.names(t, "."); text != "new" || strings.Contains(names, "file.") {
			t.Errorf("the file is %q, beside %s", text, names)
		}
	})
}
