package templates

import (
	"bytes"
	gojson "encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"provision/e2e/needs"
	"provision/e2e/sample"
)

const registry = "registry.example.com:5050"

// eachAwk runs f with the awks that are drawn; the functions of json.sh are all awk.
func eachAwk(t *testing.T, f func(t *testing.T, b *box)) {
	for _, name := range drawn(t, awks) {
		awk := awks[name]
		t.Run(name, func(t *testing.T) {
			needs.Program(t, awk[0])
			needs.Program(t, "dash")
			b := newBox(t, shells["dash"])
			b.stub(t, "awk", "exec "+strings.Join(awk, " ")+` "$@"`)
			f(t, b)
		})
	}
}

// logInto logs in to the registry in each of the texts. What comes out is nil
// where the text was refused.
func logInto(t *testing.T, b *box, texts []string) [][]byte {
	t.Helper()
	b.clear(t)
	for i, text := range texts {
		b.write(t, fmt.Sprint("config", i), text, 0o600)
	}
	out, status := b.sh(t, json+`
i=0
while [ -e "config$i" ]; do
	printf '{\n\t\t\t"auth": "bG9naW4="\n\t\t}' | json put `+registry+` "config$i" >"out$i" || echo refused >"refused$i"
	i=$((i + 1))
done`)
	if status != 0 || out != "" {
		t.Fatalf("status %d, said %s", status, out)
	}
	results := make([][]byte, len(texts))
	for i := range texts {
		if refused, _ := filepath.Glob(filepath.Join(b.home, fmt.Sprint("refused", i))); refused == nil {
			results[i] = []byte(b.read(t, fmt.Sprint("out", i)))
		}
	}
	return results
}

// want returns what has to come out of text: all that was there, and the
// login. ok is false if the text has to be refused.
func want(text string) (value any, ok bool) {
	if strings.TrimSpace(text) == "" {
		return map[string]any{"auths": map[string]any{registry: map[string]any{"auth": "bG9naW4="}}}, true
	}
	top, ok := decode([]byte(text)).(map[string]any)
	if !ok || duplicates(text) {
		return nil, false
	}
	auths, ok := top["auths"].(map[string]any)
	if _, there := top["auths"]; there && !ok {
		return nil, false
	}
	auths = maps.Clone(auths)
	if auths == nil {
		auths = map[string]any{}
	}
	auths[registry] = map[string]any{"auth": "bG9naW4="}
	top["auths"] = auths
	return top, true
}

func decode(text []byte) any {
	if !gojson.Valid(text) {
		return nil
	}
	d := gojson.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if d.Decode(&value) != nil {
		return nil
	}
	return value
}

