package gitlab

import (
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What is waited for is told once, with the time, and that it is over.
func TestWaitingIsTold(t *testing.T) {
	ok, fail := reply(200, "{}"), reply(502, `{"message":"502 Bad Gateway"}`)
	for _, test := range []struct {
		name    string
		replies []http.HandlerFunc
		want    string // one regular expression for all that is told
	}{
		{"a rate limit", []http.HandlerFunc{reply(429, "Retry later\n", "Retry-After", "40"), ok}, `waiting for GitLab's rate limit, 4[01] s\|`},
		{"two of them", []http.HandlerFunc{reply(429, "", "Retry-After", "40"), reply(429, "", "Retry-After", "9"), ok}, `waiting for GitLab's rate limit, 4[01] s\|\|waiting for GitLab's rate limit, (9|10) s\|`},
		{"failures", []http.HandlerFunc{fail, fail, fail, ok}, `waiting for GitLab, which fails \(502 Bad Gateway\), 3 s\|`},
		{"lost connections", []http.HandlerFunc{lost, lost, lost, ok}, `waiting for GitLab, which cannot be reached \(EOF\), 3 s\|`},
		{"what is short", []http.HandlerFunc{fail, reply(429, "", "Retry-After", "1"), ok}, ``},
		{"a wait that nobody has the patience for", []http.HandlerFunc{reply(429, "", "Retry-After", "301")}, ``},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStub(t)
			s.on("GET /thing", test.replies...)
			var told []string
			c, _ := newClient(t, Options{URL: s.URL, Waiting: func(text string) { told = append(told, text) }})
			ask(t.Context(), c, "GET")
			if got := strings.Join(told, "|"); !regexp.MustCompile("^" + test.want + "$").MatchString(got) {
				t.Errorf("told %q, want %s", got, test.want)
			}
		})
	}
}

// Requests that wait at a time are told of as one.
func TestWaitsAtATime(t *testing.T) {
	var told []string
	w := waits{tell: func(text string) { told = append(told, text) }}
	now := time.Unix(1000, 0)
	first := w.begin(now, 40*time.Second, "it")
	second := w.begin(now.Add(time.Second), 39*time.Second, "it")
	longer := w.begin(now.Add(time.Second), 60*time.Second, "it")
	first()
	first()
	longer()
	if want := []string{"waiting for it, 40 s", "waiting for it, 60 s"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	second()
	if last := told[len(told)-1]; len(told) != 3 || last != "" {
		t.Errorf("at last told %q", told)
	}
}

// An answer that does not come is told of, too.
func TestSlowAnswerIsTold(t *testing.T) {
	for took, want := range map[time.Duration]string{4 * time.Second: "", 7 * time.Second: "waiting for an answer of GitLab, 25 s|"} {
		synctest.Test(t, func(t *testing.T) {
			var told []string
			tr := &transport{
				next: roundTrip(func(*http.Request) (*http.Response, error) {
					time.Sleep(took) // of the bubble
					return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("{}"))}, nil
				}),
				timeout: 30 * time.Second, slots: make(chan struct{}, 1), now: time.Now, sleep: sleep,
				waits: waits{tell: func(text string) { told = append(told, text) }},
			}
			req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://git.example.com", nil)
			if _, err := tr.RoundTrip(req); err != nil {
				t.Error(err)
			}
			if got := strings.Join(told, "|"); got != want {
				t.Errorf("after %v told %q, want %q", took, got, want)
			}
		})
	}
}

func TestPace(t *testing.T) {
	now := time.Unix(1000, 0)
	headers := func(limit, left int, reset time.Duration) http.Header {
		h := http.Header{}
		h.Set("RateLimit-Limit", strconv.Itoa(limit))
		h.Set("RateLimit-Remaining", strconv.Itoa(left))
		h.Set("RateLimit-Reset", strconv.FormatInt(now.Add(reset).Unix(), 10))
		return h
	}
	for name, c := range map[string]struct {
		said []http.Header
		want []int // seconds that requests wait which come at a time
	}{
		"nothing is said":                {nil, []int{0, 0, 0}},
		"much is left":                   {[]http.Header{headers(600, 60, time.Minute)}, []int{0, 1, 2}},
		"more is left":                   {[]http.Header{headers(600, 61, time.Minute)}, []int{0, 0, 1}},
		"little is left":                 {[]http.Header{headers(100, 5, time.Minute)}, []int{10, 22, 37}},
		"nothing is left":                {[]http.Header{headers(100, 0, time.Minute)}, []int{60, 60}},
		"that time is over":              {[]http.Header{headers(100, 0, 0)}, []int{0, 0}},
		"an older answer comes later":    {[]http.Header{headers(100, 5, time.Minute), headers(100, 50, time.Minute)}, []int{10, 22}},
		"a new time has begun":           {[]http.Header{headers(100, 5, time.Minute), headers(100, 99, 2*time.Minute)}, []int{0, 0}},
		"something else than a number":   {[]http.Header{{"Ratelimit-Limit": {"x"}, "Ratelimit-Remaining": {"0"}, "Ratelimit-Reset": {"1060"}}}, []int{0, 0}},
		"nobody waits for over a minute": {[]http.Header{headers(100, 1, time.Hour)}, []int{60, 60}},
	} {
		t.Run(name, func(t *testing.T) {
			var p pace
			for _, h := range c.said {
				p.note(h)
			}
			var got []int
			for range c.want {
				got = append(got, int(p.hold(now)/time.Second))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("they wait %v s, want %v", got, c.want)
			}
		})
	}
}
