package visible

import (
	"strings"
	"testing"
	"testing/quick"
	"unicode"
	"unicode/utf8"
)

func TestVisible(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"plain text, tabs\tand ümläuts", "plain text, tabs\tand ümläuts"},
		{"\x1b[2J", `\x1b[2J`},
		{"a\rb\nc\x00", `a\rb\nc\x00`},
		{"\u009b2J", `\u009b2J`}, // CSI in one character
		{"\x9b2J", `\x9b2J`},     // the same, outside of UTF-8
		{"\x7f", `\x7f`},
		{"a\u202eb\u2066\u200b", `a\u202eb\u2066\u200b`},
		{"\u2028\ufeff", `\u2028\ufeff`},
		{"\U000e0041", `\U000e0041`}, // a tag, invisible
		{"cut \xc3", `cut \xc3`},
		{"\ufffd is itself", "\ufffd is itself"},
	}
	for _, tt := range tests {
		if got := String(tt.in); got != tt.want {
			t.Errorf("String(%q) is %q, want %q", tt.in, got, tt.want)
		}
	}
	if err := quick.Check(func(b []byte) bool {
		s := String(string(b))
		return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) }) &&
			String(s) == s
	}, nil); err != nil {
		t.Error(err)
	}
}

func TestLine(t *testing.T) {
	const text = " a\tb\r\n\n  c\x00\x1b[2J\u009b\u202e\xff\u00e9 \nhint: d\n"
	const want = "a\tb; c\\x00\\x1b[2J\\u009b\\u202e\\xff\u00e9; hint: d"
	if got := Line(text); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for most, want := range map[int]string{2: "äb…", 5: "äb; c", 4: "äb; …"} {
		if got := Short("äb\nc\n", most); got != want {
			t.Errorf("at most %d: %q, want %q", most, got, want)
		}
	}
}

func TestLines(t *testing.T) {
	if got := Lines("a\x1b\nb\r\n"); got != `a\x1b`+"\n"+`b\r`+"\n" {
		t.Errorf("got %q", got)
	}
}
