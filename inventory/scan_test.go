package inventory

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPositions(t *testing.T) {
	// Lines of all lengths up to three blocks, in characters of one to four bytes.
	var src strings.Builder
	for n := 1; src.Len() < 3*blockSize; n *= 2 {
		src.WriteString(strings.Repeat("aéc日𝄞", n) + "\n")
	}
	for _, s := range []string{src.String(), strings.Repeat("é\n日 \n", 2*blockSize/8), "", "\n", strings.Repeat("a", blockSize)} {
		text := newText(s)
		for offset := range len(s) + 1 {
			before := s[:offset]
			wantLine := strings.Count(before, "\n") + 1
			wantColumn := utf8.RuneCountInString(before[strings.LastIndex(before, "\n")+1:]) + 1
			if offset < len(s) && !utf8.RuneStart(s[offset]) {
				continue // no place begins in the middle of a character
			}
			if line, column := text.position(offset); line != wantLine || column != wantColumn {
				t.Fatalf("offset %d of %d is at %d:%d, not at %d:%d", offset, len(s), line, column, wantLine, wantColumn)
			}
		}
	}
}

func TestNotUTF8(t *testing.T) {
	_, err := Parse("inventory.toml", []byte("# é\nx = \"\xff\"\n"), ".")
	if want := "inventory.toml:2:6: is not UTF-8; save the file as UTF-8"; err == nil || err.Error() != want {
		t.Errorf("error is %v, not %s", err, want)
	}
}

// A byte order mark, as Windows writes it, moves no place.
func TestByteOrderMark(t *testing.T) {
	_, err := Parse("inventory.toml", []byte("\ufeffx = 1\n"+base), ".")
	if want := "inventory.toml:1:1: x: is unknown; known are gitlab, registry, registries, defaults, hosts, deployments"; err == nil || err.Error() != want {
		t.Errorf("error is %v, not %s", err, want)
	}
}
