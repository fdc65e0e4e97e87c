package gitlabtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// recordings is where the recorded calls of a real GitLab are, unless
// GITLAB_RECORDINGS names another directory.
const recordings = "../../../shared/gitlab"

// notServed are the recorded calls that this GitLab answers in another way.
var notServed = map[string]string{
	"2 POST /groups [reserved path]":                             "the list of reserved names is long, and nothing here makes groups",
	"3 POST /projects [reserved path]":                           "likewise, and nothing here makes projects",
	"3 POST /projects [namespace does not exist]":                "a crash of GitLab's own, not a rule",
	"3 POST /projects [namespace does not exist, ordinary user]": "the same crash",
	"3 PUT /projects/1 [no attributes]":                          "the answer is a list of a hundred parameters",
}

func TestReplay(t *testing.T) {
	t.Run("CE", func(t *testing.T) {
		r := newReplay(t, CE, "recorded-ce.jsonl")
		r.run(func(c recorded) bool { return c.number() <= 11 })
		r.run(func(c recorded) bool {
			return c.number() == 12 && (strings.Contains(c.Path, "protected_branches") || slices.Contains(renames, c.Title))
		})
		for name := range notServed {
			if !r.skipped[name] {
				t.Errorf("%s is said not to be served, but was not recorded", name)
			}
		}
	})
	t.Run("EE Free", func(t *testing.T) {
		r := newReplay(t, EEFree, "recorded-ee-free.jsonl")
		r.run(func(c recorded) bool { return c.number() <= 3 })
		r.run(func(c recorded) bool { return c.number() == 6 })
	})
}

var renames = []string{"rename a group path", "old path after rename", "project by its old full path"}

// A recorded is one call and its answer.
type recorded struct {
	N           int
	Section     string
	Title       string
	As          string
	Auth        string
	Method      string
	Path        string
	ContentType string `json:"content_type"`
	Request     json.RawMessage
	Raw         *string
	Status      int
	Headers     map[string]string
	Response    any
}

// number is that of the section; 6b counts as 6.
func (c recorded) number() (n int) {
	fmt.Sscanf(c.Section, "%d", &n)
	return n
}

func (c recorded) name() string {
	return fmt.Sprintf("%d %s %s [%s]", c.number(), c.Method, c.Path, c.Title)
}

// A replay puts recorded calls to a GitLab of ours.
type replay struct {
	t       *testing.T
	g       *GitLab
	calls   []recorded
	tokens  map[string]string // by who calls
	ids     map[string]any    // ours, by kind and recorded id, and the other way round
	skipped map[string]bool
}

func newReplay(t *testing.T, edition Edition, file string) *replay {
	dir := os.Getenv("GITLAB_RECORDINGS")
	if dir == "" {
		dir = filepath.FromSlash(recordings)
	}
	f, err := os.Open(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("NOT REPLAYED: no recorded calls of a real GitLab at %s; set GITLAB_RECORDINGS to the directory that has %s", dir, file)
	} else if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := &replay{t: t, tokens: map[string]string{}, ids: map[string]any{}, skipped: map[string]bool{}}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c recorded
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		r.calls = append(r.calls, c)
	}
	if err := lines.Err(); err != nil || len(r.calls) == 0 {
		t.Fatalf("%s: %d calls: %v", file, len(r.calls), err)
	}
	r.seed(edition)
	return r
}

// seed brings the GitLab to where the recording begins: the same day, and the
// administrator with a token.
func (r *replay) seed(edition Edition) {
	var me, self object
	for _, c := range r.calls {
		switch body, _ := c.Response.(object); {
		case me == nil && c.Path == "/user":
			me = body
		case self == nil && c.Path == "/personal_access_tokens/self":
			self = body
		}
	}
	now, err := time.Parse(time.RFC3339, fmt.Sprint(self["last_used_at"]))
	if err != nil {
		r.t.Fatal(err)
	}
	r.g = New(Config{
		Edition: edition, URL: "http://127.0.0.1:8080", Registry: "127.0.0.1:5000", Now: func() time.Time { return now },
	})
	r.g.users[0].email = me["email"].(string)
	expires, err := time.Parse(time.DateOnly, self["expires_at"].(string))
	if err != nil {
		r.t.Fatal(err)
	}
	value, err := r.g.AddPersonalToken("root", expires, "api", "read_api", "read_user", "sudo", "admin_mode").Reveal()
	if err != nil {
		r.t.Fatal(err)
	}
	r.g.tokens[0].name = self["name"].(string)
	r.tokens["admin"], r.tokens["unknown token"] = value, "glpat-nobody-has-this"
}

