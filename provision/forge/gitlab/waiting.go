package gitlab

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"provision/provision/visible"
)

const (
	toldFrom = 2 * time.Second // shorter waits are nobody's business
	slow     = 5 * time.Second // without an answer
)

// waits tells of all requests that wait as of one: why and for how long when the first
// begins, again when one has to wait for longer than was said, and "" when none does.
type waits struct {
	tell func(text string)

	mu    sync.Mutex
	many  int
	until time.Time // as it was told
}

// begin tells of a wait that began now, unless it is short. The format has what is waited
// for; the time stands behind it.
func (w *waits) begin(now time.Time, d time.Duration, format string, args ...any) (end func()) {
	if w.tell == nil || d < toldFrom {
		return func() {}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.many++
	if until := now.Add(d); until.After(w.until.Add(time.Second)) {
		w.until = until
		w.tell(fmt.Sprintf("waiting for "+format, args...) + fmt.Sprintf(", %d s", (d+time.Second-1)/time.Second))
	}
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.many--; w.many == 0 {
			w.until = time.Time{}
			w.tell("")
		}
	})
}

// because is begin for an answer, or an error, after which the same is asked again.
func (w *waits) because(now time.Time, d time.Duration, resp *http.Response, err error) (end func()) {
	switch {
	case err != nil:
		return w.begin(now, d, "GitLab, which cannot be reached (%s)", visible.Short(err.Error(), 120))
	case resp.StatusCode == http.StatusTooManyRequests:
		return w.begin(now, d, "GitLab's rate limit")
	}
	return w.begin(now, d, "GitLab, which fails (%d %s)", resp.StatusCode, http.StatusText(resp.StatusCode))
}

// A pace keeps requests from running into the rate limit of GitLab. Where GitLab says how
// many it will still take until when, as GitLab.com does with every answer, the last tenth of
// them is spread over the time that is left.
// See https://docs.gitlab.com/administration/settings/user_and_ip_rate_limits/#response-headers.
type pace struct {
	mu          sync.Mutex
	limit, left int64
	reset, next time.Time
}

// note reads what an answer says of the limit.
func (p *pace) note(header http.Header) {
	number := func(name string) int64 {
		n, err := strconv.ParseInt(header.Get(name), 10, 64)
		if err != nil || n < 0 {
			return -1
		}
		return n
	}
	limit, left, reset := number("RateLimit-Limit"), number("RateLimit-Remaining"), number("RateLimit-Reset")
	if limit < 0 || left < 0 || reset < 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := time.Unix(reset, 0)
	if at.Equal(p.reset) {
		left = min(left, p.left) // answers may come in another order than they were made
	}
	p.limit, p.left, p.reset = limit, left, at
}

// hold takes a place among the requests, and returns how long to wait for it.
func (p *pace) hold(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	rest, left := p.reset.Sub(now), p.left
	if rest <= 0 {
		return 0
	}
	p.left = max(left-1, 0)
	if left*10 >= p.limit {
		return 0
	}
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(rest / time.Duration(left+1))
	return min(p.next.Sub(now), longWait)
}