// duplicates tells whether an object of a valid text has a key twice, or
// whether one that matters is written with escapes.
func duplicates(text string) bool {
	d := gojson.NewDecoder(strings.NewReader(text))
	var walk func(path string) bool
	walk = func(path string) bool {
		token, err := d.Token()
		if err != nil {
			return false
		}
		had := map[any]bool{}
		for token == gojson.Delim('{') && d.More() {
			before := d.InputOffset()
			key, _ := d.Token()
			escaped := strings.Contains(text[before:d.InputOffset()], `\`)
			if had[key] || escaped && (path == "" || path == "/auths") {
				return true
			}
			had[key] = true
			if walk(fmt.Sprintf("%s/%s", path, key)) {
				return true
			}
		}
		for token == gojson.Delim('[') && d.More() {
			if walk(path + "[]") {
				return true
			}
		}
		if token == gojson.Delim('{') || token == gojson.Delim('[') {
			d.Token()
		}
		return false
	}
	return walk("")
}

func checkLogins(t *testing.T, b *box, texts []string) {
	t.Helper()
	for i, got := range logInto(t, b, texts) {
		value, ok := want(texts[i])
		switch {
		case !ok && got != nil:
			t.Errorf("not refused: %q\nbecame %q", texts[i], got)
		case ok && got == nil:
			t.Errorf("refused: %q", texts[i])
		case ok && !equalJSON(got, value):
			t.Errorf("%q\nbecame %q", texts[i], got)
		}
	}
}

var configs = []string{
	"", "\n", " \t\r\n",
	"{}", "{}\n", " { } ", `{"auths":{}}`, `{"auths": { } }`,
	`{"auths":{"registry.example.com:5050":{}}}`,
	`{"auths":{"registry.example.com:5050":{"auth":"b2xk"}}}`,
	`{"auths":{"registry.example.com:5050":{"auth":"b2xk","email":"a@b","more":[1,{"x":null}]}},"x":1}`,
	`{"auths":{"registry.example.com:5050":null}}`,
	`{"auths":{"registry.example.com":{"auth":"b3RoZXI="}}}`,
	`{"auths":{"a":{"auth":"x"},"registry.example.com:5050":{"auth":"y"},"b":{"auth":"z"}}}`,
	"{\n\t\"auths\": {\n\t\t\"other.example.com\": {\n\t\t\t\"auth\": \"b3RoZXI=\"\n\t\t}\n\t}\n}",
	"{\r\n\t\"auths\": {\r\n\t\t\"other.example.com\": {\r\n\t\t}\r\n\t}\r\n}\r\n",
	`{"credsStore":"pass","credHelpers":{"registry.example.com:5050":"x"},"HttpHeaders":{"auths":"not this one"}}`,
	`{"x":{"auths":{"registry.example.com:5050":{"auth":"not this one"}}},"auths":{"o":{}}}`,
	`{"x":[{"auths":{"registry.example.com:5050":1}},{"auths":2}]}`,
	`{"x":"{\"auths\":{}} } \\","y":"\u00e9\ud83d\ude00\/\b","z":"ü 😀"}`,
	"{\"x\":\"\xff\xfe \x7f\"}",
	`{"x":[true,false,null,-0,0.5,1e9,-1.25E-7,123456789012345678901234567890123456789012345678901234567890]}`,
	`{"":{"":""}}`, `{"x":[],"y":{},"z":[[[[]]]]}`,
	`{"psFormat":"table {{.ID}}\\t{{.Names}}"}`,
}

var invalid = []string{
	"{", "}", "[]", "1", `"x"`, "null", "{}{}", "{} x", "{,}", `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a" 1}`, `{a:1}`, `{'a':1}`, `{"a":1 "b":2}`,
	`{"a":[1,]}`, `{"a":[1 2]}`, `{"a":[}`, `{"a":[1}`, `{"a":{]}`, `{"a":01}`, `{"a":+1}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":-}`, `{"a":1-2}`, `{"a":0x1}`,
	`{"a":tru}`, `{"a":truex}`, `{"a":nul}`, `{"a":"}`, `{"a":"\"}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, `{"a":"\u12"}`, "{\"a\":\"line\nbreak\"}", "{\"a\":\"tab\t\"}", "{\"a\":\"\x01\"}",
	"{\"a\":1}\x00", "{\"a\x00b\":1}", "\xef\xbb\xbf{}", "// comment\n{}", `{"a":1} // comment`,
	`{"auths":[]}`, `{"auths":null}`, `{"auths":"x"}`, `{"auths":{"a":1}`,
	`{"auths":{},"auths":{}}`, `{"auths":{"registry.example.com:5050":{},"registry.example.com:5050":{}}}`, `{"\u0061uths":{"o":{}}}`, `{"auths":{"registry\u002eexample.com:5050":{}}}`,
}

func TestLoginKeepsAllElse(t *testing.T) {
	eachAwk(t, func(t *testing.T, b *box) {
		checkLogins(t, b, configs)
		checkLogins(t, b, invalid)
	})
	for _, text := range invalid {
		if _, ok := want(text); ok {
			t.Errorf("%q is no example of what is refused", text)
		}
	}
}

// Bytes that are not about the login stay, and the second login changes
// nothing.
func TestLoginKeepsBytes(t *testing.T) {
	tests := []struct{ before, after string }{
		{"{ \"x\" :1 ,\n\"auths\":{\"o\": {\"auth\" : \"b\"}} }\n", "{ \"x\" :1 ,\n\"auths\":{\"registry.example.com:5050\": ENTRY,\n\t\t\"o\": {\"auth\" : \"b\"}} }\n"},
		{"{ \"x\" :1 }", "{ \"auths\": {\n\t\t\"registry.example.com:5050\": ENTRY\n\t},\n\t\"x\" :1 }"},
		{"{\"auths\" : {\"registry.example.com:5050\" :{\"auth\":\"b\"} , \"o\":1}}\r\n", "{\"auths\" : {\"registry.example.com:5050\" :ENTRY , \"o\":1}}\r\n"},
	}
	eachAwk(t, func(t *testing.T, b *box) {
		for _, tt := range tests {
			want := strings.ReplaceAll(tt.after, "ENTRY", "{\n\t\t\t\"auth\": \"bG9naW4=\"\n\t\t}")
			once := logInto(t, b, []string{tt.before})[0]
			if string(once) != want {
				t.Errorf("%q\nbecame %q\nwant   %q", tt.before, once, want)
			}
			if twice := logInto(t, b, []string{string(once)})[0]; !bytes.Equal(once, twice) {
				t.Errorf("%q\nbecame %q", once, twice)
			}
		}
	})
}

// TestLoginProperty compares with encoding/json: random values, written in
// random ways, and the same with some bytes changed.
func TestLoginProperty(t *testing.T) {
	r := random{sample.Rand(t)}
	number := 60
	if testing.Short() {
		number = 15
	}
	var texts []string
	for range number {
		text := r.config()
		texts = append(texts, text)
		if !gojson.Valid([]byte(text)) {
			t.Fatalf("the generator is wrong: %q", text)
		}
		for range 2 {
			texts = append(texts, r.damage(text))
		}
	}
	for _, text := range slices.Concat(configs, invalid) {
		if text != "" {
			texts = append(texts, r.damage(text))
		}
	}
	refused := 0
	for _, text := range texts {
		if _, ok := want(text); !ok {
			refused++
		}
	}
	if refused < number/3 || refused > len(texts)-number {
		t.Errorf("%d of %d are to be refused: that shows little", refused, len(texts))
	}
	eachAwk(t, func(t *testing.T, b *box) { checkLogins(t, b, texts) })
}

type random struct{ *rand.Rand }

func (r random) config() string {
	var members []string
	if r.IntN(4) > 0 {
		var auths []string
		for i := range r.IntN(3) {
			auths = append(auths, fmt.Sprintf("%q%s:%s", fmt.Sprintf("r%d.example.com", i), r.space(), r.value(2)))
		}
		if r.IntN(2) == 0 {
			auths = slices.Insert(auths, r.IntN(len(auths)+1), fmt.Sprintf("%q:%s%s", registry, r.space(), r.value(2)))
		}
		members = append(members, `"auths"`+r.space()+":"+r.space()+"{"+r.space()+strings.Join(auths, r.space()+","+r.space())+r.space()+"}")
	}
	for i := range r.IntN(4) {
		members = slices.Insert(members, r.IntN(len(members)+1), fmt.Sprintf(`"key%d"%s:%s`, i, r.space(), r.value(3)))
	}
	return r.space() + "{" + r.space() + strings.Join(members, r.space()+","+r.space()) + r.space() + "}" + r.space()
}

func (r random) space() string {
	return strings.Repeat(" ", r.IntN(2)) + []string{"", "", "", "\n", "\t", "\r\n"}[r.IntN(6)]
}

func (r random) value(depth int) string {
	if depth > 0 {
		switch r.IntN(4) {
		case 0:
			var values []string
			for range r.IntN(4) {
				values = append(values, r.value(depth-1))
			}
			return "[" + r.space() + strings.Join(values, r.space()+","+r.space()) + r.space() + "]"
		case 1:
			var members []string
			for i := range r.IntN(4) {
				members = append(members, fmt.Sprintf(`"%d%s%s:%s`, i, r.text()[1:], r.space(), r.value(depth-1)))
			}
			return "{" + r.space() + strings.Join(members, r.space()+","+r.space()) + r.space() + "}"
		}
	}
	return []string{"true", "false", "null", "0", "-1.5e+3", "17", r.text(), r.text(), r.text()}[r.IntN(9)]
}

func (r random) text() string {
	parts := []string{"a", "ü", `\"`, `\\`, `\n`, `\u00e9`, `\/`, "{", "}", "[", "]", ",", ":", " ", "auths", "\x7f", "\xff", registry, "'", "$(id)", "%s", "&"}
	var b strings.Builder
	for range r.IntN(5) {
		b.WriteString(parts[r.IntN(len(parts))])
	}
	return `"` + b.String() + `"`
}

// damage changes, takes out or puts in a byte.
func (r random) damage(text string) string {
	const bytesOfJSON = "{}[]\",:\\ \n\t\x01018-+.eEtnua/\xff"
	i, c := r.IntN(len(text)), string(bytesOfJSON[r.IntN(len(bytesOfJSON))])
	switch r.IntN(3) {
	case 0:
		return text[:i] + c + text[i:]
	case 1:
		return text[:i] + text[i+1:]
	default:
		return text[:i] + c + text[i+1:]
	}
}

func TestLook(t *testing.T) {
	tests := []struct{ config, want string }{
		{"", ""}, {"{}", ""},
		{`{"auths":{"registry.example.com:5050":{"auth":"b2xk"}}}`, "auth b2xk\n"},
		{`{"auths":{"registry.example.com:5050":{"auth":""}}}`, "auth \n"},
		{`{"auths":{"registry.example.com:5050":{}}}`, ""},
		{`{"auths":{"registry.example.com":{"auth":"b2xk"}}}`, ""},
		{`{"auths":{"registryXexample.com:5050":{"auth":"b2xk"}}}`, ""},
		{`{"x":{"auths":{"registry.example.com:5050":{"auth":"b2xk"}}}}`, ""},
		{`{"credsStore":"pass"}`, "store pass\n"},
		{`{"credsStore":""}`, "store \n"},
		{`{"credHelpers":{"registry.example.com:5050":"gcr","o":"x"},"credsStore":"pass"}`, "store pass\nhelper gcr\n"},
		{`{"auths":{"registry.example.com:5050":{"auth":["x"]}}}`, ""},
	}
	eachAwk(t, func(t *testing.T, b *box) {
		for _, tt := range tests {
			b.write(t, "config", tt.config, 0o600)
			if out, status := b.sh(t, json+"json look "+registry+" config </dev/null"); out != tt.want || status != 0 {
				t.Errorf("%s: status %d, %q, want %q", tt.config, status, out, tt.want)
			}
		}
		for _, text := range invalid {
			b.write(t, "config", text, 0o600)
			if out, status := b.sh(t, json+"json look "+registry+" config </dev/null"); out != "" || status == 0 {
				t.Errorf("%s: status %d, %q", text, status, out)
			}
		}
	})
}

func equalJSON(text []byte, value any) bool { return reflect.DeepEqual(decode(text), value) }