func (r *replay) run(chosen func(recorded) bool) {
	n := 0
	for _, c := range r.calls {
		if !chosen(c) {
			continue
		}
		n++
		if notServed[c.name()] != "" {
			r.skipped[c.name()] = true
			continue
		}
		answer, body := r.put(c)
		r.learn(c, body)
		if problems := r.compare(c, answer, body); len(problems) > 0 {
			r.t.Errorf("call %d (%s) as %s:\n\t%s", c.N, c.name(), c.As, strings.Join(problems, "\n\t"))
		}
	}
	if n == 0 {
		r.t.Fatal("the recording has none of the calls that are to be replayed")
	}
	r.t.Logf("%d calls", n)
}

// put makes one call. Like the client that recorded, it follows a GET that is
// sent elsewhere.
func (r *replay) put(c recorded) (*http.Response, any) {
	var reader bytes.Buffer
	contentType := c.ContentType
	switch {
	case c.Raw != nil:
		reader.WriteString(*c.Raw)
	case c.Request != nil:
		var request any
		if err := json.Unmarshal(c.Request, &request); err != nil {
			r.t.Fatal(err)
		}
		json.NewEncoder(&reader).Encode(r.ours("", request))
		contentType = "application/json"
	}
	target := strings.Replace(r.path(c.Path), "private_token=REDACTED", "private_token="+r.tokens["admin"], 1)
	request := httptest.NewRequest(c.Method, "/api/v4"+target, &reader)
	request.Header.Set("Content-Type", contentType)
	if c.As != "none" {
		value, ok := r.tokens[c.As]
		if !ok {
			r.t.Fatalf("call %d: no token for %s", c.N, c.As)
		}
		if c.Auth == "Authorization" {
			request.Header.Set("Authorization", "Bearer "+value)
		} else {
			request.Header.Set("PRIVATE-TOKEN", value)
		}
	}
	w := httptest.NewRecorder()
	r.g.ServeHTTP(w, request)
	if to := w.Header().Get("Location"); to != "" {
		again := httptest.NewRequest(c.Method, to, nil)
		again.Header = request.Header
		w = httptest.NewRecorder()
		r.g.ServeHTTP(w, again)
	}
	answer := w.Result()
	var body any
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			r.t.Errorf("call %d: not JSON: %q", c.N, w.Body)
		}
	}
	return answer, body
}

// learn keeps a token that was given out.
func (r *replay) learn(c recorded, body any) {
	fields, _ := body.(object)
	value, _ := fields["token"].(string)
	if value == "" {
		return
	}
	r.tokens[fmt.Sprintf("token of call %d", c.N)] = value
	if who, ok := strings.CutSuffix(fmt.Sprint(fields["name"]), "-pat"); ok {
		r.tokens[who] = value // owner, maint and dev
	}
}

// Kinds of ids, by the collection or the field that holds them.
var kinds = map[string]string{
	"users": "user", "user": "user", "members": "user", "all": "user", "created_by": "user", "user_id": "user", "creator_id": "user",
	"groups": "group", "subgroups": "group", "descendant_groups": "group", "namespace": "group", "namespace_id": "group",
	"parent_id": "group", "group_id": "group",
	"projects": "project", "projects_with_write_access": "project", "projects_with_readonly_access": "project",
	"deploy_keys": "key", "keys": "key", "deploy_tokens": "deploy token",
	"access_tokens": "token", "personal_access_tokens": "token", "protected_branches": "branch",
	"push_access_levels": "level", "merge_access_levels": "level",
}

// ours puts our ids in the place of recorded ones in a request.
func (r *replay) ours(field string, v any) any {
	switch v := v.(type) {
	case object:
		out := object{}
		for name, e := range v {
			out[name] = r.ours(name, e)
		}
		return out
	case float64:
		if m, ok := r.ids[fmt.Sprint(kinds[field], " ", v)]; ok {
			return m
		}
	}
	return v
}

func (r *replay) path(path string) string {
	parts := strings.Split(path, "/")
	for i := 1; i < len(parts); i++ {
		id, query, found := strings.Cut(parts[i], "?")
		if m, ok := r.ids[kinds[parts[i-1]]+" "+id]; ok {
			parts[i] = fmt.Sprint(m)
			if found {
				parts[i] += "?" + query
			}
		}
	}
	return strings.Join(parts, "/")
}

