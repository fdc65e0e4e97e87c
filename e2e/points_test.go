package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"provision/e2e/lab"
)

// points stops a run at each of its boundaries: before and after every command
// on a host that changes something, or could, and before and after every
// request to GitLab. What runs waits until at has returned.
type points struct {
	mu sync.Mutex
	at func(point string) bool // nil: nobody cares; false: what waits there is never told to go on
}

// stopped are the commands on a host that are boundaries. They are what all
// changes are made of: what a shell does itself stands between two of them.
const stopped = "apt-get chmod chown cp docker dpkg flock git gpasswd groupadd ln mkdir mktemp mv rm rmdir ssh-keygen systemctl useradd usermod"

// stop stands for a command in a folder that comes first in the PATH. Each
// process waits at a place of its own.
const stop = `#!/bin/sh
cross() {
	printf '%s %s NAME %s\n' "$place" "$1" "$2" >/usr/local/lib/points/reached
	read -r _ <"/usr/local/lib/points/$place"
}
# led PROGRAM: whether the session is that of a program.
led() {
	program=$1
	read -r stat <"/proc/$$/stat"
	set -- ${stat##*) }
	tr '\0' ' ' <"/proc/$4/cmdline" | grep -q "/usr/local/lib/provision/$program "
}
if [ ! -e /usr/local/lib/points/on ]; then
	exec REAL "$@"
fi
place=$(($$ % 32768))
who=${USER-root}
! led 'deploy run' 2>/dev/null || who="$who, a deploy"
! led gate 2>/dev/null || who="$who, the gate"
cross before "$* ($who)"
REAL "$@"
status=$?
cross after "$* ($who)"
exit "$status"
`

// newPoints puts the stops into the hosts and GitLab of a world.
func newPoints(t *testing.T, w *world) *points {
	t.Helper()
	p := &points{}
	for name, host := range w.Hosts {
		w.sh(t, name, `
mkdir /usr/local/lib/points
cd /usr/local/lib/points
mkfifo -m 666 reached $(seq 0 32767)
for name in $1; do
	real=$(command -v "$name") || continue
	printf '%s' "$2" | sed "s|REAL|$real|; s|NAME|$name|" >"/usr/local/sbin/$name"
	chmod 755 "/usr/local/sbin/$name"
done`, stopped, stop)
		reached := openFIFO(t, host, "reached")
		go func() {
			for lines := bufio.NewScanner(reached); lines.Scan(); {
				place, point, _ := strings.Cut(lines.Text(), " ")
				go func() {
					if p.cross(point) {
						goOn(host, place)
					}
				}()
			}
		}()
	}
	// A runuser(1) that is told to end gives its child, which has been told too,
	// two seconds more.
	for name := range w.Hosts {
		w.sh(t, name, `setsid sh -c 'while sleep 0.3; do pkill -KILL -P 1 -x runuser; done' >/dev/null 2>&1 </dev/null &`)
	}
	trap := w.GitLab.Fail("", "", 0, func(answer http.ResponseWriter, r *http.Request, gitlab http.Handler) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		var sent struct{ Key, Name string }
		json.Unmarshal(body, &sent)
		key, _, _ := strings.Cut(sent.Key, " ")
		name := fmt.Sprintf("%s %s %s%s", r.Method, r.URL.EscapedPath(), key, sent.Name)
		if !p.cross("before " + name) {
			panic(http.ErrAbortHandler)
		}
		recorder := httptest.NewRecorder()
		gitlab.ServeHTTP(recorder, r)
		if !p.cross("after " + name) {
			panic(http.ErrAbortHandler)
		}
		maps.Copy(answer.Header(), recorder.Header())
		answer.WriteHeader(recorder.Code)
		answer.Write(recorder.Body.Bytes())
	})
	t.Cleanup(trap.Remove)
	return p
}

func openFIFO(t *testing.T, host *lab.Host, name string) *os.File {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(host.File("/usr/local/lib/points"), name), os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// goOn lets a process go on, unless it has ended meanwhile: on a busy machine it
// comes to its place late.
func goOn(host *lab.Host, place string) {
	for n := range 2000 {
		file, err := os.OpenFile(filepath.Join(host.File("/usr/local/lib/points"), place), os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			file.Write([]byte("\n"))
			file.Close()
			return
		}
		if !errors.Is(err, syscall.ENXIO) {
			return
		}
		if n < 1000 {
			time.Sleep(100 * time.Microsecond)
		} else {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// random is what mktemp makes up, and ids.
var random = regexp.MustCompile(`(\.|key\.|login\.)[A-Za-z0-9]{6}(\.kept|/| |$)|\b[0-9a-f]{64}\b|provision-[0-9]+|/[0-9]+ $|[0-9]{8}T[0-9]{6}Z`)

func (p *points) cross(point string) bool {
	p.mu.Lock()
	at := p.at
	p.mu.Unlock()
	return at == nil || at(random.ReplaceAllStringFunc(point, func(word string) string {
		if strings.HasPrefix(word, ".docker") {
			return word
		}
		return "XXX"
	}))
}

// during has at called while a run is under way.
func (p *points) during(t *testing.T, w *world, at func(string) bool, run func()) {
	t.Helper()
	set := func(at func(string) bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.at = at
	}
	set(at)
	for _, host := range w.Hosts {
		if err := os.WriteFile(host.File("/usr/local/lib/points/on"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run()
	w.settle(t)
	p.off(w)
	set(nil)
}

// off has nothing on a host wait any more, but for what waits already.
func (p *points) off(w *world) {
	for _, host := range w.Hosts {
		os.Remove(host.File("/usr/local/lib/points/on"))
	}
}

// settle waits until nothing of a run is left on the hosts.
func (w *world) settle(t *testing.T) {
	t.Helper()
	for name := range w.Hosts {
		w.sh(t, name, `while pgrep -f 'provision: the shell is [r]eady' >/dev/null; do sleep 0.02; done`)
	}
}

// A relay is the way to a host, which can be cut.
type relay struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	conns []net.Conn
	isCut bool
}

// newRelay leads the way to a host through a relay. CI goes straight on.
func newRelay(t *testing.T, w *world, host string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := w.Inventory.Host(host)
	r := &relay{listener: listener, to: fmt.Sprintf("%s:%d", w.Hosts[host].Address, w.Hosts[host].Port)}
	if h.CIAddress == "" {
		h.CIAddress, h.CIPort = h.Address, h.Port
	}
	h.Address, h.Port = "127.0.0.1", listener.Addr().(*net.TCPAddr).Port
	t.Cleanup(func() {
		listener.Close()
		r.cut()
	})
	go r.serve()
	return r
}

func (r *relay) serve() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", r.to)
		if err != nil {
			near.Close()
			continue
		}
		r.mu.Lock()
		if r.isCut {
			near.Close()
			far.Close()
			r.mu.Unlock()
			continue
		}
		r.conns = append(r.conns, near, far)
		r.mu.Unlock()
		for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
			go func() {
				io.Copy(way[0], way[1])
				way[0].Close()
				way[1].Close()
				r.mu.Lock()
				defer r.mu.Unlock()
				r.conns = slices.DeleteFunc(r.conns, func(c net.Conn) bool { return c == near || c == far })
			}()
		}
	}
}

// mend lets connections through again.
func (r *relay) mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isCut = false
}

// cut cuts all connections, and those to come.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isCut = true
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

// inGitLab tells points in GitLab from those on a host.
func inGitLab(point string) bool {
	return strings.Contains(point, " /api/v4/") || strings.Contains(point, " /jwt/")
}
