package hint

import "testing"

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{"": "''", "a/b-c.toml": "a/b-c.toml", "a b": "'a b'", "it's": `'it'\''s'`, "~x": "'~x'", "$(x)": "'$(x)'"} {
		if got := Quote(word); got != want {
			t.Errorf("%q becomes %s, want %s", word, got, want)
		}
	}
}