// kindOf is the kind of the ids that the answer to a call has.
func kindOf(path string) string {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	for _, part := range slices.Backward(parts) {
		if kind := kinds[part]; kind != "" {
			return kind
		}
	}
	return ""
}

var (
	timestamp = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)
	botName   = regexp.MustCompile(`(_bot_)[0-9a-z]+`)
)

// compare says how an answer differs from the recorded one. Of moments in time
// and of tokens it compares that they are some; of everything else the value.
func (r *replay) compare(c recorded, answer *http.Response, body any) (diff []string) {
	if answer.StatusCode != c.Status {
		return []string{fmt.Sprintf("status %d %v, recorded %d %v", answer.StatusCode, body, c.Status, c.Response)}
	}
	report := func(at, format string, args ...any) { diff = append(diff, at+": "+fmt.Sprintf(format, args...)) }
	var walk func(at, field, kind string, ours, theirs any)
	walk = func(at, field, kind string, ours, theirs any) {
		if reflect.TypeOf(ours) != reflect.TypeOf(theirs) {
			report(at, "%T %v, recorded %T %v", ours, ours, theirs, theirs)
			return
		}
		switch theirs := theirs.(type) {
		case object:
			ours := ours.(object)
			if k := kinds[field]; k != "" {
				kind = k
			}
			for name := range ours {
				if _, ok := theirs[name]; !ok {
					report(at, "has %s, not recorded", name)
				}
			}
			for name, e := range theirs {
				o, ok := ours[name]
				if !ok {
					report(at, "lacks %s, recorded %v", name, e)
					continue
				}
				idKind := kinds[name]
				switch name {
				case "id":
					idKind = kind
				case "resource_id":
					idKind = fmt.Sprint(theirs["resource_type"])
				}
				if _, number := e.(float64); number && idKind != "" {
					if !r.match(idKind, o, e) {
						report(at, "%s is %v, recorded %v, which is another %s", name, o, e, idKind)
					}
					continue
				}
				walk(at+"."+name, name, kind, o, e)
			}
		case []any:
			ours := ours.([]any)
			if len(ours) != len(theirs) {
				report(at, "%d elements %v, recorded %d %v", len(ours), ours, len(theirs), theirs)
				return
			}
			for i := range theirs {
				walk(fmt.Sprintf("%s[%d]", at, i), field, kind, ours[i], theirs[i])
			}
		case string:
			ours := botName.ReplaceAllString(ours.(string), "$1")
			switch {
			case timestamp.MatchString(theirs) && timestamp.MatchString(ours):
			case strings.HasPrefix(theirs, "<token of call"):
			case ours != botName.ReplaceAllString(theirs, "$1"):
				report(at, "%q, recorded %q", ours, theirs)
			}
		default:
			if ours != theirs {
				report(at, "%v, recorded %v", ours, theirs)
			}
		}
	}
	walk("body", "", kindOf(c.Path), body, c.Response)
	for name, value := range c.Headers {
		ours := answer.Header.Get(name)
		switch {
		case name == "link":
			ours, value = pages(ours), pages(value)
		case name == "content-type":
		case !strings.HasPrefix(name, "x-") || !strings.Contains(name, "page") && !strings.Contains(name, "total"):
			continue
		}
		if ours != value {
			report("header "+name, "%q, recorded %q", ours, value)
		}
	}
	return diff
}

// match remembers which of our ids stands for a recorded one, and the other
// way round.
func (r *replay) match(kind string, ours, theirs any) bool {
	to, from := fmt.Sprint(kind, " ", theirs), fmt.Sprint("our ", kind, " ", ours)
	if r.ids[to] == nil && r.ids[from] == nil {
		r.ids[to], r.ids[from] = ours, theirs
	}
	return r.ids[to] == ours && r.ids[from] == theirs
}

// pages is what matters of a Link header: which pages it leads to.
func pages(link string) string {
	var out []string
	for part := range strings.SplitSeq(link, ", <") {
		target, rel, _ := strings.Cut(strings.TrimPrefix(part, "<"), ">; ")
		u, err := url.Parse(target)
		if err != nil {
			return err.Error()
		}
		q := u.Query()
		out = append(out, fmt.Sprintf("%s %s page=%s per_page=%s", rel, u.Path, q.Get("page"), q.Get("per_page")))
	}
	return strings.Join(out, "; ")
}
